//! Relays files that a user sends while hosts read them: `upload://NAMESPACE/FILE`.
//!
//! The sender begins an upload of a file with [`UploadRelay::begin`]. The file can then be opened, at any
//! byte and by several hosts. Each reader reports which byte it needs next ([`UploadRelay::readers`]) and
//! receives bytes from there ([`UploadRelay::feed`]). So no part of a file is stored here, and a reader that
//! starts again in the middle is sent the file from there. Senders and readers may be disconnected at any
//! time.
//!
//! # Guarantees
//! - A reader receives the bytes in order, each once. Bytes for another position are refused, also if two
//!   senders send at the same time.
//! - At most 4 pieces of 128 KiB wait for each reader; after that the sender waits. The number of uploads and
//!   readers is limited, in total and for each namespace, so that one of them leaves room for others.
//! - A file is identified by its length and SHA-256. Another file is refused under its name while it is sent.
//! - A reader occupies a slot of a host, so it ends if it receives less than 4 KiB/s while it waits, or
//!   nothing for 15 s. The file is then not read for a while: 10 s at first, doubled up to 10 min each time
//!   this happens again before 1 MiB was received.
//! - A sender waits at most 15 s for a reader that accepts nothing.
//! - An upload ends if its sender is silent for 60 s, or for 15 s while no host reads it.
//!
//! Out of scope: this module does not check who may send (the request's handler does), and does not trust the
//! SHA-256. The image is compared with it when it is verified.

mod pauses;
mod sent;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

use crate::error::{error, parse};
use pauses::Pauses;
pub use sent::{RelayReader, RelayRefusal, SentFile, SentPiece};
use stream::{RelayStream, TIMEOUT};

/// The URL scheme of uploads.
pub const SCHEME: &str = "upload";
/// The length limit of a piece in bytes.
const PIECE: usize = 128 * 1024;
/// How many pieces wait for a reader.
const WAITING: usize = 4;
/// After how long without a sender an upload ends, if hosts read it, and if none does.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const UNREAD_LIMIT: Duration = Duration::from_secs(15);
/// How many bytes show that the file is really being sent, which ends its pause.
const PROOF_BYTES: u64 = 1 << 20;
/// How long a reader may accept nothing.
const STALL_LIMIT: Duration = Duration::from_secs(15);
/// How many uploads there may be, in total and in one namespace.
const MAX_UPLOADS: Bound = Bound { all: 64, own: 8 };
/// How many readers there may be, in total and of one upload.
const MAX_READERS: Bound = Bound { all: 64, own: 16 };

/// An upper bound, in total and for one owner.
struct Bound {
    all: usize,
    own: usize,
}

/// The uploads in progress; clones share them.
#[derive(Clone, Debug, Default)]
pub struct UploadRelay(Arc<RelayState>);

#[derive(Debug, Default)]
struct RelayState {
    /// The uploads by URL.
    uploads: Mutex<BTreeMap<String, RelayedUpload>>,
    pauses: Mutex<Pauses>,
    /// Notifies that a reader began.
    moved: Notify,
}

#[derive(Debug)]
struct RelayedUpload {
    file: SentFile,
    /// When a sender last sent, or asked for the readers.
    seen: Instant,
    readers: Vec<ReaderQueue>,
    numbered: u64,
    /// The bytes that were received since the upload began, or since a reader timed out.
    received: u64,
}

#[derive(Debug)]
struct ReaderQueue {
    id: u64,
    from: u64,
    give: mpsc::Sender<SentPiece>,
}

impl RelayedUpload {
    fn is_over(&self) -> bool {
        let is_read = self.readers.iter().any(|reader| !reader.give.is_closed());
        self.seen.elapsed() > if is_read { IDLE_LIMIT } else { UNREAD_LIMIT }
    }

    fn remove_closed(&mut self) {
        self.readers.retain(|reader| !reader.give.is_closed());
    }
}

impl UploadRelay {
    fn uploads(&self) -> MutexGuard<'_, BTreeMap<String, RelayedUpload>> {
        let uploads = self.0.uploads.lock();
        uploads.unwrap_or_else(PoisonError::into_inner)
    }

    fn pauses(&self) -> MutexGuard<'_, Pauses> {
        let pauses = self.0.pauses.lock();
        pauses.unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the file is not read yet, because its readers timed out.
    pub fn pause(&self, url: &str) -> Option<Duration> {
        self.pauses().left(url)
    }

    /// Records that a reader timed out.
    fn starved(&self, url: &str) {
        if let Some(upload) = self.uploads().get_mut(url) {
            upload.received = 0;
        }
        self.pauses().begin(url);
    }

    /// Begins an upload of the file under this URL, or renews it.
    ///
    /// # Errors
    /// [`RelayRefusal::Another`] and [`RelayRefusal::Busy`].
    pub fn begin(&self, url: &str, file: &SentFile) -> Result<(), RelayRefusal> {
        let mut uploads = self.uploads();
        uploads.retain(|_, upload| !upload.is_over());
        if let Some(upload) = uploads.get_mut(url) {
            if upload.file != *file {
                return Err(RelayRefusal::Another);
            }
            upload.seen = Instant::now();
            return Ok(());
        }
        let of_place = uploads
            .keys()
            .filter(|upload_url| place(upload_url) == place(url));
        if uploads.len() >= MAX_UPLOADS.all || of_place.count() >= MAX_UPLOADS.own {
            return Err(RelayRefusal::Busy);
        }
        let upload = RelayedUpload {
            file: file.clone(),
            seen: Instant::now(),
            readers: Vec::new(),
            numbered: 0,
            received: 0,
        };
        uploads.insert(url.to_owned(), upload);
        Ok(())
    }

    /// Ends the upload, so that its name is free for another file. Does nothing while the file is being read.
    pub fn end(&self, url: &str, file: &SentFile) {
        let mut uploads = self.uploads();
        if let Some(upload) = uploads.get_mut(url) {
            upload.remove_closed();
            if upload.file == *file && upload.readers.is_empty() {
                uploads.remove(url);
            }
        }
    }

    /// The readers of the file; `None` if no such upload was begun, or it has ended.
    pub fn readers(&self, url: &str) -> Option<Vec<RelayReader>> {
        let mut uploads = self.uploads();
        let upload = uploads.get_mut(url).filter(|upload| !upload.is_over())?;
        upload.remove_closed();
        let reader_view = |reader: &ReaderQueue| RelayReader {
            id: reader.id,
            from: reader.from,
        };
        Some(upload.readers.iter().map(reader_view).collect())
    }

    /// Completes when a reader begins after this call. Cancel safe.
    pub fn moved(&self) -> Notified<'_> {
        self.0.moved.notified()
    }

    /// Sends a reader bytes from `from` on, and waits until all of them are in its queue. If this is dropped,
    /// pieces already sent stay sent; the reader's next byte shows how far it got.
    ///
    /// # Errors
    /// If the bytes were not accepted, or not all of them.
    pub async fn feed(
        &self,
        (url, file): (&str, &SentFile),
        id: u64,
        from: u64,
        mut sent: SentPiece,
    ) -> Result<u64, RelayRefusal> {
        let mut position = from;
        while sent.len() > 0 {
            let give = self.reader(url, file, id, position, sent.len())?;
            let room = timeout(STALL_LIMIT, give.reserve_owned()).await;
            let room = (room.map_err(|_| RelayRefusal::Slow(position))?)
                .map_err(|_| RelayRefusal::NoReader)?;
            // Another sender may have been faster.
            let mut uploads = self.uploads();
            let (upload, index) = find_reader(&mut uploads, url, file, id, position, sent.len())?;
            upload.seen = Instant::now();
            let piece = sent.first();
            position = position.saturating_add(piece.len());
            upload.received = upload.received.saturating_add(piece.len());
            let is_proved = upload.received >= PROOF_BYTES || position >= file.length;
            if let Some(reader) = upload.readers.get_mut(index) {
                reader.from = position;
            }
            room.send(piece);
            drop(uploads);
            if is_proved {
                self.pauses().end(url);
            }
        }
        Ok(position)
    }

    fn reader(
        &self,
        url: &str,
        file: &SentFile,
        id: u64,
        from: u64,
        length: u64,
    ) -> Result<mpsc::Sender<SentPiece>, RelayRefusal> {
        let mut uploads = self.uploads();
        let (upload, index) = find_reader(&mut uploads, url, file, id, from, length)?;
        upload.seen = Instant::now();
        let reader = upload.readers.get(index);
        let give = reader.map(|reader| reader.give.clone());
        give.ok_or(RelayRefusal::NoReader)
    }

    fn join(
        &self,
        url: &str,
        offset: u64,
        known: Option<&str>,
    ) -> Result<RelayStream, SourceError> {
        if let Some(pause) = self.pause(url) {
            let seconds = pause.as_secs().saturating_add(1);
            let why = format!("{STARVED}; it is read again in {seconds} s");
            return Err(awaited(url, &why));
        }
        let mut uploads = self.uploads();
        uploads.values_mut().for_each(RelayedUpload::remove_closed);
        let readers: usize = uploads.values().map(|upload| upload.readers.len()).sum();
        let upload = (uploads.get_mut(url).filter(|upload| !upload.is_over()))
            .ok_or_else(|| awaited(url, NO_SENDER))?;
        if readers >= MAX_READERS.all || upload.readers.len() >= MAX_READERS.own {
            let message = "too many hosts read this upload at a time";
            return Err(error(SourceErrorKind::Transient, &parse(url)?, message));
        }
        let info = upload.file.info();
        let same = known.is_some() && known == info.validator.as_deref();
        let starts_at = if same && offset <= upload.file.length {
            offset
        } else {
            0
        };
        upload.numbered = upload.numbered.saturating_add(1);
        let (give, pieces) = mpsc::channel(WAITING);
        upload.readers.push(ReaderQueue {
            id: upload.numbered,
            from: starts_at,
            give,
        });
        drop(uploads);
        self.0.moved.notify_waiters();
        Ok(RelayStream {
            relay: self.clone(),
            url: url.to_owned(),
            info,
            starts_at,
            read: starts_at,
            pieces,
            zeros: 0,
            patience: TIMEOUT,
        })
    }
}

/// The upload, and the index of its reader, if the reader needs `length` bytes at `from`.
fn find_reader<'a>(
    uploads: &'a mut BTreeMap<String, RelayedUpload>,
    url: &str,
    file: &SentFile,
    id: u64,
    from: u64,
    length: u64,
) -> Result<(&'a mut RelayedUpload, usize), RelayRefusal> {
    let upload =
        (uploads.get_mut(url).filter(|upload| !upload.is_over())).ok_or(RelayRefusal::Unknown)?;
    if upload.file != *file {
        return Err(RelayRefusal::Another);
    }
    upload.remove_closed();
    let index =
        (upload.readers.iter().position(|reader| reader.id == id)).ok_or(RelayRefusal::NoReader)?;
    match upload.readers.get(index) {
        Some(reader) if reader.from != from => Err(RelayRefusal::Elsewhere(reader.from)),
        _ if from
            .checked_add(length)
            .is_none_or(|end| end > upload.file.length) =>
        {
            Err(RelayRefusal::TooLong)
        }
        _ => Ok((upload, index)),
    }
}

/// The namespace of a URL.
fn place(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

const NO_SENDER: &str = "no client sends the file at present";
const STARVED: &str = "a host waited for bytes, and the sender of the file sent none, or too few";

fn awaited(url: &str, why: &str) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Awaited,
        url: crate::error::shown(url),
        message: why.to_owned(),
    }
}

#[async_trait]
impl ImageSource for UploadRelay {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        let uploads = self.uploads();
        let upload = (uploads.get(url).filter(|upload| !upload.is_over()))
            .ok_or_else(|| awaited(url, NO_SENDER))?;
        Ok(upload.file.info())
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        Ok(Box::new(self.join(url, 0, None)?))
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        Ok(Box::new(self.join(url, offset, validator)?))
    }
}

#[cfg(test)]
mod tests;
