//! Images that are packed at their source, unpacked on their way.
//!
//! Their first bytes tell how they are packed. Their length is not known before their end, and they
//! cannot be entered in their middle.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use tokio::sync::mpsc;
use url::Url;
use vsiflow_steps::ports::{ImageStream, SourceError, SourceInfo};

use crate::error::{Shown, chain, invalid};

/// Bytes unpacked at a time.
const PIECE: usize = 192 * 1024;
/// Pieces that wait on either side of the unpacking.
const WAITING: usize = 4;
/// What unpacking may keep of what it unpacked: an archive that wants more is refused.
const MEMORY: u64 = 34 * 1024 * 1024;

/// The first bytes of a qcow2, which is not packed whatever its name ends in: servers unpack
/// unasked.
const QCOW2: &[u8] = b"QFI\xfb";
/// As many bytes as it takes to tell.
const HEAD: usize = 6;

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
}

/// The image that a stream gives from its start, unpacked where it is packed.
///
/// # Errors
/// Those of the stream, before its first bytes.
pub(crate) async fn unpacked(
    mut stream: Box<dyn ImageStream>,
    url: &Url,
) -> Result<Box<dyn ImageStream>, SourceError> {
    let (mut head, mut first) = (Vec::new(), VecDeque::new());
    while head.len() < HEAD
        && let Some(piece) = stream.next().await?
    {
        head.extend(piece.iter().take(HEAD));
        first.push_back(piece);
    }
    let begun = Box::new(Begun { first, stream });
    Ok(match Packing::of(&head, url) {
        Some(packing) => Box::new(packing.open(begun, url)),
        None => begun,
    })
}

/// A stream whose first pieces were looked at.
struct Begun {
    first: VecDeque<Bytes>,
    stream: Box<dyn ImageStream>,
}

#[async_trait]
impl ImageStream for Begun {
    fn info(&self) -> &SourceInfo {
        self.stream.info()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self.first.pop_front() {
            Some(piece) => Ok(Some(piece)),
            None => self.stream.next().await,
        }
    }
}

impl Packing {
    /// Told by the first bytes. One whose name says that it is packed and that does not look so is
    /// taken to be damaged, unless it is a qcow2.
    fn of(head: &[u8], url: &Url) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            head if head.starts_with(QCOW2) => None,
            _ => Self::named(url),
        }
    }

    fn named(url: &Url) -> Option<Self> {
        let (_, end) = url.path().rsplit_once('.')?;
        match end {
            "gz" => Some(Self::Gzip),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Whether a validator is that of the image inside a packed one.
    pub(crate) fn is_known_by(validator: &str) -> bool {
        [Self::Gzip, Self::Xz, Self::Zstd]
            .iter()
            .any(|packing| validator.starts_with(&packing.prefix()))
    }

    fn prefix(self) -> String {
        format!("{self:?} of ")
    }

    /// What is known of the image inside.
    fn info(self, packed: SourceInfo) -> SourceInfo {
        let validator = packed.validator.map(|packed| self.prefix() + &packed);
        SourceInfo {
            length: None,
            validator,
        }
    }

    /// The image inside.
    fn open(self, packed: Box<dyn ImageStream>, url: &Url) -> Unpacked {
        let info = self.info(packed.info().clone());
        let failed = Arc::<Mutex<Option<SourceError>>>::default();
        let (fill, pieces) = mpsc::channel(WAITING);
        tokio::spawn(feed(packed, fill));
        let (give, unpacked) = mpsc::channel(WAITING);
        let source = Feed {
            pieces,
            current: Bytes::new(),
            failed: failed.clone(),
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = self.unpack(BufReader::new(source), &give) {
                let _ = give.blocking_send(Err(error));
            }
        });
        Unpacked {
            info,
            shown: Shown::from(url),
            unpacked,
            failed,
        }
    }

    fn unpack(self, mut packed: impl BufRead, to: &Sender) -> io::Result<()> {
        match self {
            Self::Gzip => copy(&mut MultiGzDecoder::new(packed), to),
            Self::Xz => {
                let most = u32::try_from(MEMORY / 1024).unwrap_or(u32::MAX);
                copy(&mut XzReader::new_mem_limit(packed, true, most), to)
            }
            Self::Zstd => {
                // One frame after the other.
                while !packed.fill_buf()?.is_empty() {
                    let frame = StreamingDecoder::new_with_max_window_size(&mut packed, MEMORY);
                    copy(&mut frame.map_err(io::Error::other)?, to)?;
                }
                Ok(())
            }
        }
    }
}

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// Ends early, and without an error, once nobody takes the pieces.
fn copy(from: &mut impl Read, to: &Sender) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() || to.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
}

async fn feed(mut packed: Box<dyn ImageStream>, to: mpsc::Sender<Result<Bytes, SourceError>>) {
    while let Some(next) = packed.next().await.transpose() {
        let failed = next.is_err();
        if to.send(next).await.is_err() || failed {
            return;
        }
    }
}

/// The packed bytes, for a thread that may wait.
struct Feed {
    pieces: mpsc::Receiver<Result<Bytes, SourceError>>,
    current: Bytes,
    failed: Arc<Mutex<Option<SourceError>>>,
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => self.current = piece,
                Some(Err(error)) => {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    *failed = Some(error);
                    return Err(io::Error::other("the source failed"));
                }
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.current.len());
        if let Some(into) = into.get_mut(..length) {
            self.current.copy_to_slice(into);
        }
        Ok(length)
    }
}

/// An image being unpacked.
struct Unpacked {
    info: SourceInfo,
    shown: Shown,
    unpacked: mpsc::Receiver<io::Result<Bytes>>,
    failed: Arc<Mutex<Option<SourceError>>>,
}

#[async_trait]
impl ImageStream for Unpacked {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self.unpacked.recv().await {
            Some(Ok(piece)) => Ok(Some(piece)),
            None => Ok(None),
            Some(Err(error)) => {
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                Err(failed.take().unwrap_or_else(|| {
                    let message = format!("it cannot be unpacked: {}", chain(&error));
                    invalid(&self.shown, message)
                }))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Router;
    use std::process::Command;
    use vsiflow_steps::ports::{ImageSource as _, SourceErrorKind};

    async fn all(url: &str) -> Result<Vec<u8>, SourceError> {
        let mut stream = Router::new().unwrap().open(url).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn packed_images_are_unpacked_and_damaged_ones_refused() {
        let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        for (tool, end) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst")] {
            let dir = tempfile::tempdir().unwrap();
            let plain = dir.path().join("image");
            std::fs::write(&plain, &content).unwrap();
            let packed = Command::new(tool).arg("-k").arg("-q").arg(&plain).status();
            if packed.is_err() {
                println!("skipped: there is no {tool} here");
                continue;
            }
            let file = dir.path().join(format!("image.{end}"));
            let url = Url::from_file_path(&file).unwrap().to_string();
            assert!(all(&url).await.unwrap() == content, "{tool}");
            let mut bytes = std::fs::read(&file).unwrap();
            // Two in a row are one.
            let twice = [bytes.clone(), bytes.clone()].concat();
            std::fs::write(&file, twice).unwrap();
            assert_eq!(all(&url).await.unwrap().len(), content.len() * 2, "{tool}");
            bytes.truncate(bytes.len() / 2);
            std::fs::write(&file, &bytes).unwrap();
            let error = all(&url).await.unwrap_err();
            assert_eq!(error.kind, SourceErrorKind::Invalid, "{tool}: {error}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn first_bytes_tell_how_an_image_is_packed_and_its_name_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let file = dir.path().join(name);
            std::fs::write(&file, bytes).unwrap();
            Url::from_file_path(&file).unwrap().to_string()
        };
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, &[7; 100_000]).unwrap();
        let packed = packed.finish().unwrap();
        let url = put("image.qcow2", &packed);
        assert!(all(&url).await.unwrap() == [7; 100_000]);
        let source = Router::new().unwrap();
        let probed = source.probe(&url).await.unwrap();
        assert_eq!(&probed, source.open(&url).await.unwrap().info());
        assert_eq!(probed.length, None);
        // It cannot be entered in its middle, whatever is asked.
        let validator = probed.validator.as_deref();
        let again = source.open_at(&url, 50, validator).await.unwrap();
        assert_eq!((again.starts_at(), again.info()), (0, &probed));
        let plain = [QCOW2, &[9; 1_000]].concat();
        assert!(all(&put("plain.gz", &plain)).await.unwrap() == plain);
        let neither = all(&put("neither.gz", &[9; 1_000])).await.unwrap_err();
        assert_eq!(neither.kind, SourceErrorKind::Invalid, "{neither}");
        assert!(all(&put("short", b"abc")).await.unwrap() == b"abc");
    }
}
