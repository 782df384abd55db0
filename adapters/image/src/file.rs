//! Images in files on this machine (`file:` URLs).

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};
use vsiflow_steps::ports::{
    ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo,
    pieces::{PIECE, zeros},
};

use crate::error::{ShownError, error, invalid, parse};
use crate::folders::{FileError, Folders};

/// Reads `file:` URLs. Only regular files: a pipe or a device may never end.
#[derive(Clone, Debug, Default)]
pub struct FileSource(Folders);

impl FileSource {
    /// Creates a source that may read any file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a source that may only read files in these folders.
    pub fn within(folders: Folders) -> Self {
        Self(folders)
    }
}

#[async_trait]
impl ImageSource for FileSource {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        Ok(self.read(url).await?.info)
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        Ok(Box::new(self.read(url).await?))
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let mut stream = self.read(url).await?;
        let within = stream.info.length.is_some_and(|length| offset <= length);
        if within && validator.is_some() && stream.info.validator.as_deref() == validator {
            (stream.starts_at, stream.read) = (offset, offset);
        }
        Ok(Box::new(stream))
    }
}

impl FileSource {
    async fn read(&self, url: &str) -> Result<FileStream, SourceError> {
        let url = parse(url)?;
        let shown_url = ShownError::from(&url);
        let path: PathBuf = url.to_file_path().map_err(|()| {
            invalid(
                &shown_url,
                "this names no file on this machine; write file:///path",
            )
        })?;
        let folders = self.0.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let file = folders.open(&path)?;
            let metadata = file.metadata()?;
            Ok::<_, FileError>((file, metadata))
        })
        .await;
        let (file, metadata) = opened
            .map_err(|cause| io_error(&shown_url, &io::Error::other(cause)))?
            .map_err(|cause| unread(&shown_url, cause))?;
        if metadata.len() == 0 {
            return Err(error(
                SourceErrorKind::Empty,
                &shown_url,
                "the file is empty",
            ));
        }
        let info = SourceInfo {
            length: Some(metadata.len()),
            validator: validator(&metadata),
        };
        let file = Arc::new(FileInPieces(file));
        Ok(FileStream {
            file,
            shown: shown_url,
            info,
            starts_at: 0,
            read: 0,
            data_from: 0,
        })
    }
}

fn unread(shown: &ShownError, cause: FileError) -> SourceError {
    match cause {
        FileError::Refused(why) => error(SourceErrorKind::Refused, shown, why),
        FileError::Kind(_) | FileError::TooLong => invalid(shown, cause.to_string()),
        FileError::Io(cause) => io_error(shown, &cause),
    }
}

/// Identifies a file's content: the modification time in nanoseconds and the length.
fn validator(metadata: &std::fs::Metadata) -> Option<String> {
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!(
        "modified {}.{:09}, {} bytes",
        modified.as_secs(),
        modified.subsec_nanos(),
        metadata.len()
    ))
}

fn io_error(shown: &ShownError, cause: &io::Error) -> SourceError {
    let kind = match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => SourceErrorKind::Forbidden,
        io::ErrorKind::InvalidInput => SourceErrorKind::Invalid,
        _ => SourceErrorKind::Transient,
    };
    error(kind, shown, cause.to_string())
}

/// A file that is read in pieces. Each call may block on the disk.
pub(crate) struct FileInPieces(pub(crate) File);

impl FileInPieces {
    /// The offset of the next data at or after `at`, as far as the file system knows of holes.
    fn data_from(&self, at: u64) -> u64 {
        match seek(&self.0, SeekFrom::Data(at)) {
            Ok(data) => data.max(at),
            // Only a hole follows, or `at` is the end of the file.
            Err(Errno::NXIO) => self
                .0
                .metadata()
                .map_or(at, |metadata| metadata.len().max(at)),
            Err(_) => at,
        }
    }

    /// The piece at offset `at`; shorter than `PIECE` only at the end.
    fn piece(&self, at: u64) -> io::Result<Bytes> {
        let mut piece = Vec::with_capacity(PIECE);
        while piece.len() < PIECE {
            let from = at.saturating_add(piece.len() as u64);
            // Spare capacity avoids writing zeros into the buffer first.
            match pread(&self.0, spare_capacity(&mut piece), from) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        piece.truncate(PIECE);
        Ok(Bytes::from(piece))
    }

    /// The piece at offset `at`, and the offset of the next data if that is behind the piece.
    pub(crate) fn piece_or_hole(&self, at: u64) -> io::Result<(Bytes, u64)> {
        let data_from = self.data_from(at);
        if data_from.saturating_sub(at) >= PIECE as u64 {
            Ok((zeros(PIECE as u64), data_from))
        } else {
            Ok((self.piece(at)?, at))
        }
    }
}

/// The stream of a file.
struct FileStream {
    file: Arc<FileInPieces>,
    shown: ShownError,
    info: SourceInfo,
    starts_at: u64,
    read: u64,
    /// The offset of the next data; only a hole precedes it.
    data_from: u64,
}

impl FileStream {
    async fn piece(&mut self) -> Result<Bytes, SourceError> {
        if self.data_from.saturating_sub(self.read) >= PIECE as u64 {
            return Ok(zeros(PIECE as u64));
        }
        let (file, at) = (Arc::clone(&self.file), self.read);
        let result = tokio::task::spawn_blocking(move || file.piece_or_hole(at)).await;
        let (piece, data_from) = (result.map_err(io::Error::other).flatten())
            .map_err(|cause| io_error(&self.shown, &cause))?;
        self.data_from = data_from;
        Ok(piece)
    }
}

#[async_trait]
impl ImageStream for FileStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn starts_at(&self) -> u64 {
        self.starts_at
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let piece = self.piece().await?;
        self.read = self.read.saturating_add(piece.len() as u64);
        let length = self.info.length.unwrap_or(self.read);
        // Another process writes to the file, so neither part is a valid image.
        if self.read > length || piece.is_empty() && self.read < length {
            let message = format!("the file changed while it was read: it had {length} bytes");
            return Err(error(SourceErrorKind::Transient, &self.shown, message));
        }
        Ok((!piece.is_empty()).then_some(piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;
    use url::Url;

    async fn all(url: &str) -> Result<Vec<u8>, SourceError> {
        let mut stream = FileSource::new().read(url).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            assert!(piece.len() <= PIECE);
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    fn url(path: &std::path::Path) -> String {
        Url::from_file_path(path).unwrap().to_string()
    }

    #[tokio::test]
    async fn a_file_is_read_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("an image.qcow2");
        let content: Vec<u8> = (0..PIECE * 3 + 7).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        assert!(url(&path).contains("an%20image"));
        let info = FileSource::new().probe(&url(&path)).await.unwrap();
        assert_eq!(info.length, Some(content.len() as u64));
        assert_eq!(all(&url(&path)).await.unwrap(), content);
        std::fs::write(&path, b"other").unwrap();
        assert_ne!(
            FileSource::new()
                .probe(&url(&path))
                .await
                .unwrap()
                .validator,
            info.validator
        );
    }

    #[tokio::test]
    async fn holes_read_as_zeros_wherever_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let file = std::fs::File::create(&path).unwrap();
        let (piece, mut content) = (PIECE as u64, vec![0; 12 * PIECE + 7]);
        for (at, bytes) in [
            (0, &b"begin"[..]),
            (4 * piece - 2, b"over a border"),
            (7 * piece + 5_000, b"in the middle"),
        ] {
            file.write_all_at(bytes, at).unwrap();
            content[usize::try_from(at).unwrap()..][..bytes.len()].copy_from_slice(bytes);
        }
        file.set_len(content.len() as u64).unwrap();
        assert!(all(&url(&path)).await.unwrap() == content);
        let pieces = FileInPieces(file);
        let holes = (0..12).filter(|n| pieces.data_from(n * piece) >= (n + 1) * piece);
        assert!(holes.count() >= 7, "this file system knows of no holes");
    }

    #[tokio::test]
    async fn a_file_is_entered_where_it_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        let content: Vec<u8> = (0..PIECE * 2 + 7).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let (source, url) = (FileSource::new(), url(&path));
        let known = source.probe(&url).await.unwrap().validator;
        let at = |validator| source.open_at(&url, 1_000, validator);
        let mut stream = at(known.as_deref()).await.unwrap();
        assert_eq!(stream.starts_at(), 1_000);
        let mut rest = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            rest.extend_from_slice(&piece);
        }
        assert!(rest == content[1_000..]);
        for other in [None, Some("another")] {
            assert_eq!(at(other).await.unwrap().starts_at(), 0);
        }
    }

    #[tokio::test]
    async fn a_file_outside_of_the_folders_is_refused_by_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("token"), b"hunter2").unwrap();
        std::fs::create_dir(dir.path().join("images")).unwrap();
        let link = dir.path().join("images/disk");
        std::os::unix::fs::symlink("../token", &link).unwrap();
        let folders = Folders::Only(vec![dir.path().join("images")]);
        let source = FileSource::within(folders);
        for path in [dir.path().join("token"), dir.path().join("no"), link] {
            let error = source.probe(&url(&path)).await.unwrap_err();
            assert_eq!(error.kind, SourceErrorKind::Refused, "{error}");
            assert!(error.message.contains("--allow-files"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_no_image_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        for (url, kind) in [
            (url(&dir.path().join("missing")), SourceErrorKind::NotFound),
            (url(&empty.join("below a file")), SourceErrorKind::NotFound),
            (url(dir.path()), SourceErrorKind::Invalid),
            (url(&empty), SourceErrorKind::Empty),
            ("file:///dev/null".to_owned(), SourceErrorKind::Invalid),
            (
                "file://elsewhere/image".to_owned(),
                SourceErrorKind::Invalid,
            ),
            ("file:///a%00b".to_owned(), SourceErrorKind::Invalid),
        ] {
            assert_eq!(
                FileSource::new().probe(&url).await.unwrap_err().kind,
                kind,
                "{url}"
            );
        }
    }

    #[tokio::test]
    async fn a_file_that_changes_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::write(&path, vec![1; PIECE * 2]).unwrap();
        for change in ["shorter", "longer"] {
            let mut stream = FileSource::new().open(&url(&path)).await.unwrap();
            stream.next().await.unwrap();
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap();
            match change {
                "shorter" => file.set_len(PIECE as u64).unwrap(),
                _ => file.write_all(&vec![1; PIECE * 3]).unwrap(),
            }
            let error = loop {
                match stream.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("taken for whole: {change}"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind, SourceErrorKind::Transient, "{change}");
        }
    }
}
