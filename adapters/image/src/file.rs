//! Images in files on this machine.

use std::io::{self, SeekFrom};
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

use crate::error::{Shown, error, invalid, parse};
use crate::folders::{FileError, Folders};

/// Bytes read at a time: large enough that the disk is the limit, small enough for any memory.
const PIECE: usize = 192 * 1024;

/// Reads `file:` URLs. Regular files only: a pipe or a device has no end to wait for.
#[derive(Clone, Debug, Default)]
pub struct FileSource(Folders);

impl FileSource {
    /// A source of files.
    pub fn new() -> Self {
        Self::default()
    }

    /// A source of the files of these folders.
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
            let sought = stream.file.seek(SeekFrom::Start(offset)).await;
            sought.map_err(|cause| io_error(&stream.shown, &cause))?;
            (stream.starts_at, stream.read) = (offset, offset);
        }
        Ok(Box::new(stream))
    }
}

impl FileSource {
    async fn read(&self, url: &str) -> Result<FileStream, SourceError> {
        let url = parse(url)?;
        let shown = Shown::from(&url);
        let path: PathBuf = url.to_file_path().map_err(|()| {
            invalid(
                &shown,
                "this names no file on this machine; write file:///path",
            )
        })?;
        let folders = self.0.clone();
        let opened = tokio::task::spawn_blocking(move || folders.open(&path)).await;
        let opened = opened.map_err(|cause| io_error(&shown, &io::Error::other(cause)))?;
        let mut file = File::from_std(opened.map_err(|cause| unread(&shown, cause))?);
        file.set_max_buf_size(PIECE);
        let metadata = file.metadata().await;
        let metadata = metadata.map_err(|cause| io_error(&shown, &cause))?;
        if metadata.len() == 0 {
            return Err(invalid(&shown, "the file is empty"));
        }
        let info = SourceInfo {
            length: Some(metadata.len()),
            validator: validator(&metadata),
        };
        Ok(FileStream {
            file,
            shown,
            info,
            starts_at: 0,
            read: 0,
        })
    }
}

fn unread(shown: &Shown, cause: FileError) -> SourceError {
    match cause {
        FileError::Refused(why) => error(SourceErrorKind::Refused, shown, why),
        FileError::Kind(_) => invalid(shown, cause.to_string()),
        FileError::Io(cause) => io_error(shown, &cause),
    }
}

/// The time of the last change to the nanosecond, and the length.
fn validator(metadata: &std::fs::Metadata) -> Option<String> {
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!(
        "modified {}.{:09}, {} bytes",
        modified.as_secs(),
        modified.subsec_nanos(),
        metadata.len()
    ))
}

fn io_error(shown: &Shown, cause: &io::Error) -> SourceError {
    let kind = match cause.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => SourceErrorKind::NotFound,
        io::ErrorKind::PermissionDenied => SourceErrorKind::Forbidden,
        io::ErrorKind::InvalidInput => SourceErrorKind::Invalid,
        _ => SourceErrorKind::Transient,
    };
    error(kind, shown, cause.to_string())
}

/// A file being read.
struct FileStream {
    file: File,
    shown: Shown,
    info: SourceInfo,
    starts_at: u64,
    read: u64,
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
        let mut piece = BytesMut::with_capacity(PIECE);
        let mut read = 0_usize;
        while read < PIECE {
            let got = self.file.read_buf(&mut piece).await;
            match got.map_err(|cause| io_error(&self.shown, &cause))? {
                0 => break,
                got => read = read.saturating_add(got),
            }
        }
        self.read = self
            .read
            .saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        let length = self.info.length.unwrap_or(self.read);
        // Somebody writes to the file: neither part is an image.
        if self.read > length || read == 0 && self.read < length {
            let message = format!("the file changed while it was read: it had {length} bytes");
            return Err(error(SourceErrorKind::Transient, &self.shown, message));
        }
        Ok((read > 0).then(|| piece.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
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
            (url(&empty), SourceErrorKind::Invalid),
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
