//! Sends one file to several readers (hosts) in parallel.
//!
//! Each reader has at most one piece in flight, and the next piece follows its answer. So a slow or dead
//! reader does not delay the others.
//!
//! # Guarantees
//! - At most [`UNDER_WAY`] bytes are in flight, plus the shortest piece for each reader.
//! - The length of a piece is what its reader takes in a few seconds, so a reader that takes nothing wastes
//!   little bandwidth.
//!
//! Sent bytes never count as arrived. If a reader does not answer with the next byte that it needs, it is
//! forgotten until the cluster names it again.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, timeout};
use vsiflow_kube::plugin::{PluginError, UploadPiece, UploadReader};

use super::local_file::OpenFile;
use crate::exit::ExitProblem;

/// The first, the least and the greatest length of a piece in bytes; it grows with the speed of the
/// connection.
const FIRST: usize = 1 << 20;
const MIN_LEN: usize = 64 << 10;
const MAX_LEN: usize = 8 << 20;
/// How many bytes may be in flight for all readers together.
const UNDER_WAY: usize = 32 << 20;
/// The API server ends requests after one minute.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How many readers are remembered.
const MAX_READERS: usize = 256;

/// The result of a piece: the next byte the reader needs, or `None` if the cluster has to be asked.
type PieceResult = Result<Option<u64>, PluginError>;
/// A function that sends a piece to a reader.
type Send<'a> = Box<dyn Fn(UploadReader, UploadPiece) -> BoxFuture<'a, PieceResult> + 'a>;

/// The readers of a file.
pub(super) struct SideBySide<'a> {
    send: Send<'a>,
    readers: BTreeMap<u64, ReaderState>,
    under_way: FuturesUnordered<BoxFuture<'a, PieceAnswer>>,
}

struct ReaderState {
    from: u64,
    /// The length of its next piece, in bytes.
    piece: usize,
    place: ReaderPlace,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ReaderPlace {
    /// It waits for a piece.
    Waits,
    /// A piece of this many bytes is in flight to it.
    UnderWay(usize),
    /// The cluster's last answer did not name it, or it has to name it again.
    Unknown,
}

/// The answer for a piece.
pub(super) struct PieceAnswer {
    id: u64,
    took: Duration,
    /// `None` after a timeout.
    sent: Option<PieceResult>,
}

/// What to do after an answer.
#[derive(Debug)]
pub(super) enum PieceOutcome {
    /// The reader took the piece.
    Taken,
    /// Ask the cluster what the reader needs.
    Ask,
    /// The piece was not sent.
    Failed(PluginError),
}

impl<'a> SideBySide<'a> {
    pub(super) fn new(
        send: impl Fn(UploadReader, UploadPiece) -> BoxFuture<'a, PieceResult> + 'a,
    ) -> Self {
        Self {
            send: Box::new(send),
            readers: BTreeMap::new(),
            under_way: FuturesUnordered::new(),
        }
    }

    /// Updates the readers to those that the cluster names.
    pub(super) fn know(&mut self, readers: &[UploadReader]) {
        for reader in self.readers.values_mut() {
            if reader.place == ReaderPlace::Waits {
                reader.place = ReaderPlace::Unknown;
            }
        }
        if self.readers.len() > MAX_READERS {
            self.readers
                .retain(|_, reader| reader.place != ReaderPlace::Unknown);
        }
        for named in readers {
            let reader = self.readers.entry(named.id).or_insert(ReaderState {
                from: named.from,
                piece: FIRST,
                place: ReaderPlace::Waits,
            });
            if !matches!(reader.place, ReaderPlace::UnderWay(_)) {
                (reader.from, reader.place) = (named.from, ReaderPlace::Waits);
            }
        }
    }

    /// Sends a piece to each reader that waits for one.
    ///
    /// # Errors
    /// When the file cannot be read, or has changed.
    pub(super) async fn start(&mut self, file: &mut OpenFile) -> Result<(), ExitProblem> {
        let length = file.known.length;
        let waits =
            |reader: &ReaderState| reader.place == ReaderPlace::Waits && reader.from < length;
        let waiting = self.readers.iter().filter(|(_, reader)| waits(reader));
        let mut waiting: Vec<_> = waiting.map(|(id, reader)| (reader.from, *id)).collect();
        // Readers at the same position one after the other, so that it is read once.
        waiting.sort_unstable();
        for (from, id) in waiting {
            let most = self.most(id, from);
            let piece = file.piece(from, most).await?;
            let bytes = match &piece {
                UploadPiece::Data(bytes) => bytes.len(),
                UploadPiece::Zeros(_) => 0,
            };
            if let Some(reader) = self.readers.get_mut(&id) {
                reader.place = ReaderPlace::UnderWay(bytes);
            }
            let sending = (self.send)(UploadReader { id, from }, piece);
            self.under_way.push(Box::pin(async move {
                let begun = Instant::now();
                let sent = timeout(TIMEOUT, sending).await.ok();
                let took = begun.elapsed();
                PieceAnswer { id, took, sent }
            }));
        }
        Ok(())
    }

    /// The greatest length of a reader's next piece.
    fn most(&self, id: u64, from: u64) -> usize {
        // A new reader may only inspect the file's header.
        if from == 0 {
            return MIN_LEN;
        }
        let own = self.readers.get(&id).map_or(MIN_LEN, |reader| reader.piece);
        let places = self.readers.values().map(|reader| reader.place);
        let under_way = places.fold(0_usize, |sum, place| match place {
            ReaderPlace::UnderWay(bytes) => sum.saturating_add(bytes),
            ReaderPlace::Waits | ReaderPlace::Unknown => sum,
        });
        own.min(UNDER_WAY.saturating_sub(under_way) / 2)
            .max(MIN_LEN)
    }

    /// Whether a piece is in flight.
    pub(super) fn is_sending(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// The next answer; never ready if nothing is in flight. Cancel safe.
    pub(super) async fn next(&mut self) -> PieceAnswer {
        match self.under_way.next().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    /// Applies an answer, and returns what to do.
    pub(super) fn on_answer(&mut self, answer: PieceAnswer) -> PieceOutcome {
        let Some(reader) = self.readers.get_mut(&answer.id) else {
            return PieceOutcome::Ask;
        };
        reader.place = ReaderPlace::Unknown;
        match answer.sent {
            Some(Ok(Some(next))) => {
                (reader.from, reader.place) = (next, ReaderPlace::Waits);
                if answer.took < Duration::from_secs(1) {
                    reader.piece = reader.piece.saturating_mul(2).min(MAX_LEN);
                } else if answer.took > Duration::from_secs(8) {
                    reader.slower();
                }
                PieceOutcome::Taken
            }
            Some(Ok(None)) => {
                reader.slower();
                PieceOutcome::Ask
            }
            Some(Err(error)) => {
                reader.slower();
                PieceOutcome::Failed(error)
            }
            None => {
                reader.slower();
                PieceOutcome::Ask
            }
        }
    }

    /// The lowest byte that a known reader needs.
    pub(super) fn least(&self) -> Option<u64> {
        let known = |reader: &&ReaderState| reader.place != ReaderPlace::Unknown;
        let readers = self.readers.values().filter(known);
        readers.map(|reader| reader.from).min()
    }
}

impl ReaderState {
    fn slower(&mut self) {
        self.piece = (self.piece / 4).max(MIN_LEN);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use futures::FutureExt as _;
    use tokio::time::sleep;

    use super::*;

    const MIB: usize = 1 << 20;

    async fn open(folder: &Path, mib: usize) -> OpenFile {
        let path = folder.join("disk");
        let bytes: Vec<u8> = (0..mib * MIB).map(|at| (at / 1_000) as u8 | 1).collect();
        std::fs::write(&path, bytes).unwrap();
        OpenFile::read(&path, "disk", |_, _| ()).await.unwrap()
    }

    fn readers(count: u64) -> Vec<UploadReader> {
        (0..count).map(|id| UploadReader { id, from: 0 }).collect()
    }

    fn bytes(piece: &UploadPiece) -> usize {
        match piece {
            UploadPiece::Data(bytes) => bytes.len(),
            UploadPiece::Zeros(_) => panic!("zeros"),
        }
    }

    #[tokio::test]
    async fn a_slow_and_a_dead_host_hold_up_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path(), 24).await;
        let length = file.known.length;
        let mut side = SideBySide::new(|to: UploadReader, piece| {
            let next = to.from + bytes(&piece) as u64;
            async move {
                match to.id {
                    0 => std::future::pending().await,
                    1 => sleep(Duration::from_millis(300)).await,
                    _ => {}
                }
                Ok(Some(next))
            }
            .boxed()
        });
        side.know(&readers(8));
        let ends = |of: &SideBySide<'_>| {
            let ended = of.readers.values().filter(|reader| reader.from == length);
            ended.count()
        };
        let all = async {
            while ends(&side) < 6 {
                side.start(&mut file).await.unwrap();
                let answer = side.next().await;
                assert!(matches!(side.on_answer(answer), PieceOutcome::Taken));
            }
        };
        timeout(Duration::from_secs(30), all).await.unwrap();
        assert!(side.readers[&1].from < length, "it would have taken longer");
        assert_eq!((side.readers[&0].from, side.least()), (0, Some(0)));
    }

    #[tokio::test]
    async fn what_is_under_way_is_bounded_however_many_hosts_there_are() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path(), 40).await;
        let length = file.known.length;
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(0)));
        let mut side = SideBySide::new(|to: UploadReader, piece| {
            let (now, most, sent) = (now.clone(), most.clone(), bytes(&piece));
            let sum = now.fetch_add(sent, Ordering::SeqCst) + sent;
            let mut most = most.lock().unwrap();
            *most = sum.max(*most);
            async move {
                sleep(Duration::from_millis(1)).await;
                now.fetch_sub(sent, Ordering::SeqCst);
                Ok(Some(to.from + sent as u64))
            }
            .boxed()
        });
        side.know(&readers(40));
        while side.least() != Some(length) {
            side.start(&mut file).await.unwrap();
            let answer = side.next().await;
            side.on_answer(answer);
        }
        let most = *most.lock().unwrap();
        assert!(most > 8 * MIB, "{most}: they are side by side");
        assert!(most <= UNDER_WAY + 40 * MIN_LEN, "{most}");
    }

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_sent_little_and_only_once_it_is_named_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path(), 4).await;
        let mut side = SideBySide::new(|_, _| async { Ok(None) }.boxed());
        let named = [UploadReader { id: 7, from: 9 }];
        for _ in 0..4 {
            side.know(&named);
            side.start(&mut file).await.unwrap();
            assert!(side.is_sending());
            let answer = side.next().await;
            assert!(matches!(side.on_answer(answer), PieceOutcome::Ask));
            side.start(&mut file).await.unwrap();
            assert!(!side.is_sending());
        }
        assert_eq!(side.readers[&7].piece, MIN_LEN);
    }
}
