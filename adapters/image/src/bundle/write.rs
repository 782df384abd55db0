//! Writes bundles.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use sha2::{Digest as _, Sha256};
use vsiflow_engine::{
    audit::{Seal, SigningKey},
    model::Hash,
};

use super::entry::{self, BLOCK, END};
use super::manifest::{BundleManifest, PackedDocument, PackedImage};
use super::{BundleError, MARK, VERSION};

/// Writes a bundle. Documents come first, then images, then [`BundleWriter::finish`]. All methods block.
pub struct BundleWriter {
    file: File,
    manifest: BundleManifest,
    image: Option<OpenImage>,
}

/// The image that is being written.
struct OpenImage {
    /// The offset of its header.
    at: u64,
    length: u64,
    hash: Sha256,
}

/// An image that is complete in the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrittenImage {
    /// Its SHA-256: 64 hexadecimal digits.
    pub sha256: String,
    /// Its length in bytes.
    pub length: u64,
}

impl BundleWriter {
    /// Begins a bundle in an empty file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(file: File) -> Result<Self, BundleError> {
        let mut writer = Self {
            file,
            manifest: BundleManifest::default(),
            image: None,
        };
        writer.entry("vsiflow-bundle", VERSION.as_bytes())?;
        Ok(writer)
    }

    /// Adds a document that was read from a file with this name.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn document(&mut self, file_name: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let number = self.manifest.documents.len().saturating_add(1);
        let name = PackedDocument::entry(number, file_name);
        self.entry(&name, bytes)?;
        self.manifest.documents.push(PackedDocument {
            name,
            length: bytes.len() as u64,
            sha256: Hash::of(bytes).to_string(),
        });
        Ok(())
    }

    /// Begins an image. Discards an unfinished one.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin_image(&mut self) -> Result<(), BundleError> {
        self.drop_image()?;
        let header_start = self.file.stream_position()?;
        // The header is written when the image ends: it needs the SHA-256 and the length.
        self.file.write_all(&[0; BLOCK as usize])?;
        self.image = Some(OpenImage {
            at: header_start,
            length: 0,
            hash: Sha256::new(),
        });
        Ok(())
    }

    /// Adds bytes to the current image. Zeros become holes of the file.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        let Some(image) = &mut self.image else {
            return Err(BundleError::malformed("no image was begun"));
        };
        image.hash.update(bytes);
        image.length = image.length.saturating_add(bytes.len() as u64);
        let hole = i64::try_from(bytes.len()).ok();
        match hole.filter(|_| bytes.iter().all(|byte| *byte == 0)) {
            Some(hole) => drop(self.file.seek(SeekFrom::Current(hole))?),
            None => self.file.write_all(bytes)?,
        }
        Ok(())
    }

    /// How many bytes of the current image were added.
    pub fn added(&self) -> u64 {
        self.image.as_ref().map_or(0, |image| image.length)
    }

    /// Ends the current image. An image that the bundle already holds is not stored twice. The manifest has
    /// no URL for it before [`BundleWriter::name`].
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn end_image(&mut self) -> Result<WrittenImage, BundleError> {
        let Some(image) = &self.image else {
            return Err(BundleError::malformed("no image was begun"));
        };
        let sha256 = Hash(image.hash.clone().finalize().into()).to_string();
        let written = WrittenImage {
            sha256,
            length: image.length,
        };
        let mut packed_images = self.manifest.images.iter();
        if packed_images.any(|packed| packed.sha256 == written.sha256) {
            self.drop_image()?;
            return Ok(written);
        }
        let packed = PackedImage {
            sha256: written.sha256.clone(),
            length: written.length,
            urls: Vec::new(),
        };
        let end = entry::after(image.at.saturating_add(BLOCK), image.length)?;
        let header = entry::header(&packed.entry(), image.length).ok_or_else(no_name)?;
        self.file.write_all_at(header.as_bytes(), image.at)?;
        self.file.set_len(end)?;
        self.file.seek(SeekFrom::Start(end))?;
        self.manifest.images.push(packed);
        self.image = None;
        Ok(written)
    }

    /// Records that this URL names the image with this SHA-256.
    pub fn name(&mut self, sha256: &str, url: &str) {
        let mut images = self.manifest.images.iter_mut();
        if let Some(image) = images.find(|image| image.sha256 == sha256) {
            image.urls.push(url.to_owned());
            image.urls.sort();
        }
    }

    /// Ends the bundle: records `left_out`, and signs the seal if there is a key. The bundle is durable when
    /// this returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(
        mut self,
        left_out: Vec<String>,
        key: Option<&SigningKey>,
    ) -> Result<(BundleManifest, Seal), BundleError> {
        self.drop_image()?;
        self.manifest.left_out = left_out;
        let manifest = self.manifest.to_bytes()?;
        self.entry("manifest.json", &manifest)?;
        let mut seal = Seal::new(MARK, Hash::of(&manifest));
        if let Some(key) = key {
            seal.sign(key);
        }
        self.entry("seal", format!("{seal}\n").as_bytes())?;
        self.file.write_all(&[0; END as usize])?;
        self.file.sync_all()?;
        Ok((self.manifest, seal))
    }

    /// Removes an unfinished image from the file.
    fn drop_image(&mut self) -> io::Result<()> {
        if let Some(image) = self.image.take() {
            self.file.set_len(image.at)?;
            self.file.seek(SeekFrom::Start(image.at))?;
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let length = bytes.len() as u64;
        let header = entry::header(name, length).ok_or_else(no_name)?;
        self.file.write_all(header.as_bytes())?;
        self.file.write_all(bytes)?;
        let padding = usize::try_from(entry::padding(length)).unwrap_or_default();
        let zeros = [0; BLOCK as usize];
        self.file
            .write_all(zeros.get(..padding).unwrap_or_default())?;
        Ok(())
    }
}

fn no_name() -> BundleError {
    BundleError::malformed("an entry's name does not fit")
}
