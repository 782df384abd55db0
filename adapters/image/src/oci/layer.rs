//! Reads the disk in a layer of a container image: the one regular file below `/disk/`.
//!
//! A layer is a tar archive, compressed or not. Nothing is written to files: the archive is read up to the
//! disk, and then to its end, so that the layer's digest is compared.

use std::io::{self, BufReader, Read};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;
use tar::{Entry, EntryType};
use tokio::sync::{mpsc, oneshot};
use vsiflow_steps::ports::{ImageOwner, ImageStream, SourceError, SourceInfo};

use super::unfit_layer::{MAX_FILES, UnfitLayer};
use crate::archive;
use crate::error::ShownError;
use crate::packing::{
    Feed, MAX, MAX_FRAME_HEADER, Outlet, ReservedMemory, UnpackLimit, Unpacked, UnpackedTooLarge,
    Unpacking, WAITING, ZstdFrame, copy, feed, reserve_window, thread, unfit,
};

/// The disk in the layer; `None` if it has none. Later errors of the layer are reported by the stream.
pub(super) async fn disk(
    layer: Box<dyn ImageStream>,
    shown: &ShownError,
    validator: String,
    owner: &ImageOwner,
) -> Result<Option<Box<dyn ImageStream>>, SourceError> {
    let failed = Arc::<Mutex<Option<SourceError>>>::default();
    let (fill, pieces) = mpsc::channel(WAITING);
    tokio::spawn(feed(layer, fill));
    let (give, unpacked) = mpsc::channel(WAITING);
    let unpacking = Arc::new(Unpacking::new(owner.clone(), give));
    let source = Feed::new(pieces, failed.clone(), unpacking.clone());
    let mut outlet = Outlet::new(unpacking.clone(), MAX);
    let (tell, result) = oneshot::channel();
    thread::spawn(unpacking, move || {
        let mut tell = Some(tell);
        let searched = search(source, &mut outlet, MAX, &mut tell);
        match (searched, tell.take()) {
            (Err(error), Some(tell)) => {
                let _ = tell.send(Err(error));
                Ok(())
            }
            (searched, _) => searched,
        }
    });
    let ended = |_| Err(io::Error::other("the search of a layer ended early"));
    let disk_length = result.await.unwrap_or_else(ended);
    let length = match disk_length {
        Ok(Some(length)) => length,
        Ok(None) => return Ok(None),
        Err(cause) => {
            let mut failure = failed.lock().unwrap_or_else(PoisonError::into_inner);
            return Err(failure.take().unwrap_or_else(|| unfit(shown, &cause)));
        }
    };
    let info = SourceInfo {
        length: Some(length),
        validator: Some(validator),
    };
    Ok(Some(Box::new(Unpacked::new(
        info,
        shown.clone(),
        unpacked,
        failed,
    ))))
}

type LengthSender = Option<oneshot::Sender<io::Result<Option<u64>>>>;

/// Reports the length of the disk, sends the disk, and reads to the end of the layer.
fn search(
    layer: Feed,
    to: &mut Outlet,
    most: UnpackLimit,
    tell: &mut LengthSender,
) -> io::Result<()> {
    let unpacking = to.unpacking().clone();
    let unpacked = LimitedLayer {
        packed: open(layer, &unpacking)?,
        read: 0,
        unpacking,
        most,
    };
    let (mut archive, gauge) = archive::open(unpacked, || io::Error::other(UnfitLayer::Headers));
    let mut entries = archive.entries()?;
    let mut has_disk = false;
    for _ in 0..MAX_FILES {
        let Some(entry) = entries.next() else {
            gauge.permit_rest();
            // Read to the end, because the digest covers all bytes.
            io::copy(&mut archive.into_inner(), &mut io::sink())?;
            if let Some(tell) = tell.take() {
                let _ = tell.send(Ok(None));
            }
            return Ok(());
        };
        let mut entry = entry?;
        gauge.permit(&entry)?;
        if !is_disk(&entry)? {
            continue;
        }
        if has_disk {
            return Err(io::Error::other(UnfitLayer::Several));
        }
        has_disk = true;
        if let Some(tell) = tell.take()
            && tell.send(Ok(Some(entry.size()))).is_err()
        {
            return Ok(());
        }
        if !copy(&mut entry, to)? {
            return Ok(());
        }
    }
    Err(io::Error::other(UnfitLayer::Files))
}

/// Whether this file is the disk.
fn is_disk<R: Read>(entry: &Entry<'_, R>) -> io::Result<bool> {
    let path = entry.path_bytes();
    let parts: Vec<&[u8]> = path
        .split(|b| *b == b'/')
        .filter(|part| !matches!(*part, b"" | b"."))
        .collect();
    if parts.contains(&b"..".as_slice()) {
        return Err(io::Error::other(UnfitLayer::Outside));
    }
    let name = match parts.as_slice() {
        [b".wh.disk"] => return Err(io::Error::other(UnfitLayer::Deleted)),
        [b"disk"] if entry.header().entry_type() != EntryType::Directory => b"disk".as_slice(),
        [b"disk", name] => name,
        _ => return Ok(false),
    };
    if name.starts_with(b".wh.") {
        return Err(io::Error::other(UnfitLayer::Deleted));
    }
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous if parts.len() == 2 => Ok(true),
        EntryType::Directory => Ok(false),
        EntryType::Link | EntryType::Symlink => Err(io::Error::other(UnfitLayer::Kind("a link"))),
        EntryType::GNUSparse => Err(io::Error::other(UnfitLayer::Kind("a sparse file"))),
        _ => Err(io::Error::other(UnfitLayer::Kind("something else"))),
    }
}

/// Opens the archive; its first bytes show how it is compressed.
fn open(layer: Feed, unpacking: &Arc<Unpacking>) -> io::Result<Box<dyn Read>> {
    let mut layer = Pushback::new(layer);
    let head = layer.peek(4)?;
    let is_zstd = match head {
        [0x1f, 0x8b, ..] => return Ok(Box::new(MultiGzDecoder::new(BufReader::new(layer)))),
        [0x28, 0xb5, 0x2f, 0xfd] => true,
        [a, 0x2a, 0x4d, 0x18] => a & 0xf0 == 0x50,
        _ => false,
    };
    if !is_zstd {
        return Ok(Box::new(layer));
    }
    Ok(Box::new(ZstdFrames {
        state: Some(FrameState::Between(layer)),
        unpacking: unpacking.clone(),
    }))
}

/// Limits the unpacked bytes.
struct LimitedLayer {
    packed: Box<dyn Read>,
    read: u64,
    unpacking: Arc<Unpacking>,
    most: UnpackLimit,
}

impl Read for LimitedLayer {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let bytes_read = self.packed.read(into)?;
        self.read = self.read.saturating_add(bytes_read as u64);
        let most = self.most.of(self.unpacking.taken());
        if self.read > most {
            return Err(io::Error::other(UnpackedTooLarge(most, self.most.times)));
        }
        Ok(bytes_read)
    }
}

/// A reader whose first bytes can be peeked at.
struct Pushback<R> {
    head: Vec<u8>,
    reader: R,
}

impl<R: Read> Pushback<R> {
    fn new(reader: R) -> Self {
        let head = Vec::new();
        Self { head, reader }
    }

    /// Up to `most` of the next bytes, without consuming them.
    fn peek(&mut self, most: usize) -> io::Result<&[u8]> {
        let missing = most.saturating_sub(self.head.len());
        let mut more = self.reader.by_ref().take(missing as u64);
        more.read_to_end(&mut self.head)?;
        Ok(&self.head)
    }
}

impl<R: Read> Read for Pushback<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.head.is_empty() {
            return self.reader.read(into);
        }
        let bytes_read = self.head.as_slice().read(into)?;
        self.head.drain(..bytes_read);
        Ok(bytes_read)
    }
}

type PackedLayer = Pushback<Feed>;

/// Reads zstd frames one after the other, and skips the skippable frames between them.
struct ZstdFrames {
    state: Option<FrameState>,
    unpacking: Arc<Unpacking>,
}

enum FrameState {
    Between(PackedLayer),
    Within(Box<ZstdFrame<PackedLayer>>, ReservedMemory),
}

impl Read for ZstdFrames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.state.take() {
                None => return Ok(0),
                Some(FrameState::Within(mut frame, memory)) => match frame.read(into)? {
                    0 if !into.is_empty() => {
                        self.state = Some(FrameState::Between(frame.into_inner()));
                    }
                    read => {
                        self.state = Some(FrameState::Within(frame, memory));
                        return Ok(read);
                    }
                },
                Some(FrameState::Between(mut packed)) => match packed.peek(8)? {
                    [] => return Ok(0),
                    [a, 0x2a, 0x4d, 0x18, length @ ..] if a & 0xf0 == 0x50 => {
                        let length = length.try_into().map_err(io::Error::other)?;
                        let frame_len = u64::from(u32::from_le_bytes(length)).saturating_add(8);
                        io::copy(&mut packed.by_ref().take(frame_len), &mut io::sink())?;
                        self.state = Some(FrameState::Between(packed));
                    }
                    _ => {
                        let header = packed.peek(MAX_FRAME_HEADER)?;
                        let memory = reserve_window(&self.unpacking, header)?;
                        let frame = ZstdFrame::open(packed)?;
                        self.state = Some(FrameState::Within(Box::new(frame), memory));
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
