//! Unpacks images that are packed at their source, while they are transferred.
//!
//! The first bytes show how an image is packed. Its unpacked length is unknown before its end, and reading
//! cannot start in its middle.

mod compressed;
mod memory;
mod misnamed;
mod ova;
pub(crate) mod thread;
mod unpacking;
pub(crate) mod vmdk;

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use tokio::sync::mpsc;
use url::Url;
use vsiflow_engine::causes::chain;
use vsiflow_steps::ports::{ImageOwner, ImageStream, SourceError, SourceErrorKind, SourceInfo};

use crate::error::{ShownError, causes, error};
use crate::oci::unfit_layer::UnfitLayer;
use crate::sparse::SparseForm;
pub(crate) use compressed::{MAX_FRAME_HEADER, ZstdFrame, reserve_window};
pub(crate) use memory::{MemoryBusy, ReservedMemory, SharedMemory};
use misnamed::Misnamed;
use ova::UnfitOva;
pub(crate) use unpacking::Unpacking;
use vmdk::UnfitVmdk;

/// How many bytes are unpacked at a time.
const PIECE: usize = 192 * 1024;
/// How many pieces wait on either side of the unpacking.
pub(crate) const WAITING: usize = 4;
/// How much memory the unpacking of a zstd image may use, in bytes.
const ZSTD_MEMORY: u64 = 34 * 1024 * 1024;
/// The same for xz: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 72 * 1024 * 1024;

/// Limits the unpacked size of an image. `free` bytes are always permitted, because a disk may be all zeros;
/// beyond that, `times` times the packed size.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnpackLimit {
    pub(crate) free: u64,
    pub(crate) times: u64,
}

impl UnpackLimit {
    /// How many bytes `packed` bytes may unpack to.
    pub(crate) fn of(self, packed: u64) -> u64 {
        packed.saturating_mul(self.times).max(self.free)
    }
}

/// gzip packs to at least a thousandth of the size.
pub(crate) const MAX: UnpackLimit = UnpackLimit {
    free: 128 << 30,
    times: 1_024,
};

/// The error when an image exceeds its limit while it is unpacked.
#[derive(Debug, thiserror::Error)]
#[error("it unpacks to more than {0} bytes and to more than {1} times its packed size")]
pub(crate) struct UnpackedTooLarge(pub(crate) u64, pub(crate) u64);

/// The first bytes of a qcow2. Such an image is not packed, whatever its name ends in, because servers may
/// unpack without being asked.
const QCOW2: &[u8] = b"QFI\xfb";
/// How many first bytes are needed to recognise the packing: the description in an OVA may have a long name.
const HEAD: usize = 4096;

/// How an image is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
    Ova,
    Vmdk,
}

/// Whether a file that begins with these 4096 bytes only contains the image. Such a file is unpacked, or
/// assembled, while it is sent to hosts, and has another checksum than the image.
///
/// ```
/// assert!(vsiflow_image::is_packed(b"\x28\xb5\x2f\xfd and so on"));
/// assert!(!vsiflow_image::is_packed(b"QFI\xfb"));
/// ```
pub fn is_packed(head: &[u8]) -> bool {
    Packing::by_head(head).is_some() || SparseForm::of(head).is_some()
}

/// A stream whose first bytes were examined.
pub(crate) struct PackingTrial {
    head: Vec<u8>,
    first: VecDeque<Bytes>,
    stream: Box<dyn ImageStream>,
}

impl PackingTrial {
    /// Examines a stream that starts at its first byte.
    ///
    /// # Errors
    /// Errors of the stream that occur before the first 4096 bytes are read.
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

    /// The sparse format, if the file is one that cannot be read from start to end.
    pub(crate) fn sparse(&self) -> Option<SparseForm> {
        SparseForm::of(&self.head)
    }

    /// The image, unpacked if it is packed.
    pub(crate) fn unpacked(self, url: &Url, owner: &ImageOwner) -> Box<dyn ImageStream> {
        self.unpacked_within(url, owner, MAX)
    }

    pub(crate) fn unpacked_within(
        self,
        url: &Url,
        owner: &ImageOwner,
        most: UnpackLimit,
    ) -> Box<dyn ImageStream> {
        match (
            Packing::by_head(&self.head),
            Packing::misnaming(&self.head, url),
        ) {
            (Some(packing), _) => Box::new(packing.open(self, url, owner, most)),
            (None, Some(named)) => {
                let info = named.info(self.info().clone());
                Box::new(Misnamed::new(
                    named,
                    &self.head,
                    info,
                    ShownError::from(url),
                ))
            }
            (None, None) => Box::new(self),
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
    /// The packing that only the name of a file says. A qcow2 may have any name.
    fn misnaming(head: &[u8], url: &Url) -> Option<Self> {
        let is_plain = Self::by_head(head).is_none() && !head.starts_with(QCOW2);
        Self::named(url).filter(|_| is_plain)
    }

    /// What such a file is called.
    fn words(self) -> &'static str {
        match self {
            Self::Gzip => "a file packed by gzip",
            Self::Xz => "a file packed by xz",
            Self::Zstd => "a file packed by zstd",
            Self::Ova => "an OVA",
            Self::Vmdk => "a VMDK",
        }
    }

    /// The packing of a file that begins with these bytes.
    pub(crate) fn by_head(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            // zstd itself, or a frame that is to be skipped, which some programs write first.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            head if head.starts_with(vmdk::MAGIC) => Some(Self::Vmdk),
            head if ova::is_ova(head) => Some(Self::Ova),
            _ => None,
        }
    }

    /// The packing that the name of a file says.
    pub(crate) fn named(url: &Url) -> Option<Self> {
        let (_, end) = url.path().rsplit_once('.')?;
        match end {
            "gz" => Some(Self::Gzip),
            "xz" => Some(Self::Xz),
            "zst" => Some(Self::Zstd),
            "ova" => Some(Self::Ova),
            _ => None,
        }
    }

    /// The validator of the packed file, if `validator` is that of an image inside one.
    pub(crate) fn around(validator: &str) -> Option<&str> {
        [Self::Gzip, Self::Xz, Self::Zstd, Self::Ova, Self::Vmdk]
            .iter()
            .find_map(|packing| validator.strip_prefix(&packing.prefix()))
    }

    fn prefix(self) -> String {
        format!("{self:?} of ")
    }

    /// The properties of the image inside.
    fn info(self, packed: SourceInfo) -> SourceInfo {
        let validator = packed.validator.map(|packed| self.prefix() + &packed);
        SourceInfo {
            length: None,
            validator,
        }
    }

    /// Opens the image inside.
    fn open(
        self,
        packed: PackingTrial,
        url: &Url,
        owner: &ImageOwner,
        most: UnpackLimit,
    ) -> Unpacked {
        let head = packed.head.clone();
        let packed: Box<dyn ImageStream> = Box::new(packed);
        let info = self.info(packed.info().clone());
        let failed = Arc::<Mutex<Option<SourceError>>>::default();
        let (fill, pieces) = mpsc::channel(WAITING);
        tokio::spawn(feed(packed, fill));
        let (give, unpacked) = mpsc::channel(WAITING);
        let unpacking = Arc::new(Unpacking::new(owner.clone(), give));
        let source = Feed::new(pieces, failed.clone(), unpacking.clone());
        let mut outlet = Outlet::new(unpacking.clone(), most);
        thread::spawn(unpacking, move || {
            self.unpack(&head, BufReader::new(source), &mut outlet)
        });
        Unpacked::new(info, ShownError::from(url), unpacked, failed)
    }

    /// Unpacks a file that begins with `head`. Blocks.
    fn unpack(self, head: &[u8], mut packed: impl BufRead, to: &mut Outlet) -> io::Result<()> {
        match self {
            Self::Gzip => compressed::gunzip(packed, to),
            Self::Xz => compressed::unxz(head, packed, to),
            Self::Zstd => compressed::unzstd(packed, to),
            Self::Ova => ova::unpack(packed, to),
            // Read to the end: a source with a digest compares all bytes.
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

/// The receiver of unpacked pieces.
pub(crate) struct Outlet {
    unpacking: Arc<Unpacking>,
    received: u64,
    most: UnpackLimit,
}

impl Outlet {
    pub(crate) fn new(unpacking: Arc<Unpacking>, most: UnpackLimit) -> Self {
        Self {
            unpacking,
            received: 0,
            most,
        }
    }

    /// The unpacking whose pieces these are.
    pub(crate) fn unpacking(&self) -> &Arc<Unpacking> {
        &self.unpacking
    }

    /// Sends a piece. Returns whether the receiver wants more.
    fn put(&mut self, piece: Vec<u8>) -> io::Result<bool> {
        self.received = self.received.saturating_add(piece.len() as u64);
        let most = self.most.of(self.unpacking.taken());
        if self.received > most {
            Err(io::Error::other(UnpackedTooLarge(most, self.most.times)))
        } else {
            self.unpacking.send(piece.into())
        }
    }
}

/// Copies until the end. Stops early without an error if the receiver is closed, and returns false then.
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

/// The packed bytes, as a blocking reader.
pub(crate) struct Feed {
    pieces: mpsc::Receiver<Result<Bytes, SourceError>>,
    current: Bytes,
    failed: Arc<Mutex<Option<SourceError>>>,
    unpacking: Arc<Unpacking>,
}

impl Feed {
    pub(crate) fn new(
        pieces: mpsc::Receiver<Result<Bytes, SourceError>>,
        failed: Arc<Mutex<Option<SourceError>>>,
        unpacking: Arc<Unpacking>,
    ) -> Self {
        Self {
            pieces,
            current: Bytes::new(),
            failed,
            unpacking,
        }
    }
}

impl Read for Feed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.unpacking.wait(self.pieces.recv())? {
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
            self.unpacking.count(length as u64);
        }
        Ok(length)
    }
}

/// The stream of an image that is being unpacked.
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
    if let Some(busy) = inner.and_then(|source| source.downcast_ref::<MemoryBusy>()) {
        return error(SourceErrorKind::Transient, shown, busy.to_string());
    }
    let ova = inner.and_then(|source| source.downcast_ref::<UnfitOva>());
    let vmdk = inner.and_then(|source| source.downcast_ref::<UnfitVmdk>());
    let appliance = ova.map(ToString::to_string);
    if let Some(why) = appliance.or(vmdk.map(ToString::to_string)) {
        return error(SourceErrorKind::Appliance, shown, why);
    }
    match inner.and_then(|source| source.downcast_ref::<UnfitLayer>()) {
        Some(unfit) => error(SourceErrorKind::Mismatch, shown, unfit.to_string()),
        None => not_unpacked(shown, cause),
    }
}

/// The error for packed data that cannot be unpacked.
fn not_unpacked(shown: &ShownError, cause: &io::Error) -> SourceError {
    if let Some(ExceededMemory { bytes, remedy }) = exceeded(cause) {
        let most = bytes / 1024 / 1024;
        let message = format!("unpacking it needs more than {most} MiB of memory; {remedy}");
        return error(SourceErrorKind::Greedy, shown, message);
    }
    let inner = cause.get_ref();
    let kind = match inner {
        Some(why) if why.is::<compressed::FollowedByOther>() => SourceErrorKind::Followed,
        Some(why) if why.is::<compressed::UnannouncedDictionary>() => SourceErrorKind::Greedy,
        _ => SourceErrorKind::Packed,
    };
    let message = format!("it cannot be unpacked: {}", chain(cause));
    error(kind, shown, message)
}

/// The limit on memory that unpacking would exceed.
struct ExceededMemory {
    bytes: u64,
    /// How an image is packed that needs less.
    remedy: &'static str,
}

/// The limit on memory that a library of a format reports as exceeded.
fn exceeded(error: &io::Error) -> Option<ExceededMemory> {
    use ruzstd::decoding::errors::{FrameDecoderError as Frame, FrameHeaderError as Header};
    let mut of_zstd = causes(error).filter_map(|cause| cause.downcast_ref::<Frame>());
    let is_window = |frame: &Frame| {
        matches!(
            frame,
            Frame::WindowSizeTooBig { .. }
                | Frame::FrameHeaderError(Header::WindowTooBig { .. })
                | Frame::FailedToInitialize(Header::WindowTooBig { .. })
        )
    };
    if of_zstd.any(is_window) {
        return Some(ExceededMemory {
            bytes: ZSTD_MEMORY,
            remedy: "pack it with `zstd` without `--long` and `--ultra`",
        });
    }
    // The xz library has no type for it, and gives this kind to errors about memory alone.
    (error.kind() == io::ErrorKind::OutOfMemory).then_some(ExceededMemory {
        bytes: XZ_MEMORY,
        remedy: "pack it with `xz -9` or less",
    })
}

#[cfg(test)]
mod appliance_tests;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
