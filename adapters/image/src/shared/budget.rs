//! The memory that reading images needs, which their owners share.
//!
//! A tenant may have many hosts and many images, and servers that send slowly. So each read of a source takes its part
//! of the memory before it begins, and waits if there is too little (`crate::packing::memory`). What a read keeps for
//! other readers needs more: if there is too little for that, its readers read alone.

use std::{io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use vsiflow_steps::ports::{
    ImageOwner, ImageStream, SourceError, SourceErrorKind, SourceInfo, pieces::PIECE,
};

use crate::packing::{MemoryBusy, ReservedMemory, SharedMemory, Unpacking};

const MIB: u64 = 1 << 20;
/// What a read needs without what it keeps for other readers, in bytes: some pieces on their way to the host.
pub(crate) const READ_MEMORY: u64 = 3 * MIB;

/// The memory for all reads: 32, half of them of one owner, and 8 only for owners who read nothing else.
static READING: SharedMemory = SharedMemory::new("reading", 96, 24);
/// The memory for the pieces that reads keep for other readers.
static SHARING: SharedMemory = SharedMemory::new("sharing", 96, 0);
/// What one owner has of it, in MiB: one wide ring, and four narrow ones.
const OWN_SHARING: u32 = 48;
/// How many pieces the first shared read of an owner keeps. It covers what the others read while one host syncs its
/// disk.
const WIDE: usize = 64;
/// How many pieces each further one keeps.
const NARROW: usize = 16;

/// Tests of one process share the memory: the one that uses it up runs while none of those runs that measure how long
/// they wait.
#[cfg(test)]
pub(crate) static MEMORY_USERS: tokio::sync::RwLock<()> = tokio::sync::RwLock::const_new(());

/// For whom a source is read.
#[derive(Clone)]
pub(super) struct ReadTerms {
    pub(super) owner: ImageOwner,
    /// Whether the memory of reads is counted here, and not where they are made.
    pub(super) is_counted: bool,
}

/// The memory of a read, as long as it lasts.
pub(super) struct ReadBudget {
    reading: Arc<Unpacking>,
    /// Tells `reading` that the image is read.
    _is_read: mpsc::Receiver<io::Result<Bytes>>,
    _memory: Option<ReservedMemory>,
}

/// The pieces that a read keeps for its readers.
pub(super) struct RingBudget {
    pub(super) pieces: usize,
    reading: Arc<Unpacking>,
    _memory: ReservedMemory,
}

impl ReadBudget {
    /// Waits for the memory of a read. Cancel safe.
    pub(super) async fn reserve(terms: &ReadTerms) -> Result<Self, MemoryBusy> {
        let (to, is_read) = mpsc::channel(1);
        let reading = Arc::new(Unpacking::new(terms.owner.clone(), to));
        let memory = if terms.is_counted {
            Some(READING.reserve(&reading, READ_MEMORY).await?)
        } else {
            None
        };
        Ok(Self {
            reading,
            _is_read: is_read,
            _memory: memory,
        })
    }

    /// The memory to keep pieces for other readers, if there is any.
    pub(super) fn ring(&self) -> Option<RingBudget> {
        let ring = |pieces: usize, own| {
            let bytes = (pieces * PIECE) as u64;
            let memory = SHARING.try_reserve(&self.reading, bytes, own)?;
            Some(RingBudget {
                pieces,
                reading: self.reading.clone(),
                _memory: memory,
            })
        };
        ring(WIDE, OWN_SHARING / 2).or_else(|| ring(NARROW, OWN_SHARING))
    }
}

impl RingBudget {
    /// The read whose pieces these are.
    pub(super) fn reading(&self) -> Arc<Unpacking> {
        self.reading.clone()
    }
}

/// A stream within its memory. It ends if others need that, and hardly anything comes.
pub(super) struct BudgetedStream {
    stream: Box<dyn ImageStream>,
    budget: ReadBudget,
    url: String,
}

impl BudgetedStream {
    pub(super) fn new(stream: Box<dyn ImageStream>, budget: ReadBudget, url: &str) -> Self {
        let url = url.to_owned();
        Self {
            stream,
            budget,
            url,
        }
    }
}

/// The error of a read for which there is no memory.
pub(super) fn busy(url: &str, why: &MemoryBusy) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Transient,
        url: crate::error::shown(url),
        message: why.to_string(),
    }
}

#[async_trait]
impl ImageStream for BudgetedStream {
    fn info(&self) -> &SourceInfo {
        self.stream.info()
    }

    fn starts_at(&self) -> u64 {
        self.stream.starts_at()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let next = self.budget.reading.unless_ended(self.stream.next()).await;
        let piece = next.map_err(|why| busy(&self.url, &why))??;
        let length = piece.as_ref().map_or(0, Bytes::len);
        self.budget.reading.count(length as u64);
        Ok(piece)
    }
}
