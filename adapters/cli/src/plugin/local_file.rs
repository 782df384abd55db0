//! The local file that is sent to a cluster.
//!
//! It is read in blocks, and the newest blocks are cached: hosts that need the same bytes at about the same
//! time get them from one read.

use std::{
    collections::VecDeque,
    fs::{File, Metadata},
    io,
    ops::Range,
    os::unix::fs::{FileExt as _, FileTypeExt as _},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use vsiflow_engine::model::Hash;
use vsiflow_image::is_packed;
use vsiflow_kube::plugin::{LocalFile, UploadPiece};
use vsiflow_workflows::spec::Checksum;

use crate::{
    exit::{Exit, ExitProblem},
    work::off_runtime,
};

/// How many bytes are read at a time.
const BLOCK: usize = 1 << 20;
/// How many blocks are cached.
const CACHED_BLOCKS: usize = 16;
/// How many zeros are sent as one piece.
const ZEROS: u64 = 256 << 20;

/// An open file that was read once for its checksum.
pub(super) struct OpenFile {
    /// The cluster's identification of the file.
    pub(super) known: LocalFile,
    /// Whether the image is compressed in it, so that the image has another checksum.
    is_packed: bool,
    file: Arc<File>,
    shown: String,
    changed: Option<SystemTime>,
    /// The cached blocks by number, the newest last.
    blocks: VecDeque<(u64, Bytes)>,
    /// A range that is known to contain only zeros.
    zeros: Range<u64>,
}

impl OpenFile {
    /// Opens a file and reads it for its SHA-256; `seen` receives the progress.
    pub(super) async fn read(
        path: &Path,
        name: &str,
        seen: impl Fn(u64, u64),
    ) -> Result<Self, ExitProblem> {
        let shown = path.display().to_string();
        let wrong = |why: &str| unsent(&shown, why);
        let opened = path.to_owned();
        let opened = off_runtime(move || open(&opened)).await?;
        let (file, metadata) = opened.map_err(|error| wrong(&error.to_string()))?;
        if metadata.len() == 0 {
            return Err(wrong("it is empty"));
        }
        let mut open = Self {
            known: LocalFile {
                name: name.to_owned(),
                length: metadata.len(),
                sha256: String::new(),
                checksum: None,
            },
            is_packed: false,
            file: Arc::new(file),
            shown,
            changed: metadata.modified().ok(),
            blocks: VecDeque::new(),
            zeros: 0..0,
        };
        let (mut hash, mut at) = (Sha256::new(), 0);
        while at < open.known.length {
            let block = open.block(at, BLOCK).await?;
            if at == 0 {
                open.is_packed = is_packed(&block);
            }
            at = at.saturating_add(block.len() as u64);
            hash.update(&block);
            seen(at, open.known.length);
        }
        open.known.sha256 = Hash(hash.finalize().into()).to_string();
        if !open.is_packed {
            open.known.checksum = Some(format!("sha256:{}", open.known.sha256));
        }
        Ok(open)
    }

    /// The file with the checksum of the image in it, if that is known.
    pub(super) fn with_checksum(mut self, checksum: Option<&Checksum>) -> Self {
        if let Some(checksum) = checksum {
            self.known.checksum = Some(checksum.to_string());
        }
        self
    }

    /// At most `most` bytes from `from` on, or zeros.
    pub(super) async fn piece(
        &mut self,
        from: u64,
        most: usize,
    ) -> Result<UploadPiece, ExitProblem> {
        self.unchanged().await?;
        if self.zeros.contains(&from) {
            return Ok(UploadPiece::Zeros(self.zeros.end.saturating_sub(from)));
        }
        let mut next = self.rest_of_block(from).await?;
        next.truncate(most);
        if is_zeros(&next) {
            self.zeros = from..self.end_of_zeros(from, next.len()).await?;
            return Ok(UploadPiece::Zeros(self.zeros.end.saturating_sub(from)));
        }
        if next.len() == most {
            return Ok(UploadPiece::Data(Bytes::copy_from_slice(&next)));
        }
        let mut bytes = Vec::with_capacity(most);
        while !next.is_empty() && !is_zeros(&next) {
            bytes.extend_from_slice(&next);
            let at = from.saturating_add(bytes.len() as u64);
            next = self.rest_of_block(at).await?;
            next.truncate(most.saturating_sub(bytes.len()));
        }
        Ok(UploadPiece::Data(bytes.into()))
    }

    async fn end_of_zeros(&self, from: u64, known: usize) -> Result<u64, ExitProblem> {
        let mut end = from.saturating_add(known as u64);
        while end.saturating_sub(from) < ZEROS && end < self.known.length {
            let more = self.block(end, BLOCK).await?;
            if !is_zeros(&more) {
                break;
            }
            end = end.saturating_add(more.len() as u64);
        }
        Ok(end)
    }

    /// The bytes from `from` to the end of the block; none at the end of the file.
    async fn rest_of_block(&mut self, from: u64) -> Result<Bytes, ExitProblem> {
        if from >= self.known.length {
            return Ok(Bytes::new());
        }
        let number = from / BLOCK as u64;
        let start = number.saturating_mul(BLOCK as u64);
        let cached = self.blocks.iter().find(|(known, _)| *known == number);
        let block = match cached {
            Some((_, block)) => block.clone(),
            None => {
                let block = self.block(start, BLOCK).await?;
                if self.blocks.len() == CACHED_BLOCKS {
                    self.blocks.pop_front();
                }
                self.blocks.push_back((number, block.clone()));
                block
            }
        };
        let within = usize::try_from(from.saturating_sub(start)).unwrap_or(BLOCK);
        Ok(block.slice(within.min(block.len())..))
    }

    /// At most `most` bytes from `from` on, of the file as it was opened.
    async fn block(&self, from: u64, most: usize) -> Result<Bytes, ExitProblem> {
        let left = self.known.length.saturating_sub(from);
        let length = usize::try_from(left).map_or(most, |left| left.min(most));
        let file = self.file.clone();
        let read = off_runtime(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, from)?;
            // After the read, so that a change during the read is detected.
            Ok::<_, io::Error>((bytes, file.metadata()?))
        });
        let (bytes, now) = match read.await? {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(unsent(&self.shown, CHANGED));
            }
            Err(error) => return Err(unsent(&self.shown, &error.to_string())),
        };
        self.judge(&now)?;
        Ok(bytes.into())
    }

    /// Checks that the file has not changed, so that the cached blocks are still valid.
    async fn unchanged(&self) -> Result<(), ExitProblem> {
        let file = self.file.clone();
        let now = off_runtime(move || file.metadata()).await?;
        let now = now.map_err(|error| unsent(&self.shown, &error.to_string()))?;
        self.judge(&now)
    }

    fn judge(&self, now: &Metadata) -> Result<(), ExitProblem> {
        if now.len() != self.known.length || now.modified().ok() != self.changed {
            return Err(unsent(&self.shown, CHANGED));
        }
        Ok(())
    }
}

const CHANGED: &str = "it changed while it was sent";

fn unsent(shown: &str, why: &str) -> ExitProblem {
    let message = format!("{shown} cannot be sent: {why}");
    let remedy =
        "see that the file is there and that nothing writes to it, then run the command again";
    ExitProblem::new(Exit::Failed, "VSI1036", message, remedy)
}

/// Opens a file. Refuses a pipe: opening it would block, and it has no length.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        return Err(io::Error::other("it is not a file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok((file, metadata))
}

fn is_zeros(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    async fn of(path: &Path) -> Result<OpenFile, ExitProblem> {
        OpenFile::read(path, "disk", |_, _| ()).await
    }

    #[tokio::test]
    async fn what_is_sent_is_the_file_that_was_read_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let bytes = [vec![7; BLOCK], vec![0; 3 * BLOCK], vec![8; 10]].concat();
        std::fs::write(&path, &bytes).unwrap();
        let mut file = of(&path).await.unwrap();
        assert_eq!(file.known.sha256, Hash::of(&bytes).to_string());
        let (mut at, mut read) = (0, Vec::new());
        while at < file.known.length {
            match file.piece(at, BLOCK).await.unwrap() {
                UploadPiece::Data(data) => read.extend_from_slice(&data),
                UploadPiece::Zeros(zeros) => read.resize(read.len() + zeros as usize, 0),
            }
            at = read.len() as u64;
        }
        assert!(read == bytes);
        // Cached blocks are not read again, and a piece may continue past the end of a block.
        let cached = file.blocks.len();
        let (middle, most) = (BLOCK as u64 / 2, BLOCK);
        let UploadPiece::Data(piece) = file.piece(middle, most).await.unwrap() else {
            panic!("zeros");
        };
        assert_eq!(piece.len(), BLOCK / 2, "zeros follow");
        let UploadPiece::Zeros(zeros) = file.piece(2 * BLOCK as u64, most).await.unwrap() else {
            panic!("data");
        };
        assert_eq!(zeros, 2 * BLOCK as u64);
        assert_eq!(file.blocks.len(), cached);
        let mut writes = File::options().append(true).open(&path).unwrap();
        writes.write_all(b"more").unwrap();
        let problem = file.piece(0, 10).await.err().unwrap();
        assert_eq!(problem.code, "VSI1036");
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(5)
            .unwrap();
        assert_eq!(file.piece(0, 10).await.err().unwrap().code, "VSI1036");
    }

    #[tokio::test]
    async fn what_is_no_file_or_empty_is_refused_before_anybody_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        let absent = folder.path().join("absent");
        for path in [folder.path(), &empty, &absent, Path::new("/dev/zero")] {
            let problem = of(path).await.err().unwrap();
            assert_eq!(problem.code, "VSI1036", "{}", problem.message);
        }
    }
}
