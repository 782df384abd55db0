//! Images that are packed at their source, unpacked on their way.
//!
//! Their first bytes tell how they are packed. Their length is not known before their end, and they
//! cannot be entered in their middle.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;
use tokio::sync::mpsc;
use url::Url;
use vsiflow_engine::causes::chain;
use vsiflow_steps::ports::{ImageStream, SourceError, SourceErrorKind, SourceInfo};

use crate::error::{Shown, error, invalid};

/// Bytes unpacked at a time.
const PIECE: usize = 192 * 1024;
/// Pieces that wait on either side of the unpacking.
const WAITING: usize = 4;
/// What unpacking may keep of what it unpacked: an archive that wants more is refused.
const MEMORY: u64 = 34 * 1024 * 1024;

/// What a packed image may become: so much in any case, which a disk of zeros may be, and beyond
/// that so many times what it is packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Most {
    pub(crate) free: u64,
    pub(crate) times: u64,
}

/// gzip packs to no less than a thousandth.
const MOST: Most = Most {
    free: 128 << 30,
    times: 1_024,
};

/// Whether it becomes too much was asked while it was unpacked.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {0} bytes and to more than {1} times its packed size")]
struct TooMuch(u64, u64);

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
    stream: Box<dyn ImageStream>,
    url: &Url,
) -> Result<Box<dyn ImageStream>, SourceError> {
    unpacked_within(stream, url, MOST).await
}

pub(crate) async fn unpacked_within(
    mut stream: Box<dyn ImageStream>,
    url: &Url,
    most: Most,
) -> Result<Box<dyn ImageStream>, SourceError> {
    let (mut head, mut first) = (Vec::new(), VecDeque::new());
    while head.len() < HEAD
        && let Some(piece) = stream.next().await?
    {
        head.extend(piece.iter().take(HEAD));
        first.push_back(piece);
    }
    let begun = Box::new(PackingBegun { first, stream });
    Ok(match Packing::of(&head, url) {
        Some(packing) => Box::new(packing.open(begun, url, most)),
        None => begun,
    })
}

/// A stream whose first pieces were looked at.
struct PackingBegun {
    first: VecDeque<Bytes>,
    stream: Box<dyn ImageStream>,
}

#[async_trait]
impl ImageStream for PackingBegun {
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
    fn open(self, packed: Box<dyn ImageStream>, url: &Url, most: Most) -> Unpacked {
        let info = self.info(packed.info().clone());
        let failed = Arc::<Mutex<Option<SourceError>>>::default();
        let (fill, pieces) = mpsc::channel(WAITING);
        tokio::spawn(feed(packed, fill));
        let (give, unpacked) = mpsc::channel(WAITING);
        let taken = Arc::<AtomicU64>::default();
        let source = Feed {
            pieces,
            current: Bytes::new(),
            failed: failed.clone(),
            taken: taken.clone(),
        };
        let mut to = Outlet {
            give,
            given: 0,
            taken,
            most,
        };
        tokio::task::spawn_blocking(move || {
            if let Err(error) = self.unpack(BufReader::new(source), &mut to) {
                let _ = to.give.blocking_send(Err(error));
            }
        });
        Unpacked {
            info,
            shown: Shown::from(url),
            unpacked,
            failed,
        }
    }

    fn unpack(self, mut packed: impl BufRead, to: &mut Outlet) -> io::Result<()> {
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

/// Where unpacked pieces go.
struct Outlet {
    give: Sender,
    given: u64,
    taken: Arc<AtomicU64>,
    most: Most,
}

impl Outlet {
    /// Whether somebody takes more.
    fn put(&mut self, piece: Vec<u8>) -> io::Result<bool> {
        self.given = self.given.saturating_add(piece.len() as u64);
        let taken = self.taken.load(Ordering::Relaxed);
        let most = taken.saturating_mul(self.most.times).max(self.most.free);
        match self.given > most {
            true => Err(io::Error::other(TooMuch(most, self.most.times))),
            false => Ok(self.give.blocking_send(Ok(piece.into())).is_ok()),
        }
    }
}

/// Ends early, and without an error, once nobody takes the pieces.
fn copy(from: &mut impl Read, to: &mut Outlet) -> io::Result<()> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() || !to.put(piece)? {
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
    /// Packed bytes that were read.
    taken: Arc<AtomicU64>,
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
            self.taken.fetch_add(length as u64, Ordering::Relaxed);
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
                Err(failed.take().unwrap_or_else(|| unfit(&self.shown, &error)))
            }
        }
    }
}

fn unfit(shown: &Shown, cause: &io::Error) -> SourceError {
    match cause
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<TooMuch>())
    {
        Some(too_much) => error(SourceErrorKind::TooLarge, shown, too_much.to_string()),
        None => invalid(shown, why(cause)),
    }
}

/// Why unpacking failed, as people understand it.
fn why(error: &io::Error) -> String {
    let words = chain(error);
    // Both libraries say so in words alone.
    if words.contains("mem_limit") || words.contains("window_size") {
        let most = MEMORY / 1024 / 1024;
        return format!(
            "unpacking it needs more than {most} MiB of memory; pack it with `xz -8` or less, or with \
             `zstd` without `--long` and `--ultra`"
        );
    }
    format!("it cannot be unpacked: {words}")
}

#[cfg(test)]
mod tests;
