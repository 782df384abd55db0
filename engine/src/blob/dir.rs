//! Stores blobs as files in a folder.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;

use super::{Blobs, checked, payload_of};
use crate::{
    blocking::blocking,
    files,
    journal::JournalError,
    model::{Hash, Payload},
};

/// Blobs in a folder: each a file, named by its SHA-256 in hexadecimal.
///
/// A crash in the middle of a write leaves a file that ends in `.part`; it is never read.
#[derive(Clone, Debug)]
pub struct DirBlobs {
    dir: Arc<Path>,
    parts: Arc<AtomicU64>,
}

impl DirBlobs {
    /// Opens the store in `dir`, or creates it.
    ///
    /// # Errors
    /// When the folder cannot be created.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, JournalError> {
        let dir: Arc<Path> = dir.as_ref().into();
        blocking(move || {
            files::create_dir(&dir).map_err(|e| storage(&dir, &e))?;
            Ok(Self {
                dir,
                parts: Arc::default(),
            })
        })
        .await
    }

    /// Removes every blob except those `named`; returns how many. No blob may be written at the
    /// same time.
    pub(crate) async fn retain(&self, named: HashSet<Hash>) -> Result<usize, JournalError> {
        let store = self.clone();
        blocking(move || {
            let removed = store.remove_but(&named);
            removed.map_err(|e| storage(&store.dir, &e))
        })
        .await
    }

    fn remove_but(&self, named: &HashSet<Hash>) -> io::Result<usize> {
        let mut removed = 0_usize;
        let named: HashSet<_> = named.iter().map(ToString::to_string).collect();
        for entry in std::fs::read_dir(&self.dir)? {
            let name = entry?.file_name();
            let ours = |entry_name: &str| {
                let hash = entry_name
                    .split_once('.')
                    .map_or(entry_name, |(hash, _)| hash);
                hash.len() == 64 && !named.contains(entry_name)
            };
            if name.to_str().is_some_and(ours) {
                std::fs::remove_file(self.dir.join(name))?;
                removed = removed.saturating_add(1);
            }
        }
        files::sync_dir(&self.dir)?;
        Ok(removed)
    }

    fn path(&self, hash: Hash) -> PathBuf {
        self.dir.join(hash.to_string())
    }

    fn part(&self, hash: Hash) -> PathBuf {
        let count = self.parts.fetch_add(1, Ordering::Relaxed);
        self.dir
            .join(format!("{hash}.{}-{count}.part", std::process::id()))
    }

    fn write(&self, hash: Hash, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(hash);
        // The process that wrote it may have died before the folder was synced.
        if std::fs::read(&path).is_ok_and(|content| content == bytes) {
            return files::sync_dir(&self.dir);
        }
        files::replace(&path, &self.part(hash), bytes)
    }

    fn read(&self, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError> {
        match std::fs::read(self.path(hash)) {
            Ok(bytes) => checked(bytes, hash, len),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(JournalError::MissingBlob(hash)),
            Err(e) => Err(storage(&self.path(hash), &e)),
        }
    }
}

fn storage(path: &Path, error: &io::Error) -> JournalError {
    JournalError::Storage(format!("{}: {error}", path.display()))
}

#[async_trait]
impl Blobs for DirBlobs {
    async fn put_blob(&self, bytes: &[u8]) -> Result<Payload, JournalError> {
        let (store, bytes) = (self.clone(), bytes.to_vec());
        blocking(move || {
            let hash = Hash::of(&bytes);
            store
                .write(hash, &bytes)
                .map_err(|e| storage(&store.path(hash), &e))?;
            Ok(payload_of(&bytes))
        })
        .await
    }

    async fn get_blob(&self, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError> {
        let store = self.clone();
        blocking(move || store.read(hash, len)).await
    }
}
