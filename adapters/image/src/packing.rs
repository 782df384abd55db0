//! Images that are packed at their source, unpacked on their way.
//!
//! Their first bytes tell how they are packed. Their length is not known before their end, and they
//! cannot be entered in their middle.

mod ova;
pub(crate) mod vmdk;

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

use crate::error::{ShownError, error, invalid};
use crate::oci::UnfitLayer;
use crate::sparse::SparseForm;
use ova::UnfitOva;
use vmdk::UnfitVmdk;

/// Bytes unpacked at a time.
const PIECE: usize = 192 * 1024;
/// Pieces that wait on either side of the unpacking.
pub(crate) const WAITING: usize = 4;
/// What unpacking may keep of what it unpacked: an archive that wants more is refused.
pub(crate) const MEMORY: u64 = 34 * 1024 * 1024;

/// What a packed image may become: so much in any case, which a disk of zeros may be, and beyond
/// that so many times what it is packed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnpackLimit {
    pub(crate) free: u64,
    pub(crate) times: u64,
}

impl UnpackLimit {
    /// The most that something of so many bytes may become.
    pub(crate) fn of(self, packed: u64) -> u64 {
        packed.saturating_mul(self.times).max(self.free)
    }
}

/// gzip packs to no less than a thousandth.
pub(crate) const MOST: UnpackLimit = UnpackLimit {
    free: 128 << 30,
    times: 1_024,
};

/// Whether it becomes too much was asked while it was unpacked.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {0} bytes and to more than {1} times its packed size")]
pub(crate) struct UnpackedTooLarge(pub(crate) u64, pub(crate) u64);

/// The first bytes of a qcow2, which is not packed whatever its name ends in: servers unpack
/// unasked.
const QCOW2: &[u8] = b"QFI\xfb";
/// As many bytes as it takes to tell.
const HEAD: usize = 512;

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
    Ova,
    Vmdk,
}

/// Whether the image is inside of a file that begins so, which 512 bytes tell: it is unpacked, or
/// put together, on its way to hosts, and has another checksum than the file.
///
/// ```
/// assert!(vsiflow_image::is_packed(b"\x28\xb5\x2f\xfd and so on"));
/// assert!(!vsiflow_image::is_packed(b"QFI\xfb"));
/// ```
pub fn is_packed(head: &[u8]) -> bool {
    Packing::by_head(head).is_some() || SparseForm::of(head).is_some()
}

/// A stream whose first pieces were looked at.
pub(crate) struct PackingTrial {
    head: Vec<u8>,
    first: VecDeque<Bytes>,
    stream: Box<dyn ImageStream>,
}

impl PackingTrial {
    /// The stream, which begins at its start.
    ///
    /// # Errors
    /// Those of the stream, before its first bytes.
    pub(crate) async fn new(mut stream: Box<dyn ImageStream>) -> Result<Self, SourceError> {
        let (mut head, mut first) = (Vec::new(), VecDeque::new());
        while head.len() < HEAD
            && let Some(piece) = stream.next().await?
        {
            head.extend(piece.iter().take(HEAD));
            first.push_back(piece);
        }
        Ok(Self {
            head,
            first,
            stream,
        })
    }

    /// The form of a file that cannot be read from its start to its end, if it is one.
    pub(crate) fn sparse(&self) -> Option<SparseForm> {
        SparseForm::of(&self.head)
    }

    /// The image that it gives, unpacked where it is packed.
    pub(crate) fn unpacked(self, url: &Url) -> Box<dyn ImageStream> {
        self.unpacked_within(url, MOST)
    }

    pub(crate) fn unpacked_within(self, url: &Url, most: UnpackLimit) -> Box<dyn ImageStream> {
        match Packing::of(&self.head, url) {
            Some(packing) => Box::new(packing.open(Box::new(self), url, most)),
            None => Box::new(self),
        }
    }
}

#[async_trait]
impl ImageStream for PackingTrial {
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
        match Self::by_head(head) {
            None if !head.starts_with(QCOW2) => Self::named(url),
            packing => packing,
        }
    }

    fn by_head(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            head if head.starts_with(vmdk::MAGIC) => Some(Self::Vmdk),
            head if ova::is_ova(head) => Some(Self::Ova),
            _ => None,
        }
    }

    fn named(url: &Url) -> Option<Self> {
        let (_, end) = url.path().rsplit_once('.')?;
        match end {
            "gz" => Some(Self::Gzip),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            "ova" => Some(Self::Ova),
            _ => None,
        }
    }

    /// The validator of the packed image, where one is that of an image inside.
    pub(crate) fn around(validator: &str) -> Option<&str> {
        [Self::Gzip, Self::Xz, Self::Zstd, Self::Ova, Self::Vmdk]
            .iter()
            .find_map(|packing| validator.strip_prefix(&packing.prefix()))
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
    fn open(self, packed: Box<dyn ImageStream>, url: &Url, most: UnpackLimit) -> Unpacked {
        let info = self.info(packed.info().clone());
        let failed = Arc::<Mutex<Option<SourceError>>>::default();
        let (fill, pieces) = mpsc::channel(WAITING);
        tokio::spawn(feed(packed, fill));
        let (give, unpacked) = mpsc::channel(WAITING);
        let taken = Arc::<AtomicU64>::default();
        let source = Feed::new(pieces, failed.clone(), taken.clone());
        let mut to = Outlet::new(give, taken, most);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = self.unpack(BufReader::new(source), &mut to) {
                to.fail(error);
            }
        });
        Unpacked::new(info, ShownError::from(url), unpacked, failed)
    }

    fn unpack(self, mut packed: impl BufRead, to: &mut Outlet) -> io::Result<()> {
        match self {
            Self::Gzip => copy(&mut MultiGzDecoder::new(packed), to).map(drop),
            Self::Xz => {
                let most = u32::try_from(MEMORY / 1024).unwrap_or(u32::MAX);
                copy(&mut XzReader::new_mem_limit(packed, true, most), to).map(drop)
            }
            Self::Zstd => {
                // One frame after the other.
                while !packed.fill_buf()?.is_empty() {
                    let frame = StreamingDecoder::new_with_max_window_size(&mut packed, MEMORY);
                    copy(&mut frame.map_err(io::Error::other)?, to)?;
                }
                Ok(())
            }
            Self::Ova => ova::unpack(packed, to),
            // What follows is read past: a source that knows its digest compares all.
            Self::Vmdk => {
                if vmdk::unpack(&mut packed, to)? {
                    io::copy(&mut packed, &mut io::sink()).map(drop)
                } else {
                    Ok(())
                }
            }
        }
    }
}

type PackingSender = mpsc::Sender<io::Result<Bytes>>;

/// Where unpacked pieces go.
pub(crate) struct Outlet {
    give: PackingSender,
    received: u64,
    taken: Arc<AtomicU64>,
    most: UnpackLimit,
}

impl Outlet {
    pub(crate) fn new(give: PackingSender, taken: Arc<AtomicU64>, most: UnpackLimit) -> Self {
        Self {
            give,
            received: 0,
            taken,
            most,
        }
    }

    /// Counts the packed bytes that were read.
    pub(crate) fn taken(&self) -> Arc<AtomicU64> {
        self.taken.clone()
    }

    /// Says why nothing follows.
    pub(crate) fn fail(&self, error: io::Error) {
        let _ = self.give.blocking_send(Err(error));
    }

    /// Whether somebody takes more.
    fn put(&mut self, piece: Vec<u8>) -> io::Result<bool> {
        self.received = self.received.saturating_add(piece.len() as u64);
        let taken = self.taken.load(Ordering::Relaxed);
        let most = self.most.of(taken);
        if self.received > most {
            Err(io::Error::other(UnpackedTooLarge(most, self.most.times)))
        } else {
            Ok(self.give.blocking_send(Ok(piece.into())).is_ok())
        }
    }
}

/// Ends early, and without an error, once nobody takes the pieces; whether somebody took all.
pub(crate) fn copy(from: &mut impl Read, to: &mut Outlet) -> io::Result<bool> {
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        from.by_ref().take(PIECE as u64).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(true);
        }
        if !to.put(piece)? {
            return Ok(false);
        }
    }
}

pub(crate) async fn feed(
    mut packed: Box<dyn ImageStream>,
    to: mpsc::Sender<Result<Bytes, SourceError>>,
) {
    while let Some(next) = packed.next().await.transpose() {
        let failed = next.is_err();
        if to.send(next).await.is_err() || failed {
            return;
        }
    }
}

/// The packed bytes, for a thread that may wait.
pub(crate) struct Feed {
    pieces: mpsc::Receiver<Result<Bytes, SourceError>>,
    current: Bytes,
    failed: Arc<Mutex<Option<SourceError>>>,
    /// Packed bytes that were read.
    taken: Arc<AtomicU64>,
}

impl Feed {
    pub(crate) fn new(
        pieces: mpsc::Receiver<Result<Bytes, SourceError>>,
        failed: Arc<Mutex<Option<SourceError>>>,
        taken: Arc<AtomicU64>,
    ) -> Self {
        Self {
            pieces,
            current: Bytes::new(),
            failed,
            taken,
        }
    }
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
pub(crate) struct Unpacked {
    info: SourceInfo,
    shown: ShownError,
    unpacked: mpsc::Receiver<io::Result<Bytes>>,
    failed: Arc<Mutex<Option<SourceError>>>,
}

impl Unpacked {
    pub(crate) fn new(
        info: SourceInfo,
        shown: ShownError,
        unpacked: mpsc::Receiver<io::Result<Bytes>>,
        failed: Arc<Mutex<Option<SourceError>>>,
    ) -> Self {
        Self {
            info,
            shown,
            unpacked,
            failed,
        }
    }
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

pub(crate) fn unfit(shown: &ShownError, cause: &io::Error) -> SourceError {
    let inner = cause.get_ref();
    if let Some(too_much) = inner.and_then(|source| source.downcast_ref::<UnpackedTooLarge>()) {
        return error(SourceErrorKind::TooLarge, shown, too_much.to_string());
    }
    let ova = inner.and_then(|source| source.downcast_ref::<UnfitOva>());
    let vmdk = inner.and_then(|source| source.downcast_ref::<UnfitVmdk>());
    let appliance = ova.map(ToString::to_string);
    if let Some(why) = appliance.or(vmdk.map(ToString::to_string)) {
        return error(SourceErrorKind::Appliance, shown, why);
    }
    match inner.and_then(|source| source.downcast_ref::<UnfitLayer>()) {
        Some(unfit) => error(SourceErrorKind::Mismatch, shown, unfit.to_string()),
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
mod appliance_tests;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
