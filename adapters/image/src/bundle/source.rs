//! An image source that reads images from bundles.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

use super::entry::{self, BLOCK};
use super::manifest::PackedImage;
use crate::file::FileInPieces;
use crate::folders::Folders;

/// An image and its position in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundledImage {
    /// The path of the bundle.
    pub path: PathBuf,
    /// The offset of the image's bytes in the bundle.
    pub start: u64,
    /// The image.
    pub image: PackedImage,
}

impl BundledImage {
    /// Opens the bundle if it exists and has the image's entry at that offset. Blocks.
    fn open(&self) -> Option<File> {
        let file = Folders::Any.open(&self.path).ok()?;
        let mut header_there = [0; BLOCK as usize];
        let header_start = self.start.checked_sub(BLOCK)?;
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut header_there, header_start).ok()?;
        let header = entry::header(&self.image.entry(), self.image.length)?;
        (*header.as_bytes() == header_there).then_some(file)
    }
}

/// Reads images from bundles. An image that no bundle holds, or whose bundle is missing, is read from another
/// source.
pub struct WithBundles {
    /// The images that bundles hold.
    images: Vec<BundledImage>,
    rest: Arc<dyn ImageSource>,
    /// Converts a URL to the form that manifests of bundles use.
    named: fn(&str) -> String,
}

impl WithBundles {
    /// Looks for an image in `images` first, then in `rest`. `named` converts a URL to the form that
    /// manifests of bundles use.
    pub fn new(
        images: Vec<BundledImage>,
        rest: Arc<dyn ImageSource>,
        named: fn(&str) -> String,
    ) -> Self {
        Self {
            images,
            rest,
            named,
        }
    }

    async fn read(&self, url: &str) -> Result<Result<BundleStream, Option<PathBuf>>, SourceError> {
        let named = (self.named)(url);
        let mut missing = None;
        for bundled in &self.images {
            if !bundled.image.urls.contains(&named) {
                continue;
            }
            let (look, shown) = (bundled.clone(), named.clone());
            let opened = tokio::task::spawn_blocking(move || look.open()).await;
            match opened.map_err(|cause| failed(&shown, &io::Error::other(cause)))? {
                Some(file) => return Ok(Ok(BundleStream::new(file, bundled, shown))),
                None => missing = Some(bundled.path.clone()),
            }
        }
        Ok(Err(missing))
    }
}

/// Adds the missing bundle's path to an error of the other source.
fn without(missing: Option<&PathBuf>, mut error: SourceError) -> SourceError {
    if let Some(path) = missing {
        let shown_path = path.display();
        error.message = format!(
            "{}; the bundle {shown_path} that held it is not there",
            error.message
        );
    }
    error
}

#[async_trait]
impl ImageSource for WithBundles {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        match self.read(url).await? {
            Ok(stream) => Ok(stream.info),
            Err(missing) => {
                let probed = self.rest.probe(url).await;
                probed.map_err(|error| without(missing.as_ref(), error))
            }
        }
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        match self.read(url).await? {
            Ok(stream) => Ok(Box::new(stream)),
            Err(missing) => {
                let opened = self.rest.open(url).await;
                opened.map_err(|error| without(missing.as_ref(), error))
            }
        }
    }

    async fn expect(&self, url: &str) {
        self.rest.expect(url).await;
    }

    async fn opened(&self, url: &str) {
        self.rest.opened(url).await;
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        match self.read(url).await? {
            Ok(stream) => Ok(Box::new(stream.at(offset, validator))),
            Err(missing) => {
                let opened = self.rest.open_at(url, offset, validator).await;
                opened.map_err(|error| without(missing.as_ref(), error))
            }
        }
    }
}

fn failed(shown: &str, cause: &io::Error) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Transient,
        url: shown.to_owned(),
        message: format!("the bundle cannot be read: {cause}"),
    }
}

/// The stream of an image in a bundle.
struct BundleStream {
    file: Arc<FileInPieces>,
    shown: String,
    info: SourceInfo,
    /// The offset of the image in the file.
    start: u64,
    starts_at: u64,
    read: u64,
}

impl BundleStream {
    fn new(file: File, bundled: &BundledImage, shown: String) -> Self {
        let PackedImage { sha256, length, .. } = &bundled.image;
        Self {
            file: Arc::new(FileInPieces(file)),
            shown,
            info: SourceInfo {
                length: Some(*length),
                validator: Some(format!("sha256:{sha256}")),
            },
            start: bundled.start,
            starts_at: 0,
            read: 0,
        }
    }

    fn at(mut self, offset: u64, validator: Option<&str>) -> Self {
        let within = self.info.length.is_some_and(|length| offset <= length);
        if within && validator.is_some() && self.info.validator.as_deref() == validator {
            (self.starts_at, self.read) = (offset, offset);
        }
        self
    }
}

#[async_trait]
impl ImageStream for BundleStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn starts_at(&self) -> u64 {
        self.starts_at
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let length = self.info.length.unwrap_or_default();
        let remaining = length.saturating_sub(self.read);
        if remaining == 0 {
            return Ok(None);
        }
        let (file, at) = (Arc::clone(&self.file), self.start.saturating_add(self.read));
        let result = tokio::task::spawn_blocking(move || file.piece_or_hole(at)).await;
        let (mut piece, _) = (result.map_err(io::Error::other).flatten())
            .map_err(|cause| failed(&self.shown, &cause))?;
        piece.truncate(usize::try_from(remaining).unwrap_or(usize::MAX));
        if piece.is_empty() {
            let cut = io::Error::from(io::ErrorKind::UnexpectedEof);
            return Err(failed(&self.shown, &cut));
        }
        self.read = self.read.saturating_add(piece.len() as u64);
        Ok(Some(piece))
    }
}
