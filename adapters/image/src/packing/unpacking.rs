//! The reading and unpacking of an image, which waits for its source, its reader and its memory.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::executor::block_on;
use tokio::sync::{mpsc, watch};

use vsiflow_steps::ports::ImageOwner;

use super::memory::{MemoryBusy, ReservedMemory, UNPACKING};

/// The reading or unpacking of one image.
pub(crate) struct Unpacking {
    owner: ImageOwner,
    /// How many packed bytes were read.
    taken: AtomicU64,
    /// Whether it has to end, because others need its memory.
    ended: watch::Sender<bool>,
    /// Closed once nobody reads the image any more.
    to: mpsc::Sender<io::Result<Bytes>>,
}

impl Unpacking {
    /// An unpacking for an owner.
    pub(crate) fn new(owner: ImageOwner, to: mpsc::Sender<io::Result<Bytes>>) -> Self {
        Self {
            owner,
            taken: AtomicU64::new(0),
            ended: watch::Sender::new(false),
            to,
        }
    }

    /// How many packed bytes were read.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Counts packed bytes that were read.
    pub(crate) fn count(&self, bytes: u64) {
        self.taken.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Waits on this thread, which must not be one of the runtime's, as long as the image is read and its memory is not
    /// needed by others.
    ///
    /// # Errors
    /// [`MemoryBusy`] if others need the memory, and an error if nobody reads the image any more.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = T>) -> io::Result<T> {
        let mut ended = self.ended.subscribe();
        block_on(async {
            tokio::select! {
                biased;
                _ = ended.wait_for(|ended| *ended) => Err(io::Error::other(MemoryBusy::Ended)),
                () = self.to.closed() => Err(io::ErrorKind::BrokenPipe.into()),
                done = work => Ok(done),
            }
        })
    }

    /// Sends a piece to the reader. Returns whether the reader wants more.
    ///
    /// # Errors
    /// [`MemoryBusy`] if others need the memory.
    pub(crate) fn send(&self, piece: Bytes) -> io::Result<bool> {
        match self.wait(self.to.send(Ok(piece))) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            sent => sent.map(|sent| sent.is_ok()),
        }
    }

    /// Reports the error that ends the image. Waits until the reader takes it, or is gone.
    pub(crate) fn fail(&self, error: io::Error) {
        let _ = block_on(self.to.send(Err(error)));
    }

    /// The same without waiting, before anything else was sent.
    pub(crate) fn fail_now(&self, error: io::Error) {
        let _ = self.to.try_send(Err(error));
    }

    /// Reserves memory, in bytes. Waits on this thread while others use too much.
    ///
    /// # Errors
    /// [`MemoryBusy`] if others use it for longer than a minute, and an error if nobody reads the image any more.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> io::Result<ReservedMemory> {
        self.wait(UNPACKING.reserve(self, bytes))?
            .map_err(io::Error::other)
    }

    /// The same in a task. Cancel safe.
    ///
    /// # Errors
    /// [`MemoryBusy`] if others use it for longer than a minute.
    pub(crate) async fn reserve_aside(
        self: &Arc<Self>,
        bytes: u64,
    ) -> Result<ReservedMemory, MemoryBusy> {
        UNPACKING.reserve(self, bytes).await
    }

    /// Does work in a task until others need the memory. As cancel safe as the work.
    ///
    /// # Errors
    /// [`MemoryBusy`] if others need the memory.
    pub(crate) async fn unless_ended<T>(
        &self,
        work: impl Future<Output = T>,
    ) -> Result<T, MemoryBusy> {
        let mut ended = self.ended.subscribe();
        tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => Err(MemoryBusy::Ended),
            done = work => Ok(done),
        }
    }

    pub(super) fn owner(&self) -> &ImageOwner {
        &self.owner
    }

    /// Ends it, because others need its memory.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    pub(super) fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }
}
