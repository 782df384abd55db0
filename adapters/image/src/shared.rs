//! Shares one read of a source among all hosts that start together.
//!
//! A reader that opens an image shortly after another one joins that read, so each piece is read from the
//! source once. Hosts announce that they will open an image soon, and a read waits a moment at its start for
//! them. The buffer for slower readers is bounded ([`budget`]); the read also waits for them for a small part of its
//! time. A reader that falls further behind leaves the group and continues with a read of its own.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::Instant;
use vsiflow_steps::ports::{
    ImageOwner, ImageSource, ImageStream, SourceError, SourceInfo,
    pieces::{ContentPieces, PIECE},
    source_for_owner,
};

use crate::packing::MemoryBusy;

use self::budget::{BudgetedStream, ReadBudget, ReadTerms, RingBudget};
use self::expected::ExpectedReaders;
use self::read_delay::ReadDelay;

pub(crate) mod budget;
mod expected;
mod read_delay;

/// How many pieces are read ahead of the fastest reader.
const AHEAD: u64 = 4;
/// Readers can join until this many pieces were read.
const JOIN: usize = 12;
/// How long a read waits at most after these pieces for announced readers.
const GATHER: Duration = Duration::from_secs(2);

type SharedPiece = Result<Bytes, SourceError>;

/// A source whose reads are shared.
#[derive(Clone)]
pub(crate) struct SharedSource {
    source: Arc<dyn ImageSource>,
    reads: Arc<Mutex<HashMap<String, Weak<PendingRead>>>>,
    expected: Arc<ExpectedReaders>,
    terms: ReadTerms,
}

/// One read of an image, shared by its members.
struct PendingRead {
    info: SourceInfo,
    state: Mutex<ReadState>,
    /// How many pieces each member has taken.
    taken: Mutex<Vec<Weak<AtomicU64>>>,
    progress: Arc<Notify>,
}

impl PendingRead {
    /// How many pieces the slowest and the fastest member have taken.
    fn taken(&self) -> (u64, u64) {
        let mut members = locked(&self.taken);
        members.retain(|member| member.strong_count() > 0);
        members
            .iter()
            .filter_map(Weak::upgrade)
            .map(|pieces| pieces.load(Ordering::Acquire))
            .map(|pieces| (pieces, pieces))
            .reduce(|(least, most), (taken, _)| (least.min(taken), most.max(taken)))
            .unwrap_or_default()
    }

    /// Sends a piece to all members, and stores it while others may join. Returns whether any member is left.
    fn publish(&self, piece: SharedPiece) -> bool {
        let mut state = locked(&self.state);
        match (&mut state.first, &piece) {
            (Some(first), Ok(bytes)) if first.len() < JOIN => first.push(bytes.clone()),
            _ => state.first = None,
        }
        let sender = state.pieces.as_ref();
        sender.is_some_and(|sender| sender.send(piece).is_ok())
    }
}

struct ReadState {
    /// The first pieces; `None` when nobody may join any more.
    first: Option<Vec<Bytes>>,
    pieces: Option<broadcast::Sender<SharedPiece>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl SharedSource {
    pub(crate) fn new(source: impl ImageSource) -> Self {
        Self {
            source: Arc::new(source),
            reads: Arc::default(),
            expected: Arc::default(),
            terms: ReadTerms {
                owner: ImageOwner::default(),
                is_counted: true,
            },
        }
    }

    /// The same source for readers whose memory is counted elsewhere.
    pub(crate) fn uncounted(&self) -> Self {
        Self {
            terms: ReadTerms {
                is_counted: false,
                ..self.terms.clone()
            },
            ..self.clone()
        }
    }

    async fn budget(&self, url: &str) -> Result<ReadBudget, SourceError> {
        let reserved = ReadBudget::reserve(&self.terms).await;
        reserved.map_err(|why| budget::busy(url, &why))
    }

    /// Joins a read that has just begun; `key` identifies it.
    fn join(&self, key: &str, url: &str) -> Option<SharedReader> {
        let shared_read = locked(&self.reads).get(key)?.upgrade()?;
        let state = locked(&shared_read.state);
        let first = state.first.clone()?.into();
        let pieces = state.pieces.as_ref()?.subscribe();
        drop(state);
        Some(self.member(url, shared_read, first, pieces))
    }

    fn member(
        &self,
        url: &str,
        read: Arc<PendingRead>,
        first: VecDeque<Bytes>,
        pieces: broadcast::Receiver<SharedPiece>,
    ) -> SharedReader {
        let pieces_taken = Arc::new(AtomicU64::new(0));
        locked(&read.taken).push(Arc::downgrade(&pieces_taken));
        read.progress.notify_one();
        SharedReader {
            source: self.clone(),
            url: url.to_owned(),
            info: read.info.clone(),
            from: PieceSource::Group {
                read,
                first,
                pieces,
                taken: pieces_taken,
            },
            position: 0,
        }
    }
}

#[async_trait]
impl ImageSource for SharedSource {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        self.source.probe(url).await
    }

    async fn expect(&self, url: &str) {
        self.expected.expect(url);
    }

    async fn opened(&self, url: &str) {
        self.expected.opened(url);
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        self.share(url, None).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        if offset == 0 {
            return self.share(url, validator).await;
        }
        self.read_alone(url, offset, validator).await
    }

    /// Owners join one another's reads. Whoever opens an image first, or leaves a group, reads for its own owner.
    fn for_owner(&self, owner: &ImageOwner) -> Option<Arc<dyn ImageSource>> {
        Some(Arc::new(Self {
            source: source_for_owner(&self.source, owner),
            terms: ReadTerms {
                owner: owner.clone(),
                ..self.terms.clone()
            },
            ..self.clone()
        }))
    }
}

impl SharedSource {
    /// The image from a byte on, for one reader.
    async fn read_alone(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let budget = self.budget(url).await?;
        let stream = self.source.open_at(url, offset, validator).await?;
        Ok(Box::new(BudgetedStream::new(stream, budget, url)))
    }

    /// The image from its start; with a validator that version of it, if the source still has it.
    async fn share(
        &self,
        url: &str,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let key = match validator {
            Some(validator) => format!("{url} {validator}"),
            None => url.to_owned(),
        };
        if let Some(member) = self.join(&key, url) {
            return Ok(Box::new(member));
        }
        let budget = self.budget(url).await?;
        // Another reader may have been faster.
        if let Some(member) = self.join(&key, url) {
            return Ok(Box::new(member));
        }
        let stream = match validator {
            Some(_) => self.source.open_at(url, 0, validator).await?,
            None => self.source.open(url).await?,
        };
        if let Some(member) = self.join(&key, url) {
            return Ok(Box::new(member));
        }
        let ring = budget.ring();
        let stream = Box::new(BudgetedStream::new(stream, budget, url));
        let Some(ring) = ring else {
            return Ok(stream);
        };
        let (sender, pieces) = broadcast::channel(ring.pieces);
        let state = ReadState {
            first: Some(Vec::new()),
            pieces: Some(sender),
        };
        let pending = Arc::new(PendingRead {
            info: stream.info().clone(),
            state: Mutex::new(state),
            taken: Mutex::default(),
            progress: Arc::default(),
        });
        let mut reads = locked(&self.reads);
        reads.retain(|_, other| other.strong_count() > 0);
        reads.insert(key, Arc::downgrade(&pending));
        drop(reads);
        let feeder = Feeder {
            ring,
            read: Arc::downgrade(&pending),
            sent: 0,
            read_delay: ReadDelay::begin(),
            expected: self.expected.clone(),
            url: url.to_owned(),
        };
        tokio::spawn(feeder.feed(stream));
        Ok(Box::new(self.member(url, pending, VecDeque::new(), pieces)))
    }
}

/// Reads for the group until the image ends or no member is left.
struct Feeder {
    ring: RingBudget,
    read: Weak<PendingRead>,
    /// How many pieces were sent to the members.
    sent: u64,
    read_delay: ReadDelay,
    expected: Arc<ExpectedReaders>,
    url: String,
}

impl Feeder {
    async fn feed(mut self, stream: Box<dyn ImageStream>) {
        // The buffer is counted in pieces, so all pieces have one size.
        let mut pieces = ContentPieces::new(stream, PIECE);
        while let Some(next) = read_for(&self.read, &mut pieces).await {
            let Some(piece) = next.transpose() else {
                break;
            };
            let failed = piece.is_err();
            if self.sent == JOIN as u64 {
                self.gather().await;
            }
            let reading = self.ring.reading();
            match reading.unless_ended(self.hand_out(piece)).await {
                Ok(true) if !failed => self.sent = self.sent.saturating_add(1),
                Ok(_) => break,
                Err(why) => {
                    self.give_up(&why);
                    break;
                }
            }
        }
        end(&self.read);
    }

    /// Tells the members that others need the memory.
    fn give_up(&self, why: &MemoryBusy) {
        if let Some(pending) = self.read.upgrade() {
            pending.publish(Err(budget::busy(&self.url, why)));
        }
    }

    /// Waits for announced readers to join, as long as there are members.
    async fn gather(&self) {
        let waited = async {
            while let Some(pending) = self.read.upgrade() {
                let (arrived, progress) = (self.expected.change(), pending.progress.clone());
                // Not held during the wait, because the read ends with its last member.
                drop(pending);
                if !self.expected.any(&self.url) {
                    return;
                }
                tokio::select! {
                    () = arrived => {}
                    () = progress.notified() => {}
                }
            }
        };
        let _ = tokio::time::timeout(GATHER, waited).await;
    }

    /// Sends a piece when the fastest member needs it soon. Waits for the slowest member while the read delay
    /// permits. Returns whether any member is left.
    async fn hand_out(&mut self, piece: SharedPiece) -> bool {
        loop {
            let Some(pending) = self.read.upgrade() else {
                return false;
            };
            let (slowest, fastest) = pending.taken();
            let is_near = self.sent < fastest.saturating_add(AHEAD);
            let would_lose = self.sent >= slowest.saturating_add(self.ring.pieces as u64);
            let delay = self.read_delay.left();
            if is_near && (!would_lose || delay.is_zero()) {
                return pending.publish(piece);
            }
            // Not held during the wait, because the read ends with its last member.
            let progress = pending.progress.clone();
            drop(pending);
            if is_near {
                let since = Instant::now();
                let _ = tokio::time::timeout(delay, progress.notified()).await;
                self.read_delay.waited(since);
            } else {
                progress.notified().await;
            }
        }
    }
}

/// The next piece of the source; `None` when no member is left. Checks this while the source waits, because
/// the source may hold resources for its readers.
async fn read_for(
    read: &Weak<PendingRead>,
    pieces: &mut ContentPieces,
) -> Option<Result<Option<Bytes>, SourceError>> {
    let progress = read.upgrade()?.progress.clone();
    let mut next = pin!(pieces.next());
    loop {
        tokio::select! {
            piece = &mut next => return Some(piece),
            () = progress.notified() => {
                if read.strong_count() == 0 {
                    return None;
                }
            }
        }
    }
}

/// Ends the read: no reader can join, and a member that has all pieces reaches the end.
fn end(read: &Weak<PendingRead>) {
    if let Some(pending) = read.upgrade() {
        let mut state = locked(&pending.state);
        (state.first, state.pieces) = (None, None);
    }
}

/// A reader of a shared read.
struct SharedReader {
    source: SharedSource,
    url: String,
    info: SourceInfo,
    from: PieceSource,
    position: u64,
}

enum PieceSource {
    Group {
        read: Arc<PendingRead>,
        first: VecDeque<Bytes>,
        pieces: broadcast::Receiver<SharedPiece>,
        taken: Arc<AtomicU64>,
    },
    Own(Box<dyn ImageStream>),
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        // The feeder must not wait for members any more.
        self.progress.notify_one();
    }
}

#[async_trait]
impl ImageStream for SharedReader {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let received = match &mut self.from {
            PieceSource::Own(stream) => return stream.next().await,
            PieceSource::Group {
                read,
                first,
                pieces,
                taken,
            } => {
                let piece = match first.pop_front() {
                    Some(piece) => Ok(Ok(piece)),
                    None => pieces.recv().await,
                };
                taken.fetch_add(1, Ordering::AcqRel);
                read.progress.notify_one();
                piece
            }
        };
        match received {
            Ok(piece) => {
                let piece = piece?;
                self.position = self.position.saturating_add(piece.len() as u64);
                Ok(Some(piece))
            }
            Err(RecvError::Closed) => Ok(None),
            Err(RecvError::Lagged(_)) => self.leave().await,
        }
    }
}

impl SharedReader {
    /// Leaves the group and continues at the same position with a read of its own.
    async fn leave(&mut self) -> Result<Option<Bytes>, SourceError> {
        let validator = self.info.validator.as_deref();
        let mut stream = self
            .source
            .read_alone(&self.url, self.position, validator)
            .await?;
        if stream.info().validator != self.info.validator {
            return Err(SourceError {
                kind: vsiflow_steps::ports::SourceErrorKind::Changed,
                url: crate::error::shown(&self.url),
                message: "the image changed while it was read".to_owned(),
            });
        }
        let mut skip = self.position.saturating_sub(stream.starts_at());
        let piece = loop {
            let Some(mut piece) = stream.next().await? else {
                break None;
            };
            let skipped = skip.min(piece.len() as u64);
            let rest = piece.split_off(usize::try_from(skipped).unwrap_or(piece.len()));
            skip = skip.saturating_sub(skipped);
            if !rest.is_empty() {
                break Some(rest);
            }
        };
        self.from = PieceSource::Own(stream);
        Ok(piece)
    }
}

#[cfg(test)]
mod tests;
