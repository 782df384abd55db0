//! Files that somebody sends while they are read: `upload://NAMESPACE/FILE`.
//!
//! Whoever has the file begins an upload of it ([`UploadRelay::begin`]): from then on it can be opened, at any
//! byte and by several hosts. Each of these readers says which byte it needs next
//! ([`UploadRelay::readers`]), and is given bytes from there ([`UploadRelay::feed`]). So nothing of a file is stored
//! here, and a reader that begins anew in the middle is simply given the file from there. Who sends and
//! who reads may both be cut off at any time.
//!
//! # Guarantees
//! - A reader gets the bytes in order, each once: bytes for another place are refused, also where two
//!   send at the same time.
//! - At most 4 pieces of 128 KiB wait for each reader; who sends waits longer. Uploads and
//!   readers are bounded, in all and for each namespace, so that one of them leaves room for others.
//! - A file is the one of its length and SHA-256. Another one is refused under its name while it is sent.
//! - A reader never waits long in vain, since it holds a host's place for work: one that receives less
//!   than 4 KiB/s while it waits, or nothing for 15 s, ends. The file is then not read for a while, which
//!   doubles from 10 s to 10 min each time that happens again before 1 MiB came.
//! - Who sends never waits longer than 15 s for a reader that takes nothing.
//! - An upload that nobody sends to for 60 s is over.
//!
//! What it never does: judge who may send (that is asked where requests come in), or believe the SHA-256.
//! It is compared with what was sent when the image is verified.

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
use stream::{PATIENCE, RelayStream};

/// The scheme of such files.
pub const SCHEME: &str = "upload";
/// The most bytes of a piece.
const PIECE: usize = 128 * 1024;
/// Pieces that wait for a reader.
const WAITING: usize = 4;
/// An upload to which nobody sends is over; earlier, if nobody reads it.
const QUIET: Duration = Duration::from_secs(60);
const UNREAD: Duration = Duration::from_secs(15);
/// So many bytes show that the file is really sent.
const PROOF: u64 = 1 << 20;
/// How long a reader may take nothing.
const FULL: Duration = Duration::from_secs(15);
/// Uploads at a time, in all and of a namespace.
const MOST_UPLOADS: Bound = Bound { all: 64, own: 8 };
/// Readers at a time, in all and of an upload.
const MOST_READERS: Bound = Bound { all: 64, own: 16 };

/// How many there may be.
struct Bound {
    all: usize,
    own: usize,
}

/// Files that are sent at present; clones share them.
#[derive(Clone, Debug, Default)]
pub struct UploadRelay(Arc<RelayState>);

#[derive(Debug, Default)]
struct RelayState {
    /// By their URLs.
    uploads: Mutex<BTreeMap<String, RelayedUpload>>,
    pauses: Mutex<Pauses>,
    /// Somebody reads, or reads no more.
    moved: Notify,
}

#[derive(Debug)]
struct RelayedUpload {
    file: SentFile,
    /// When somebody sent last, or asked who reads.
    seen: Instant,
    readers: Vec<ReaderQueue>,
    numbered: u64,
    /// The bytes that came since it began, or since a reader waited in vain.
    came: u64,
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
        self.seen.elapsed() > if is_read { QUIET } else { UNREAD }
    }

    fn gone(&mut self) {
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

    /// How long the file is not read yet, since its readers waited in vain.
    pub fn pause(&self, url: &str) -> Option<Duration> {
        self.pauses().left(url)
    }

    /// A reader waited in vain.
    fn starved(&self, url: &str) {
        if let Some(upload) = self.uploads().get_mut(url) {
            upload.came = 0;
        }
        self.pauses().begin(url);
    }

    /// From now on the file is sent under this URL, or still is.
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
        let own = uploads.keys().filter(|other| place(other) == place(url));
        if uploads.len() >= MOST_UPLOADS.all || own.count() >= MOST_UPLOADS.own {
            return Err(RelayRefusal::Busy);
        }
        let upload = RelayedUpload {
            file: file.clone(),
            seen: Instant::now(),
            readers: Vec::new(),
            numbered: 0,
            came: 0,
        };
        uploads.insert(url.to_owned(), upload);
        Ok(())
    }

    /// All that is needed of the file has arrived: the name is free for another one, unless somebody reads it.
    pub fn end(&self, url: &str, file: &SentFile) {
        let mut uploads = self.uploads();
        if let Some(upload) = uploads.get_mut(url) {
            upload.gone();
            if upload.file == *file && upload.readers.is_empty() {
                uploads.remove(url);
            }
        }
    }

    /// Who reads the file; none where no such upload was begun, or it is over.
    pub fn readers(&self, url: &str) -> Option<Vec<RelayReader>> {
        let mut uploads = self.uploads();
        let upload = uploads.get_mut(url).filter(|upload| !upload.is_over())?;
        upload.gone();
        let shown = |reader: &ReaderQueue| RelayReader {
            id: reader.id,
            from: reader.from,
        };
        Some(upload.readers.iter().map(shown).collect())
    }

    /// Ends once somebody begins to read something after this was called. Cancel safe.
    pub fn moved(&self) -> Notified<'_> {
        self.0.moved.notified()
    }

    /// Gives a reader what it needs from that byte on, and waits until it took so much that the rest
    /// has room. What is given before this is dropped stays given; the byte that is needed next tells.
    ///
    /// # Errors
    /// When it was not taken, or not all of it.
    pub async fn feed(
        &self,
        (url, file): (&str, &SentFile),
        id: u64,
        from: u64,
        mut sent: SentPiece,
    ) -> Result<u64, RelayRefusal> {
        let mut at = from;
        while sent.len() > 0 {
            let give = self.reader((url, file), id, at, sent.len())?;
            let room = timeout(FULL, give.reserve_owned()).await;
            let room = room.map_err(|_| RelayRefusal::Slow(at))?;
            let room = room.map_err(|_| RelayRefusal::NoReader)?;
            // Somebody else may have been faster.
            let mut uploads = self.uploads();
            let (upload, index) = found(&mut uploads, (url, file), id, at, sent.len())?;
            upload.seen = Instant::now();
            let piece = sent.first();
            at = at.saturating_add(piece.len());
            upload.came = upload.came.saturating_add(piece.len());
            let is_proved = upload.came >= PROOF || at >= file.length;
            if let Some(reader) = upload.readers.get_mut(index) {
                reader.from = at;
            }
            room.send(piece);
            drop(uploads);
            if is_proved {
                self.pauses().end(url);
            }
        }
        Ok(at)
    }

    fn reader(
        &self,
        sent: (&str, &SentFile),
        id: u64,
        from: u64,
        length: u64,
    ) -> Result<mpsc::Sender<SentPiece>, RelayRefusal> {
        let mut uploads = self.uploads();
        let (upload, index) = found(&mut uploads, sent, id, from, length)?;
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
        if let Some(left) = self.pause(url) {
            let seconds = left.as_secs().saturating_add(1);
            let why = format!("{STARVED}; it is read again in {seconds} s");
            return Err(awaited(url, &why));
        }
        let mut uploads = self.uploads();
        uploads.values_mut().for_each(RelayedUpload::gone);
        let all: usize = uploads.values().map(|upload| upload.readers.len()).sum();
        let upload = uploads.get_mut(url).filter(|upload| !upload.is_over());
        let upload = upload.ok_or_else(|| awaited(url, NOBODY))?;
        if all >= MOST_READERS.all || upload.readers.len() >= MOST_READERS.own {
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
            patience: PATIENCE,
        })
    }
}

/// The upload, and the number of its reader, if that one needs so many bytes from there on.
fn found<'a>(
    uploads: &'a mut BTreeMap<String, RelayedUpload>,
    (url, file): (&str, &SentFile),
    id: u64,
    from: u64,
    length: u64,
) -> Result<(&'a mut RelayedUpload, usize), RelayRefusal> {
    let upload = uploads.get_mut(url).filter(|upload| !upload.is_over());
    let upload = upload.ok_or(RelayRefusal::Unknown)?;
    if upload.file != *file {
        return Err(RelayRefusal::Another);
    }
    upload.gone();
    let index = upload.readers.iter().position(|reader| reader.id == id);
    let index = index.ok_or(RelayRefusal::NoReader)?;
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

/// The namespace that a URL is of.
fn place(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

const NOBODY: &str = "nobody sends the file at present";
const STARVED: &str = "a host waited for bytes, and whoever sends the file sent none, or too few";

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
        let upload = uploads.get(url).filter(|upload| !upload.is_over());
        let upload = upload.ok_or_else(|| awaited(url, NOBODY))?;
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
