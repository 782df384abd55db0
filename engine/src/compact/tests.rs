//! Compaction of journals as the program writes them.

mod golden;
pub(crate) mod herd;
mod kills;
mod on_disk;
mod property;
mod size;

use std::{collections::HashSet, path::Path};

use super::{build::compacted, *};
use crate::{
    audit::{Audit, Batches},
    blob::MemoryBlobs,
    journal::{ChainedJournal, Horizon, MemoryJournal, Seal, Stored},
    model::{EntityId, EntityState, Hash, StreamId, Text},
};

/// As the workflows tell it.
pub(crate) fn is_deleted(_: &EntityId, state: &EntityState) -> bool {
    let deleted = |(name, _): &(crate::model::Name, Text)| name.as_str() == "Deleted";
    state.active.is_none() && state.state.as_ref().is_some_and(deleted)
}

pub(crate) fn at(before: u64) -> Compaction<'static> {
    Compaction {
        before: Timestamp(before),
        now: Timestamp(before + 1),
        least: 1,
        is_gone: &is_deleted,
    }
}

/// A compaction without files: what the journal would be then, and none where nothing is to do.
pub(crate) async fn in_memory(journal: &dyn ChainedJournal, before: u64) -> Option<MemoryJournal> {
    let plan = plan(journal, Timestamp(before), &is_deleted)
        .await
        .unwrap()?;
    let horizon = horizon_without_file(journal, &plan).await;
    let kept: HashSet<_> = plan
        .seals
        .iter()
        .filter(|seal| seal.is_kept())
        .collect_streams();
    let all = journal.read_stored(0, usize::MAX).await.unwrap();
    let stays = |r: &Stored| r.offset < horizon.offset && kept.contains(&r.stream);
    let kept = all.iter().filter(|r| stays(r)).cloned().collect();
    let event = compacted(&horizon, Timestamp(before + 1));
    let offset = horizon.offset;
    let made = MemoryJournal::compacted(horizon, plan.seals, kept);
    let mut batches = Batches::of(journal).await.unwrap();
    while let Some((link, records)) = batches.next().await.unwrap() {
        if link.first >= offset {
            let bytes = records.into_iter().map(|record| record.bytes).collect();
            assert_eq!(made.restore(bytes).await.unwrap(), Some(link));
        }
    }
    let heads = made.streams().await.unwrap();
    let own = heads.iter().find(|head| head.stream == StreamId::Journal);
    let append = crate::journal::Append {
        stream: StreamId::Journal,
        expected_seq: own.map_or(0, |own| own.next_seq),
        events: vec![event],
    };
    made.append(vec![append]).await.unwrap();
    Some(made)
}

trait CollectStreams<'a>: Iterator<Item = &'a Seal> + Sized {
    fn collect_streams(self) -> HashSet<StreamId> {
        self.map(|seal| seal.stream.clone()).collect()
    }
}

impl<'a, I: Iterator<Item = &'a Seal>> CollectStreams<'a> for I {}

async fn horizon_without_file(journal: &dyn ChainedJournal, plan: &Plan) -> Horizon {
    let before = journal.horizon().await.unwrap();
    let archive = Archive {
        first: before.map_or(0, |horizon| horizon.offset),
        end: plan.link.last + 1,
        link: plan.link.hash,
        sha256: Hash::of(b"no file"),
        len: 7,
    };
    horizon(journal, plan, archive).await.unwrap()
}

/// Compacts a journal on disk into another folder.
pub(crate) async fn on_disk(journal: &dyn ChainedJournal, dir: &Path, before: u64) -> bool {
    let Some(plan) = plan(journal, Timestamp(before), &is_deleted).await.unwrap() else {
        return false;
    };
    let horizon = horizon_without_file(journal, &plan).await;
    let now = Timestamp(before + 1);
    build(dir, journal, &plan, &horizon, now).await.unwrap();
    true
}

async fn verified(journal: &dyn ChainedJournal) {
    let blobs = MemoryBlobs::new();
    let audit = Audit {
        journal,
        blobs: &blobs,
        journal_id: herd::ID,
        archives: None,
    };
    let report = audit.verify(None).await.unwrap();
    assert!(report.is_sound(), "{:#?}", report.violations);
    crate::replay::replay(journal, true).await.unwrap();
}

#[tokio::test]
async fn nothing_young_is_archived() {
    let journal = MemoryJournal::new();
    herd::write(&journal, 0..2).await;
    assert!(in_memory(&journal, herd::time(0)).await.is_none());
    let compacted = in_memory(&journal, herd::time(1)).await.unwrap();
    let horizon = compacted.horizon().await.unwrap().unwrap();
    assert_eq!(horizon.offset, herd::EVENTS + 1);
    verified(&compacted).await;
}

#[tokio::test]
async fn an_open_run_keeps_its_events_and_goes_on() {
    let journal = MemoryJournal::new();
    let batches = herd::batches(0);
    herd::append(&journal, &batches[..12]).await;
    let mut young = batches[12..].to_vec();
    let late = herd::time(9);
    young
        .iter_mut()
        .flatten()
        .for_each(|(_, event)| event.at = Timestamp(late));
    let compacted = in_memory(&journal, herd::time(1)).await.unwrap();
    let run = herd::provisioning(0);
    let kept = compacted.read(&run, 0, usize::MAX).await.unwrap();
    assert_eq!(kept, journal.read(&run, 0, usize::MAX).await.unwrap());
    assert!(compacted.seal(&run).await.unwrap().unwrap().is_kept());
    herd::append(&compacted, &young).await;
    verified(&compacted).await;
}

/// What it did carries marks of it, which must not look like those of a newer journal.
#[tokio::test]
async fn of_an_archived_run_it_stays_known_that_it_was() {
    let journal = MemoryJournal::new();
    herd::write(&journal, 0..2).await;
    let compacted = in_memory(&journal, herd::time(1)).await.unwrap();
    let StreamId::Run(run) = herd::provisioning(0) else {
        panic!("no run");
    };
    let never = crate::model::RunId(ulid::Ulid::from_parts(1, 1));
    let known = async |run| crate::executor::was_attempted(&compacted, run, "define_domain").await;
    assert!(known(run).await);
    assert!(!known(never).await);
}

#[tokio::test]
async fn whether_it_is_due_is_told_by_the_event_that_far_on() {
    let journal = MemoryJournal::new();
    herd::write(&journal, 0..2).await;
    let due = |before, least| is_due(&journal, Timestamp(before), least);
    assert!(due(herd::time(1), herd::EVENTS).await.unwrap());
    assert!(!due(herd::time(1), herd::EVENTS + 2).await.unwrap());
    assert!(!due(herd::time(9), 1_000).await.unwrap());
}
