//! The file on this machine that is sent into a cluster.

use std::{
    fs::{File, Metadata},
    io,
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

/// So much is read at a time.
const BLOCK: usize = 1 << 20;
/// So many zeros are sent as one piece.
const ZEROS: u64 = 256 << 20;

/// A file that is open, and was read once.
pub(super) struct OpenFile {
    /// What the cluster knows it by.
    pub(super) known: LocalFile,
    /// Whether the image is inside of it, so that its checksum is another one.
    is_packed: bool,
    file: Arc<File>,
    shown: String,
    changed: Option<SystemTime>,
}

impl OpenFile {
    /// Opens a file and reads it for its SHA-256; `seen` hears how far that is.
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

    /// The same with the checksum of the image in it, where that is known.
    pub(super) fn with_checksum(mut self, checksum: Option<&Checksum>) -> Self {
        if let Some(checksum) = checksum {
            self.known.checksum = Some(checksum.to_string());
        }
        self
    }

    /// What is at that byte: at most so many bytes, or zeros.
    pub(super) async fn piece(&self, from: u64, most: usize) -> Result<UploadPiece, ExitProblem> {
        let bytes = self.block(from, most).await?;
        if !is_zeros(&bytes) {
            return Ok(UploadPiece::Data(bytes));
        }
        let mut zeros = bytes.len() as u64;
        while zeros < ZEROS && from.saturating_add(zeros) < self.known.length {
            let more = self.block(from.saturating_add(zeros), BLOCK).await?;
            if !is_zeros(&more) {
                break;
            }
            zeros = zeros.saturating_add(more.len() as u64);
        }
        Ok(UploadPiece::Zeros(zeros))
    }

    /// At most so many bytes from there on, of the file as it was opened.
    async fn block(&self, from: u64, most: usize) -> Result<Bytes, ExitProblem> {
        let left = self.known.length.saturating_sub(from);
        let length = usize::try_from(left).map_or(most, |left| left.min(most));
        let file = self.file.clone();
        let read = off_runtime(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, from)?;
            // After what was read: a change meanwhile is seen.
            Ok::<_, io::Error>((bytes, file.metadata()?))
        });
        let (bytes, now) = match read.await? {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(unsent(&self.shown, CHANGED));
            }
            Err(error) => return Err(unsent(&self.shown, &error.to_string())),
        };
        if now.len() != self.known.length || now.modified().ok() != self.changed {
            return Err(unsent(&self.shown, CHANGED));
        }
        Ok(bytes.into())
    }
}

const CHANGED: &str = "it changed while it was sent";

fn unsent(shown: &str, why: &str) -> ExitProblem {
    let message = format!("{shown} cannot be sent: {why}");
    let remedy =
        "see that the file is there and that nothing writes to it, then run the command again";
    ExitProblem::new(Exit::Failed, "VSI1036", message, remedy)
}

/// A pipe would be waited for, and has no length.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
        return Err(io::Error::other("it is no file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
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
        let file = of(&path).await.unwrap();
        assert_eq!(file.known.sha256, Hash::of(&bytes).to_string());
        let (mut at, mut read) = (0, Vec::new());
        while at < file.known.length {
            match file.piece(at, BLOCK).await.unwrap() {
                UploadPiece::Data(bytes) => read.extend_from_slice(&bytes),
                UploadPiece::Zeros(zeros) => read.resize(read.len() + zeros as usize, 0),
            }
            at = read.len() as u64;
        }
        assert!(read == bytes);
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
