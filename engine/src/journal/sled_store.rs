//! The reading half of the journal on sled, and what a batch looks like there. Everything blocks.

mod layout;
mod streams;
mod whole;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use sled::IVec;

pub(super) use self::layout::changes;
use self::layout::{check_layout, read_horizon};
use super::{
    BatchLink, Horizon, JournalError, Offset, sled_applier::Progress, sled_keys as keys, stage::Tip,
};
use crate::durable::sled_error;

/// Reads a tree up to what is durable: a batch that was applied but not synced is not seen yet,
/// and one that is durable in the tail only is waited for.
#[derive(Clone)]
pub(super) struct Store {
    tree: sled::Tree,
    durable: Arc<AtomicU64>,
    progress: Progress,
    horizon: Option<Arc<Horizon>>,
}

impl Store {
    /// Checks the layout and that the records end where the chain does.
    pub(super) fn open(tree: sled::Tree) -> Result<(Self, Tip), JournalError> {
        check_layout(&tree)?;
        let mut store = Self {
            horizon: read_horizon(&tree)?.map(Arc::new),
            tree,
            durable: Arc::new(AtomicU64::new(u64::MAX)),
            progress: Progress::new(0),
        };
        let tip = store.tip()?;
        store.set_durable(tip.next);
        store.progress = Progress::new(tip.next);
        Ok((store, tip))
    }

    /// Reads everything that is there, also where the end does not fit the chain. Nobody may
    /// write meanwhile.
    pub(super) fn inspect(tree: sled::Tree) -> Result<Self, JournalError> {
        check_layout(&tree)?;
        let store = Self {
            horizon: read_horizon(&tree)?.map(Arc::new),
            tree,
            durable: Arc::new(AtomicU64::new(u64::MAX)),
            progress: Progress::new(u64::MAX),
        };
        let last = store.last_before(keys::AFTER_RECORDS, keys::RECORDS)?;
        let last = last.and_then(|(key, _)| keys::number(&key));
        let last = last.max(store.below().checked_sub(1));
        // A damaged link is named when the links are read.
        let linked = store.last_link().ok().flatten().map(|link| link.last);
        let next = last.max(linked).map_or(0, |last| last.saturating_add(1));
        store.set_durable(next);
        Ok(store)
    }

    /// How far the tree has come.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Waits until the tree holds everything that is durable now. Blocks.
    pub(super) fn catch_up(&self) -> Result<(), JournalError> {
        self.progress.wait_taken(self.durable())
    }

    pub(super) fn set_durable(&self, next: Offset) {
        self.durable.store(next, Ordering::Release);
    }

    fn durable(&self) -> Offset {
        self.durable.load(Ordering::Acquire)
    }

    fn tip(&self) -> Result<Tip, JournalError> {
        let last = self.last_before(keys::AFTER_RECORDS, keys::RECORDS)?;
        let next = last
            .and_then(|(key, _)| keys::number(&key))
            .map_or(0, |last| last.saturating_add(1))
            .max(self.below());
        let link = self.last_link()?;
        let linked = link.map_or(0, |link| link.last.saturating_add(1));
        if linked == next {
            return Ok(Tip { next, link });
        }
        let why =
            format!("the chain of batches ends before offset {linked}, the records before {next}");
        Err(JournalError::Damaged {
            place: "the journal's end".to_owned(),
            why,
        })
    }

    fn last_before(&self, end: &[u8], prefix: &[u8]) -> Result<Option<(IVec, IVec)>, JournalError> {
        let entry = self.tree.get_lt(end).map_err(sled_error)?;
        Ok(entry.filter(|(key, _)| key.starts_with(prefix)))
    }

    fn last_link(&self) -> Result<Option<BatchLink>, JournalError> {
        self.link_before(keys::AFTER_BATCHES)
    }

    /// The newest durable link of the journal's chain.
    pub(super) fn head_link(&self) -> Result<Option<BatchLink>, JournalError> {
        self.link_before(&keys::batch(self.durable()))
    }

    fn link_before(&self, end: &[u8]) -> Result<Option<BatchLink>, JournalError> {
        match self.last_before(end, keys::BATCHES)? {
            Some((key, value)) => keys::link_of(&key, &value).map(Some),
            None => Ok(self.horizon.as_ref().map(|horizon| horizon.link)),
        }
    }

    /// Below which offset events were archived.
    pub(super) fn horizon(&self) -> Option<Horizon> {
        self.horizon.as_deref().cloned()
    }

    /// The horizon's offset; 0 where there is none.
    fn below(&self) -> Offset {
        self.horizon.as_ref().map_or(0, |horizon| horizon.offset)
    }
}
