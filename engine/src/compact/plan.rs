//! What a compaction will do: up to where, and what stands for what is archived.

use std::collections::HashMap;

use super::fold::{Fold, is_young};
use crate::{
    audit::{AuditError, Batches},
    journal::{BatchLink, ChainedJournal, Seal},
    model::{EntityId, EntityState, StreamId, Timestamp},
};

/// Which entities are gone for good, as far as anybody can tell from their state.
pub type IsGone<'a> = &'a (dyn Fn(&EntityId, &EntityState) -> bool + Send + Sync);

/// A compaction to be done.
pub(super) struct Plan {
    /// The last link before the new horizon.
    pub(super) link: BatchLink,
    pub(super) seals: Vec<Seal>,
    /// How many events leave the journal.
    pub(super) events: u64,
}

/// Where everything before is older than `before`, and what that comes to. None where nothing
/// would leave the journal.
pub(super) async fn plan(
    journal: &dyn ChainedJournal,
    before: Timestamp,
    is_gone: IsGone<'_>,
) -> Result<Option<Plan>, AuditError> {
    let mut fold = Fold::below(journal).await?;
    let Some(link) = fold_old(&mut fold, journal, before).await? else {
        return Ok(None);
    };
    let heads = journal.streams().await?.into_iter();
    let heads: HashMap<_, _> = heads
        .filter_map(|head| match head.stream {
            StreamId::Entity(id) => Some((id, head.next_seq)),
            _ => None,
        })
        .collect();
    // One that was wished for again is not gone any more.
    let needed = fold
        .needed_runs(|id, state, next_seq| heads.get(id) == Some(&next_seq) && is_gone(id, state));
    let standing = fold.standing;
    let seals = fold.seals(&needed);
    let kept = seals.iter().filter(|seal| seal.is_kept());
    let kept: u64 = kept.map(|seal| seal.next_seq).sum();
    let events = standing.saturating_sub(kept);
    Ok((events > 0).then_some(Plan {
        link,
        seals,
        events,
    }))
}

/// Folds batch by batch up to the first that holds something young; the last link before.
async fn fold_old(
    fold: &mut Fold,
    journal: &dyn ChainedJournal,
    before: Timestamp,
) -> Result<Option<BatchLink>, AuditError> {
    let mut batches = Batches::of(journal).await?;
    let mut last = None;
    while let Some((link, records)) = batches.next().await? {
        for stored in &records {
            if is_young(stored, before)? {
                return Ok(last);
            }
        }
        records.iter().try_for_each(|stored| fold.take(stored))?;
        last = Some(link);
    }
    Ok(last)
}
