//! The new files of the journal: the horizon, seals and records that stay.

use std::{collections::HashSet, path::Path};

use super::{PAGE, plan::Plan};
use crate::{
    audit::{AuditError, Batches},
    blocking::blocking,
    journal::{
        Archive, ChainedJournal, Commitment, Horizon, JournalError, Offset, SledBuilder, Stored,
    },
    model::{Actor, Event, EventKind, Hash, Text, Timestamp},
    state_dir,
};

pub(super) async fn horizon(
    journal: &dyn ChainedJournal,
    plan: &Plan,
    archive: Archive,
) -> Result<Horizon, AuditError> {
    let before = journal.horizon().await?;
    let mut archives = before.map(|horizon| horizon.archives).unwrap_or_default();
    archives.push(archive);
    let mut commitment = Commitment::new(&plan.link, &archives);
    plan.seals
        .iter()
        .try_for_each(|seal| commitment.add(seal))?;
    Ok(Horizon {
        offset: plan.link.last.saturating_add(1),
        link: plan.link,
        archives,
        sealed: commitment.hash(),
    })
}

pub(super) async fn build(
    dir: &Path,
    journal: &dyn ChainedJournal,
    plan: &Plan,
    horizon: &Horizon,
    now: Timestamp,
) -> Result<(), AuditError> {
    let next = dir.to_owned();
    let (dir, at, seals) = (next.clone(), horizon.clone(), plan.seals.clone());
    let mut builder = blocking(move || {
        let cleared = state_dir::remove(&dir);
        cleared.map_err(|e| JournalError::Storage(format!("{}: {e}", dir.display())))?;
        let mut builder = SledBuilder::begin(&dir, &at)?;
        seals.iter().try_for_each(|seal| builder.seal(seal))?;
        Ok(builder)
    })
    .await?;
    builder = keep(builder, journal, plan, horizon.offset).await?;
    builder = copy(builder, journal, horizon.offset).await?;
    let event = compacted(horizon, now);
    blocking(move || builder.finish(&next, event)).await?;
    Ok(())
}

/// Takes over the records below the horizon that stay.
async fn keep(
    builder: SledBuilder,
    journal: &dyn ChainedJournal,
    plan: &Plan,
    horizon: Offset,
) -> Result<SledBuilder, AuditError> {
    let kept = plan.seals.iter().filter(|seal| seal.is_kept());
    let kept: HashSet<_> = kept.map(|seal| seal.stream.clone()).collect();
    let (mut builder, mut from) = (builder, 0);
    loop {
        let page = journal.read_stored(from, PAGE).await?;
        let Some(last) = page.last() else { break };
        from = last.offset.saturating_add(1);
        let stays = |stored: &Stored| stored.offset < horizon && kept.contains(&stored.stream);
        let page: Vec<_> = page.into_iter().filter(stays).collect();
        builder = blocking(move || {
            page.iter().try_for_each(|stored| builder.keep(stored))?;
            Ok(builder)
        })
        .await?;
        if from >= horizon {
            break;
        }
    }
    Ok(builder)
}

/// Takes over everything from the horizon on.
async fn copy(
    builder: SledBuilder,
    journal: &dyn ChainedJournal,
    horizon: Offset,
) -> Result<SledBuilder, AuditError> {
    let (mut builder, mut batches) = (builder, Batches::of(journal).await?);
    while let Some((link, records)) = batches.next().await? {
        if link.first < horizon {
            continue;
        }
        builder = blocking(move || {
            builder.batch(link, &records)?;
            Ok(builder)
        })
        .await?;
    }
    Ok(builder)
}

pub(super) fn compacted(horizon: &Horizon, now: Timestamp) -> Event {
    let archive = horizon.archives.last();
    Event {
        at: now,
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::Compacted {
            horizon: horizon.offset,
            sealed: horizon.sealed,
            archive: archive.map_or_else(Hash::default, |archive| archive.sha256),
        },
    }
}
