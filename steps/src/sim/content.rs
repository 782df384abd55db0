//! The content of the volumes of a simulated host.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vsiflow_engine::model::Hash;

use super::sparse::SparseFile;

const PIECE: u64 = 1024 * 1024;

/// A volume's bytes. Small content that a guest or a format writes is in the state; uploaded content is
/// in a separate store. Copies share their content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// In the state itself, in base64.
    Inline(#[serde(with = "base64_text")] Vec<u8>),
    /// In the store.
    Stored {
        /// Its number there.
        id: u64,
        /// Its length in bytes.
        len: u64,
        /// The offset from which the host lost what was written: it reads as zeros.
        zero_from: Option<u64>,
    },
}

impl Content {
    /// The length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Stored { len, .. } => *len,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Simulates that the host lost the second half before it was on its disk.
    pub(super) fn lose_tail(&mut self) {
        if let Self::Stored { len, zero_from, .. } = self {
            let half = *len / 2;
            *zero_from = Some(zero_from.map_or(half, |from| from.min(half)));
        }
    }
}

mod base64_text {
    use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        BASE64
            .decode(String::deserialize(d)?)
            .map_err(D::Error::custom)
    }
}

/// The store of uploaded bytes. Cheap to clone.
#[derive(Clone)]
pub(super) enum Store {
    Memory(Arc<Mutex<BTreeMap<u64, SparseFile>>>),
    Folder(PathBuf),
}

impl Store {
    /// Runs `work` on the store without blocking other tasks.
    pub(super) async fn on<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::Memory(_) => work(self),
            Self::Folder(_) => {
                let store = self.clone();
                let result = tokio::task::spawn_blocking(move || work(&store)).await;
                result.map_err(io::Error::other)?
            }
        }
    }

    fn memory(map: &Mutex<BTreeMap<u64, SparseFile>>) -> MutexGuard<'_, BTreeMap<u64, SparseFile>> {
        map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(folder: &std::path::Path, id: u64) -> PathBuf {
        folder.join(format!("volume-{id}"))
    }

    /// The length of a content in a folder.
    pub(super) fn length(folder: &std::path::Path, id: u64) -> io::Result<u64> {
        Ok(fs::metadata(Self::file(folder, id))?.len())
    }

    pub(super) fn write(&self, id: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Memory(map) => {
                let mut map = Self::memory(map);
                map.entry(id).or_default().write(offset, bytes)
            }
            Self::Folder(folder) => {
                let mut options = fs::File::options();
                options.create(true).truncate(false).write(true);
                let mut file = options.open(Self::file(folder, id))?;
                file.seek(SeekFrom::Start(offset))?;
                file.write_all(bytes)
            }
        }
    }

    fn stored(&self, id: u64, offset: u64, max: u64) -> io::Result<Vec<u8>> {
        // Before its first byte a volume has no file in the store.
        if max == 0 {
            return Ok(Vec::new());
        }
        match self {
            Self::Memory(map) => {
                let map = Self::memory(map);
                let file = map.get(&id);
                Ok(file.map(|file| file.read(offset, max)).unwrap_or_default())
            }
            Self::Folder(folder) => {
                // An image that consists of holes alone is never written.
                let mut file = match fs::File::open(Self::file(folder, id)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                    opened => opened?,
                };
                file.seek(SeekFrom::Start(offset))?;
                let mut bytes = Vec::new();
                file.take(max).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
        }
    }

    /// Reads at most `max` bytes from `offset`.
    pub(super) fn read(&self, content: &Content, offset: u64, max: u64) -> io::Result<Vec<u8>> {
        let length = max.min(content.len().saturating_sub(offset));
        match content {
            Content::Inline(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let end = start.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
                Ok(bytes
                    .get(start..end.min(bytes.len()))
                    .unwrap_or_default()
                    .to_vec())
            }
            Content::Stored { id, zero_from, .. } => {
                let mut bytes = self.stored(*id, offset, length)?;
                bytes.resize(usize::try_from(length).unwrap_or(bytes.len()), 0);
                let data = zero_from.map_or(u64::MAX, |from| from.saturating_sub(offset));
                let data_len = usize::try_from(data).unwrap_or(usize::MAX).min(bytes.len());
                bytes.iter_mut().skip(data_len).for_each(|byte| *byte = 0);
                Ok(bytes)
            }
        }
    }

    /// The hash of the bytes, padded with zeros to `len`.
    pub(super) fn sha256(&self, content: &Content, len: u64) -> io::Result<Hash> {
        let mut hasher = Sha256::new();
        let mut position = 0;
        while position < len {
            let mut piece = self.read(content, position, PIECE)?;
            if piece.is_empty() {
                piece.resize(
                    usize::try_from(PIECE.min(len.saturating_sub(position))).unwrap_or(1),
                    0,
                );
            }
            hasher.update(&piece);
            position = position.saturating_add(piece.len() as u64);
        }
        Ok(Hash(hasher.finalize().into()))
    }

    pub(super) fn remove(&self, id: u64) -> io::Result<()> {
        match self {
            Self::Memory(map) => {
                Self::memory(map).remove(&id);
                Ok(())
            }
            Self::Folder(folder) => match fs::remove_file(Self::file(folder, id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }
}
