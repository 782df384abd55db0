//! Chooses the batches that fill a lost range, and the gap for events that were not found.

use super::{RepairSource, batch::FoundBatch};
use crate::{
    journal::{BatchLink, Offset},
    model::Hash,
};

/// An item that fills a part of a lost range.
#[derive(Clone, Debug)]
pub(super) enum FillItem {
    /// A recovered batch.
    Batch(FoundBatch),
    /// Batches that were not found, as one link.
    Gap(BatchLink),
}

impl FillItem {
    pub(super) fn link(&self) -> &BatchLink {
        match self {
            Self::Batch(batch) => &batch.link,
            Self::Gap(link) => link,
        }
    }
}

/// Where a lost range ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RangeEnd {
    /// Before this offset: the next batch begins there and is linked to this hash.
    At(Offset, Hash),
    /// Unknown, but not before this offset.
    NotBefore(Offset),
    /// At the end of the last batch that is found.
    Here,
}

/// Fills the range from `next` on, which is linked to `prev`.
///
/// Trusted batches, of the damaged files and of the archive, are used if they follow the previous
/// batch, or if the next batch is linked to them. Others are used only if the next batch is linked
/// to them, which cannot be forged. At the end of a log there is no next batch: there, batches of the
/// given file are used if they follow the previous batch.
pub(super) fn fill(
    next: Offset,
    prev: Hash,
    end: RangeEnd,
    trusted: &[FoundBatch],
    others: &[FoundBatch],
) -> Vec<FillItem> {
    let mut front = follow(next, prev, end, trusted, others);
    let mut back = Vec::new();
    let reached = |found: &[FoundBatch]| {
        let last = found.last();
        last.map_or((next, prev), |batch| (batch.next(), batch.link.hash))
    };
    let (to, hash) = match end {
        RangeEnd::At(to, hash) => {
            let (at, found) = reached(&front);
            if at == to && found != hash {
                // These batches belong to another history.
                front.clear();
            }
            back = lead_to(reached(&front).0, to, hash, trusted, others);
            let first = back.last();
            first.map_or((to, hash), |batch| (batch.link.first, batch.link.prev))
        }
        RangeEnd::NotBefore(least) => {
            let (at, hash) = reached(&front);
            (least.max(at.saturating_add(1)), hash)
        }
        RangeEnd::Here => reached(&front),
    };
    let (from, before) = reached(&front);
    let gap = (from < to).then(|| {
        FillItem::Gap(BatchLink {
            first: from,
            last: to.saturating_sub(1),
            prev: before,
            hash,
        })
    });
    let batches = front.into_iter().map(FillItem::Batch);
    let later_batches = back.into_iter().rev().map(FillItem::Batch);
    batches.chain(gap).chain(later_batches).collect()
}

/// The batches that follow the previous batch, in order.
fn follow(
    mut next: Offset,
    mut prev: Hash,
    end: RangeEnd,
    trusted: &[FoundBatch],
    others: &[FoundBatch],
) -> Vec<FoundBatch> {
    let (to, last) = match end {
        RangeEnd::At(to, _) => (to, false),
        RangeEnd::NotBefore(_) | RangeEnd::Here => (Offset::MAX, true),
    };
    let mut filling = Vec::new();
    loop {
        let fits = |batch: &&FoundBatch| {
            let link = &batch.link;
            link.first == next && link.prev == prev && link.last < to
        };
        let supplied = others
            .iter()
            .filter(|batch| last && batch.source == RepairSource::File);
        let Some(batch) = trusted.iter().chain(supplied).find(fits) else {
            return filling;
        };
        (next, prev) = (batch.next(), batch.link.hash);
        filling.push(batch.clone());
    }
}

/// The batches that the next batch is linked to, the last first, back to `from` at most.
fn lead_to(
    from: Offset,
    mut to: Offset,
    mut hash: Hash,
    trusted: &[FoundBatch],
    others: &[FoundBatch],
) -> Vec<FoundBatch> {
    let mut filling = Vec::new();
    while from < to {
        let fits = |batch: &&FoundBatch| {
            let link = &batch.link;
            batch.next() == to && link.hash == hash && link.first >= from
        };
        let Some(batch) = trusted.iter().chain(others).find(fits) else {
            break;
        };
        (to, hash) = (batch.link.first, batch.link.prev);
        filling.push(batch.clone());
    }
    filling
}
