//! One read of a source for all hosts that start together.
//!
//! Who opens an image while another has just begun to read it joins that read: each piece comes
//! from the source once. The read goes as fast as the fastest takes it; what it keeps for the
//! others is bounded, and one that falls further behind leaves the group and reads on by itself.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::broadcast::{self, error::RecvError};
use vsiflow_steps::ports::{
    ImageSource, ImageStream, SourceError, SourceInfo,
    pieces::{ContentPieces, PIECE},
};

/// Pieces of [`PIECE`] bytes that are kept for those behind the fastest.
const RING: usize = 16;
/// So many pieces are read ahead of the fastest.
const AHEAD: u64 = 4;
/// Who comes before so many pieces were read joins.
const JOIN: usize = 12;

type SharedPiece = Result<Bytes, SourceError>;

/// A source whose reads are shared.
pub(crate) struct SharedSource<S> {
    source: Arc<S>,
    reads: Arc<Mutex<HashMap<String, Weak<PendingRead>>>>,
}

/// One read of an image.
struct PendingRead {
    info: SourceInfo,
    state: Mutex<ReadState>,
    /// The pieces that the fastest has taken.
    taken: AtomicU64,
    went_on: Arc<Notify>,
}

struct ReadState {
    /// The first pieces, as long as others may join.
    first: Option<Vec<Bytes>>,
    pieces: Option<broadcast::Sender<SharedPiece>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: ImageSource> SharedSource<S> {
    pub(crate) fn new(source: S) -> Self {
        Self {
            source: Arc::new(source),
            reads: Arc::default(),
        }
    }

    /// A place in a read that has just begun, by what was asked for.
    fn join(&self, asked: &str, url: &str) -> Option<SharedReader<S>> {
        let read = locked(&self.reads).get(asked)?.upgrade()?;
        let state = locked(&read.state);
        let first = state.first.clone()?.into();
        let pieces = state.pieces.as_ref()?.subscribe();
        drop(state);
        Some(self.member(url, read, first, pieces))
    }

    fn member(
        &self,
        url: &str,
        read: Arc<PendingRead>,
        first: VecDeque<Bytes>,
        pieces: broadcast::Receiver<SharedPiece>,
    ) -> SharedReader<S> {
        SharedReader {
            source: self.source.clone(),
            url: url.to_owned(),
            info: read.info.clone(),
            from: From::Group {
                read,
                first,
                pieces,
                taken: 0,
            },
            position: 0,
        }
    }
}

#[async_trait]
impl<S: ImageSource> ImageSource for SharedSource<S> {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        self.source.probe(url).await
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
        match offset {
            0 => self.share(url, validator).await,
            _ => self.source.open_at(url, offset, validator).await,
        }
    }
}

impl<S: ImageSource> SharedSource<S> {
    /// The image from its start: that of a validator, if there is one and the source has it still.
    async fn share(
        &self,
        url: &str,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let asked = match validator {
            Some(validator) => format!("{url} {validator}"),
            None => url.to_owned(),
        };
        if let Some(member) = self.join(&asked, url) {
            return Ok(Box::new(member));
        }
        let stream = match validator {
            Some(_) => self.source.open_at(url, 0, validator).await?,
            None => self.source.open(url).await?,
        };
        // Somebody else may have been faster meanwhile.
        if let Some(member) = self.join(&asked, url) {
            return Ok(Box::new(member));
        }
        let (sender, pieces) = broadcast::channel(RING);
        let state = ReadState {
            first: Some(Vec::new()),
            pieces: Some(sender),
        };
        let read = Arc::new(PendingRead {
            info: stream.info().clone(),
            state: Mutex::new(state),
            taken: AtomicU64::new(0),
            went_on: Arc::default(),
        });
        let mut reads = locked(&self.reads);
        reads.retain(|_, other| other.strong_count() > 0);
        reads.insert(asked, Arc::downgrade(&read));
        drop(reads);
        tokio::spawn(feed(Arc::downgrade(&read), stream));
        Ok(Box::new(self.member(url, read, VecDeque::new(), pieces)))
    }
}

/// Reads for the group until the image ends or nobody is left.
async fn feed(read: Weak<PendingRead>, stream: Box<dyn ImageStream>) {
    // What is kept is counted in pieces, so that they have one size.
    let mut pieces = ContentPieces::new(stream, PIECE);
    let mut sent = 0_u64;
    while let Some(next) = read_for(&read, &mut pieces).await {
        let Some(piece) = next.transpose() else {
            break;
        };
        let failed = piece.is_err();
        if !hand_out(&read, piece, sent).await || failed {
            break;
        }
        sent = sent.saturating_add(1);
    }
    end(&read);
}

/// What the source gives next; none once nobody is left to read it. A source may hold something for its
/// readers while these wait.
async fn read_for(
    read: &Weak<PendingRead>,
    pieces: &mut ContentPieces,
) -> Option<Result<Option<Bytes>, SourceError>> {
    let went_on = read.upgrade()?.went_on.clone();
    let mut next = pin!(pieces.next());
    loop {
        tokio::select! {
            piece = &mut next => return Some(piece),
            () = went_on.notified() => {
                if read.strong_count() == 0 {
                    return None;
                }
            }
        }
    }
}

/// Gives a piece to all once the fastest is near; whether anybody is left.
async fn hand_out(read: &Weak<PendingRead>, piece: SharedPiece, sent: u64) -> bool {
    loop {
        let Some(read) = read.upgrade() else {
            return false;
        };
        if sent < read.taken.load(Ordering::Acquire).saturating_add(AHEAD) {
            let mut state = locked(&read.state);
            match (&mut state.first, &piece) {
                (Some(first), Ok(bytes)) if first.len() < JOIN => first.push(bytes.clone()),
                _ => state.first = None,
            }
            let sender = state.pieces.as_ref();
            return sender.is_some_and(|sender| sender.send(piece).is_ok());
        }
        // Not held while it waits: the read ends with its last member.
        let went_on = read.went_on.clone();
        drop(read);
        went_on.notified().await;
    }
}

/// Nobody joins any more, and whoever took everything is at the end.
fn end(read: &Weak<PendingRead>) {
    if let Some(read) = read.upgrade() {
        let mut state = locked(&read.state);
        (state.first, state.pieces) = (None, None);
    }
}

/// One that reads an image together with others.
struct SharedReader<S> {
    source: Arc<S>,
    url: String,
    info: SourceInfo,
    from: From,
    position: u64,
}

enum From {
    Group {
        read: Arc<PendingRead>,
        first: VecDeque<Bytes>,
        pieces: broadcast::Receiver<SharedPiece>,
        taken: u64,
    },
    Own(Box<dyn ImageStream>),
}

impl Drop for PendingRead {
    fn drop(&mut self) {
        // Whoever feeds it waits for nobody now.
        self.went_on.notify_one();
    }
}

#[async_trait]
impl<S: ImageSource> ImageStream for SharedReader<S> {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let piece = match &mut self.from {
            From::Own(stream) => return stream.next().await,
            From::Group {
                read,
                first,
                pieces,
                taken,
            } => {
                let piece = match first.pop_front() {
                    Some(piece) => Ok(Ok(piece)),
                    None => pieces.recv().await,
                };
                *taken = taken.saturating_add(1);
                read.taken.fetch_max(*taken, Ordering::AcqRel);
                read.went_on.notify_one();
                piece
            }
        };
        match piece {
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

impl<S: ImageSource> SharedReader<S> {
    /// Goes on by itself where it is.
    async fn leave(&mut self) -> Result<Option<Bytes>, SourceError> {
        let validator = self.info.validator.as_deref();
        let opening = self.source.open_at(&self.url, self.position, validator);
        let mut stream = opening.await?;
        if stream.info().validator != self.info.validator {
            return Err(SourceError {
                kind: vsiflow_steps::ports::SourceErrorKind::Transient,
                url: crate::error::shown(&self.url),
                message: "the image changed while it was read".to_owned(),
            });
        }
        let mut skip = self.position.saturating_sub(stream.starts_at());
        let piece = loop {
            let Some(mut piece) = stream.next().await? else {
                break None;
            };
            let over = skip.min(piece.len() as u64);
            let rest = piece.split_off(usize::try_from(over).unwrap_or(piece.len()));
            skip = skip.saturating_sub(over);
            if !rest.is_empty() {
                break Some(rest);
            }
        };
        self.from = From::Own(stream);
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use crate::relay::{SentFile, UploadRelay};

    #[tokio::test]
    async fn a_read_that_everybody_left_holds_nothing_of_its_source() {
        let relay = UploadRelay::default();
        let (url, length, sha256) = ("upload://a/b", 1_000, "0".repeat(64));
        relay.begin(url, &SentFile { length, sha256 }).unwrap();
        let source = SharedSource::new(relay.clone());
        let (one, two) = (source.open(url).await, source.open(url).await);
        assert_eq!(relay.readers(url).unwrap().len(), 1, "one for both");
        drop((one, two));
        let left = async {
            while !relay.readers(url).unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let left = tokio::time::timeout(Duration::from_secs(5), left).await;
        assert!(left.is_ok());
        assert_eq!(relay.pause(url), None);
    }

    /// Counts how often it is opened.
    struct Counted(AtomicUsize);

    struct Numbers(SourceInfo, u8);

    #[async_trait]
    impl ImageStream for Numbers {
        fn info(&self) -> &SourceInfo {
            &self.0
        }

        async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
            self.1 = self.1.saturating_add(1);
            Ok((self.1 <= 200).then(|| Bytes::from(vec![self.1; PIECE])))
        }
    }

    #[async_trait]
    impl ImageSource for Counted {
        async fn probe(&self, _: &str) -> Result<SourceInfo, SourceError> {
            Ok(SourceInfo {
                length: None,
                validator: Some("v".to_owned()),
            })
        }

        async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Numbers(self.probe(url).await?, 0)))
        }
    }

    async fn rest(stream: &mut dyn ImageStream) -> Vec<u8> {
        let mut numbers = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            numbers.push(piece[0]);
            tokio::task::yield_now().await;
        }
        numbers
    }

    #[tokio::test]
    async fn those_who_start_together_share_a_read_and_a_laggard_reads_on_alone() {
        let source = SharedSource::new(Counted(AtomicUsize::new(0)));
        let all: Vec<u8> = (1..=200).collect();
        let opened = || source.source.0.load(Ordering::Relaxed);
        let mut one = source.open("x").await.unwrap();
        one.next().await.unwrap();
        let mut two = source.open("x").await.unwrap();
        let mut lags = source.open("x").await.unwrap();
        assert_eq!(lags.next().await.unwrap().unwrap()[0], 1);
        assert_eq!(opened(), 1);
        let (one, two) = tokio::join!(rest(one.as_mut()), rest(two.as_mut()));
        assert!(one == all[1..] && two == all);
        assert_eq!(opened(), 1);
        assert!(rest(lags.as_mut()).await == all[1..]);
        assert_eq!(opened(), 2);
        assert_eq!(rest(source.open("x").await.unwrap().as_mut()).await, all);
        assert_eq!(opened(), 3, "nobody joins what is over");
    }
}
