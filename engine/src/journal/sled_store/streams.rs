//! Single streams: how far they go, their pages, and what stands for what was archived of them.

use std::collections::HashSet;

use sled::IVec;

use super::Store;
use crate::{
    durable::sled_error,
    journal::{
        JournalError, Record, Seal, Stored, StreamHead,
        sled_keys::{self as keys, Place},
        stage::Head,
    },
    model::StreamId,
};

impl Store {
    /// What stands for a stream's archived events.
    pub(in crate::journal) fn seal(&self, stream: &StreamId) -> Result<Option<Seal>, JournalError> {
        if self.horizon.is_none() {
            return Ok(None);
        }
        let key = keys::seal(stream);
        let value = self.tree.get(&key).map_err(sled_error)?;
        value.map(|value| keys::seal_of(&key, &value)).transpose()
    }

    /// A page of seals.
    pub(in crate::journal) fn seals(
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

    /// How far a stream goes, applied batches included; nothing is known of an unknown one.
    pub(in crate::journal) fn head(&self, stream: &StreamId) -> Result<Head, JournalError> {
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
    pub(in crate::journal) fn heads(&self) -> Result<Vec<StreamHead>, JournalError> {
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
    pub(in crate::journal) fn read(
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
}
