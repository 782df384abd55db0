//! The reading half of the journal on sled, and what a batch looks like there. Everything blocks.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use sled::IVec;

use super::{
    BatchLink, Horizon, JournalError, Offset, Record, Seal, Stored, StreamHead,
    sled_applier::Progress,
    sled_keys::{self as keys, Place},
    stage::{Batch, Head, Tip},
};
use crate::{durable::sled_error, model::StreamId};

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

    /// What stands for a stream's archived events.
    pub(super) fn seal(&self, stream: &StreamId) -> Result<Option<Seal>, JournalError> {
        if self.horizon.is_none() {
            return Ok(None);
        }
        let key = keys::seal(stream);
        let value = self.tree.get(&key).map_err(sled_error)?;
        value.map(|value| keys::seal_of(&key, &value)).transpose()
    }

    /// A page of seals.
    pub(super) fn seals(
        &self,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<Seal>, JournalError> {
        let mut start = after.map_or_else(|| keys::SEALS.to_vec(), keys::seal);
        if after.is_some() {
            // The first key past that one.
            start.push(0);
        }
        let entries = self.tree.range(start..keys::AFTER_SEALS.to_vec());
        let seal = |entry: sled::Result<(IVec, IVec)>| {
            let (key, value) = entry.map_err(sled_error)?;
            keys::seal_of(&key, &value)
        };
        entries.take(limit).map(seal).collect()
    }

    /// The link of the batch that begins at `first`.
    pub(super) fn link_at(&self, first: Offset) -> Result<Option<BatchLink>, JournalError> {
        let key = keys::batch(first);
        let value = self.tree.get(key).map_err(sled_error)?;
        value.map(|value| keys::link_of(&key, &value)).transpose()
    }

    /// How far a stream goes, applied batches included; nothing is known of an unknown one.
    pub(super) fn head(&self, stream: &StreamId) -> Result<Head, JournalError> {
        let entry = self.last_before(&keys::place(stream, u64::MAX), &keys::stream(stream))?;
        let Some((key, value)) = entry else {
            let sealed = |seal: Seal| Head {
                next_seq: seal.next_seq,
                hash: seal.hash,
            };
            return Ok(self.seal(stream)?.map_or_else(Head::default, sealed));
        };
        let (_, seq) = keys::stream_of(&key)?;
        let hash = Place::of_value(&key, &value)?.hash;
        Ok(Head {
            next_seq: seq.saturating_add(1),
            hash,
        })
    }

    /// Every stream's durable head: one look-up a stream, from the last one backwards.
    pub(super) fn heads(&self) -> Result<Vec<StreamHead>, JournalError> {
        let mut heads = self.standing_heads()?;
        if self.horizon.is_some() {
            let known: HashSet<_> = heads.iter().map(|head| head.stream.clone()).collect();
            let seals = self.seals(None, usize::MAX)?.into_iter();
            let sealed = seals.filter(|seal| !known.contains(&seal.stream));
            heads.extend(sealed.map(|seal| StreamHead {
                stream: seal.stream,
                next_seq: seal.next_seq,
                hash: seal.hash,
            }));
        }
        heads.sort_unstable_by(|a, b| a.stream.cmp(&b.stream));
        Ok(heads)
    }

    /// The heads of the streams that have events here, in no order.
    fn standing_heads(&self) -> Result<Vec<StreamHead>, JournalError> {
        let mut heads = Vec::new();
        let mut end = keys::AFTER_PLACES.to_vec();
        while let Some((key, value)) = self.last_before(&end, keys::PLACES)? {
            let (stream, seq) = keys::stream_of(&key)?;
            let place = Place::of_value(&key, &value)?;
            if place.offset >= self.durable() {
                end = key.to_vec();
                continue;
            }
            end = keys::stream(&stream);
            heads.push(StreamHead {
                stream,
                next_seq: seq.saturating_add(1),
                hash: place.hash,
            });
        }
        Ok(heads)
    }

    /// A page of a stream.
    pub(super) fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let begin = match self.horizon {
            Some(_) => self.seal(stream)?.map_or(0, |seal| seal.begin()),
            None => 0,
        };
        let from_seq = from_seq.max(begin);
        let (start, end) = (keys::place(stream, from_seq), keys::place(stream, u64::MAX));
        let durable = self.durable();
        let mut records = Vec::new();
        for (entry, seq) in self.tree.range(start..end).take(limit).zip(from_seq..) {
            let (key, value) = entry.map_err(sled_error)?;
            if keys::number(&key) != Some(seq) {
                return Err(keys::damaged(&keys::place(stream, seq), "it is missing"));
            }
            let place = Place::of_value(&key, &value)?;
            if place.offset >= durable {
                break;
            }
            records.push(self.placed(stream, seq, place)?.record()?);
        }
        Ok(records)
    }

    /// The record that the index of a stream points to.
    fn placed(&self, stream: &StreamId, seq: u64, place: Place) -> Result<Stored, JournalError> {
        let at = || format!("{stream} #{seq} (offset {})", place.offset);
        let damaged = |why: &str| JournalError::Damaged {
            place: at(),
            why: why.to_owned(),
        };
        let bytes = self
            .tree
            .get(keys::record(place.offset))
            .map_err(sled_error)?;
        let bytes = bytes.ok_or_else(|| damaged("it is missing"))?;
        let stored = Stored::parse_at(place.offset, bytes.to_vec()).map_err(|e| match e {
            JournalError::Damaged { why, .. } => damaged(&why),
            other => other,
        })?;
        if stored.stream == *stream && stored.seq == seq && stored.hash == place.hash {
            Ok(stored)
        } else {
            Err(damaged(
                "it is not the record that its stream's index names",
            ))
        }
    }

    /// A page of the whole journal, in one sequential scan.
    pub(super) fn read_stored(
        &self,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<Stored>, JournalError> {
        let mut page = Vec::new();
        if from < self.below() {
            page = self.read_kept(from, limit)?;
        }
        let left = limit.saturating_sub(page.len());
        page.extend(self.read_on(from.max(self.below()), left)?);
        Ok(page)
    }

    /// Records below the horizon, of which only some are there.
    fn read_kept(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let range = keys::record(from)..keys::record(self.below());
        let mut page = Vec::new();
        for entry in self.tree.range(range).take(limit) {
            let (key, value) = entry.map_err(sled_error)?;
            let offset =
                keys::number(&key).ok_or_else(|| keys::damaged(&key, "it is too short"))?;
            page.push(Stored::parse_at(offset, value.to_vec())?);
        }
        Ok(page)
    }

    /// Records above the horizon, where none may be missing.
    fn read_on(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let end = self.durable();
        if from >= end {
            return Ok(Vec::new());
        }
        let range = keys::record(from)..keys::record(end);
        let expected = end.saturating_sub(from).min(limit as u64);
        let mut page = Vec::new();
        for (entry, offset) in self
            .tree
            .range(range)
            .zip(from..from.saturating_add(expected))
        {
            let (key, value) = entry.map_err(sled_error)?;
            if keys::number(&key) != Some(offset) {
                return Err(missing(offset));
            }
            page.push(Stored::parse_at(offset, value.to_vec())?);
        }
        let short = from.saturating_add(page.len() as u64);
        if (page.len() as u64) < expected {
            Err(missing(short))
        } else {
            Ok(page)
        }
    }

    /// A page of the journal's chain.
    pub(super) fn read_links(
        &self,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<BatchLink>, JournalError> {
        if from >= self.durable() {
            return Ok(Vec::new());
        }
        let range = keys::batch(from)..keys::batch(self.durable());
        let entries = self.tree.range(range).take(limit);
        let link = |entry: sled::Result<(IVec, IVec)>| {
            let (key, value) = entry.map_err(sled_error)?;
            keys::link_of(&key, &value)
        };
        entries.map(link).collect()
    }
}

fn missing(offset: Offset) -> JournalError {
    JournalError::Damaged {
        place: format!("offset {offset}"),
        why: "it is missing".to_owned(),
    }
}

fn check_layout(tree: &sled::Tree) -> Result<(), JournalError> {
    let what = || "the journal's layout".to_owned();
    match tree.get(keys::FORMAT).map_err(sled_error)? {
        Some(value) => match <[u8; 4]>::try_from(&*value).map(u32::from_be_bytes) {
            Ok(keys::LAYOUT | keys::COMPACTED) => Ok(()),
            Ok(found) if found > keys::COMPACTED => Err(JournalError::Newer {
                what: what(),
                found,
                known: keys::COMPACTED,
            }),
            _ => Err(JournalError::Damaged {
                place: what(),
                why: "no version wrote it".to_owned(),
            }),
        },
        None if tree.is_empty() => Ok(()),
        None => Err(JournalError::Damaged {
            place: what(),
            why: "it is missing".to_owned(),
        }),
    }
}

/// The horizon and its archives, where the layout has one.
fn read_horizon(tree: &sled::Tree) -> Result<Option<Horizon>, JournalError> {
    let layout = tree.get(keys::FORMAT).map_err(sled_error)?;
    let compacted = layout.is_some_and(|value| *value == keys::COMPACTED.to_be_bytes());
    let value = tree.get(keys::HORIZON).map_err(sled_error)?;
    let (Some(value), true) = (&value, compacted) else {
        return match (value, compacted) {
            (None, false) => Ok(None),
            _ => Err(keys::damaged(
                keys::HORIZON,
                "it is not what the layout says",
            )),
        };
    };
    let (mut horizon, archives) = keys::horizon_of(value)?;
    for entry in tree.scan_prefix(keys::ARCHIVES) {
        let (key, value) = entry.map_err(sled_error)?;
        horizon.archives.push(keys::archive_of(&key, &value)?);
    }
    if horizon.archives.len() as u64 == archives {
        Ok(Some(horizon))
    } else {
        Err(keys::damaged(keys::HORIZON, "archives of it are not named"))
    }
}

/// A batch as the tree takes it.
pub(super) fn changes(batch: &Batch) -> sled::Batch {
    let mut changes = sled::Batch::default();
    for stored in &batch.records {
        let key = keys::place(&stored.stream, stored.seq);
        let place = Place {
            offset: stored.offset,
            hash: stored.hash,
        };
        changes.insert(&keys::record(stored.offset), stored.bytes.as_slice());
        changes.insert(key.as_slice(), place.to_value(&key));
    }
    let key = keys::batch(batch.link.first);
    changes.insert(&key, keys::link_value(&batch.link, &key));
    if batch.link.first == 0 {
        changes.insert(keys::FORMAT, &keys::LAYOUT.to_be_bytes());
    }
    changes
}
