//! The bundles that were applied. Images are read from them as long as the files exist.
//!
//! `bundles/` in the state directory has a file for each bundle, named by the SHA-256 of its manifest. An
//! image is found by its URL and SHA-256 together, so that a bundle's image never replaces different content
//! of a URL. All of this is only a hint: an upload compares everything it reads.

use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use vsiflow_image::bundle::BundledImage;

use crate::off_runtime::off_runtime;

/// How many bundles are remembered at the same time.
const MAX: usize = 64;
/// The largest file about a bundle, in bytes.
const MAX_LEN: u64 = 32 << 20;

/// What is recorded of one bundle.
#[derive(Serialize, Deserialize)]
struct AppliedBundle {
    images: Vec<BundledImage>,
}

/// The bundles of a state directory.
#[derive(Clone, Debug)]
pub(crate) struct AppliedBundles(PathBuf);

impl AppliedBundles {
    /// The bundles of the state directory at that path.
    pub(crate) fn of(state: &Path) -> Self {
        Self(state.join("bundles"))
    }

    /// The images with that SHA-256 (`sha256:` and 64 digits). Unreadable files are skipped.
    pub(super) async fn with(&self, checksum: &str) -> Vec<BundledImage> {
        let folder = self.clone();
        let digits = checksum.trim().trim_start_matches("sha256:");
        let digits = digits.to_ascii_lowercase();
        let found = off_runtime(move || {
            let bundles = folder
                .files()
                .into_iter()
                .filter_map(|(_, path)| read(&path));
            let images = bundles.flat_map(|bundle| bundle.images);
            images.filter(|one| one.image.sha256 == digits).collect()
        });
        found.await.unwrap_or_default()
    }

    /// Adds a bundle by the SHA-256 of its manifest, replacing an entry with the same one. Bundles
    /// that no longer exist are removed. Blocks.
    ///
    /// # Errors
    /// When the state directory cannot be written.
    pub(crate) fn add(&self, manifest: &str, images: Vec<BundledImage>) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let path = self.0.join(format!("{manifest}.json"));
        for (place, (_, known)) in self.files().into_iter().enumerate() {
            let there = read(&known).is_some_and(|bundle| bundle.is_there());
            if known != path && (!there || place.saturating_add(1) >= MAX) {
                fs::remove_file(known)?;
            }
        }
        let mut part = part(&self.0, manifest)?;
        part.1
            .write_all(&serde_json::to_vec(&AppliedBundle { images })?)?;
        part.1.sync_all()?;
        fs::rename(part.0, path)?;
        fs::File::open(&self.0)?.sync_all()
    }

    /// The files about bundles, the newest first.
    fn files(&self) -> Vec<(SystemTime, PathBuf)> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let files = entries.filter_map(|entry| {
            let path = entry.path();
            let is_bundle = path
                .extension()
                .is_some_and(|extension| extension == "json");
            let modified = entry.metadata().ok()?.modified().ok()?;
            is_bundle.then_some((modified, path))
        });
        let mut files: Vec<_> = files.collect();
        files.sort_by(|one, other| other.cmp(one));
        files
    }
}

impl AppliedBundle {
    fn is_there(&self) -> bool {
        self.images.iter().all(|image| image.path.exists())
    }
}

fn part(folder: &Path, name: &str) -> io::Result<(PathBuf, fs::File)> {
    let path = folder.join(format!("{name}.part"));
    let file = fs::File::create(&path)?;
    Ok((path, file))
}

fn read(path: &Path) -> Option<AppliedBundle> {
    let length = fs::metadata(path).ok()?.len();
    let bytes = (length <= MAX_LEN).then(|| fs::read(path).ok())??;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use vsiflow_image::bundle::PackedImage;

    use super::*;

    fn image(path: &Path, digit: &str) -> BundledImage {
        BundledImage {
            path: path.to_owned(),
            start: 512,
            image: PackedImage {
                sha256: digit.repeat(64),
                length: 7,
                urls: vec!["https://a/b".to_owned()],
            },
        }
    }

    #[tokio::test]
    async fn a_bundle_is_known_by_where_it_was_applied_from_last() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        fs::write(&one, "").unwrap();
        fs::write(&two, "").unwrap();
        let bundles = AppliedBundles::of(folder.path());
        let found = async |digit: &str| bundles.with(&format!("sha256:{}", digit.repeat(64))).await;
        assert!(found("a").await.is_empty());
        bundles.add("m", vec![image(&one, "a")]).unwrap();
        bundles.add("n", vec![image(&one, "b")]).unwrap();
        bundles.add("m", vec![image(&two, "a")]).unwrap();
        assert_eq!(found("a").await, [image(&two, "a")]);
        assert_eq!(found("b").await, [image(&one, "b")]);
        fs::remove_file(&one).unwrap();
        bundles.add("o", vec![image(&two, "c")]).unwrap();
        assert!(found("b").await.is_empty());
        assert_eq!(found("c").await.len(), 1);
    }
}
