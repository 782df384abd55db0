//! Which batches take the place of lost ones, and what nobody has.

use super::{RepairSource, batch::FoundBatch};
use crate::{
    journal::{BatchLink, Offset},
    model::Hash,
};

/// What goes into a place that was damaged.
#[derive(Clone, Debug)]
pub(super) enum FillItem {
    /// A batch as it was.
    Batch(FoundBatch),
    /// Batches that nobody has, in one link.
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
    /// What follows begins at that offset and is linked to that hash.
    At(Offset, Hash),
    /// Nobody can tell; not before that offset.
    NotBefore(Offset),
    /// With the last batch that is there.
    Here,
}

/// Fills the range from `next` on, which is linked to `prev`.
///
/// Batches of the damaged files and of the archive are taken where they follow what is there, or
/// where what comes after is linked to them. Those of a file that was given are taken only where
/// what comes after is linked to them, which nobody can forge; at the end of a log, where nothing
/// comes after, where they follow what is there.
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
                // It is another history's.
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
    let front = front.into_iter().map(FillItem::Batch);
    let back = back.into_iter().rev().map(FillItem::Batch);
    front.chain(gap).chain(back).collect()
}

/// The batches that follow what is there.
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
    let mut found = Vec::new();
    loop {
        let fits = |batch: &&FoundBatch| {
            let link = &batch.link;
            link.first == next && link.prev == prev && link.last < to
        };
        let supplied = others
            .iter()
            .filter(|batch| last && batch.source == RepairSource::File);
        let Some(batch) = trusted.iter().chain(supplied).find(fits) else {
            return found;
        };
        (next, prev) = (batch.next(), batch.link.hash);
        found.push(batch.clone());
    }
}

/// The batches that what comes after is linked to, the last first, down to `from`.
fn lead_to(
    from: Offset,
    mut to: Offset,
    mut hash: Hash,
    trusted: &[FoundBatch],
    others: &[FoundBatch],
) -> Vec<FoundBatch> {
    let mut found = Vec::new();
    while from < to {
        let fits = |batch: &&FoundBatch| {
            let link = &batch.link;
            batch.next() == to && link.hash == hash && link.first >= from
        };
        let Some(batch) = trusted.iter().chain(others).find(fits) else {
            break;
        };
        (to, hash) = (batch.link.first, batch.link.prev);
        found.push(batch.clone());
    }
    found
}
