use std::sync::Arc;

use ulid::Ulid;

use super::*;
use crate::{
    blob::{Blobs as _, DirBlobs},
    fold::Fold,
    journal::{ChainedJournal as _, Journal as _, MemoryJournal, Missing, MissingCause},
    model::{ActiveRun, Failure, FailureClass, Graph, LastRun, RunPhase, StreamId},
};

fn id(number: u64) -> RunId {
    RunId(Ulid::from_parts(number, 1))
}

fn vsi() -> EntityId {
    EntityId::new(Name::of("vsi"), "a").unwrap()
}

fn folded<T>(state: T, changed: u64) -> Folded<T> {
    Folded {
        state: Arc::new(state),
        next_seq: 1,
        hash: crate::model::Hash::default(),
        first: 0,
        created: Timestamp(0),
        changed: Timestamp(changed),
    }
}

/// A run of the entity; its last change was at `number`.
fn run_of(number: u64, workflow: &str, result: Option<RunResult>) -> StreamState {
    let state = RunState {
        phase: result.map_or(RunPhase::Active, RunPhase::Finished),
        entity: Some(vsi()),
        graph: Some(Arc::new(Graph {
            workflow: Name::of(workflow),
            version: 1,
            nodes: Vec::new(),
        })),
        ..RunState::default()
    };
    StreamState::Run(id(number), folded(state, number))
}

fn failed() -> RunResult {
    RunResult::Failed(Failure::new(FailureClass::Failed, "VSI0501", "x"))
}

/// Seven runs: 1 and 3 provisioned, 2 and 4 failed, 5 updated and reached the desired state, 6
/// failed last, 7 is open.
fn states() -> Vec<StreamState> {
    let state = EntityState {
        active: Some(ActiveRun {
            run: id(7),
            workflow: Name::of("update_vsi"),
            generation: 3,
        }),
        last: Some(LastRun {
            run: id(6),
            workflow: Name::of("update_vsi"),
            generation: 3,
            result: failed(),
        }),
        reached_by: Some(id(5)),
        runs: (1..8).map(id).collect(),
        ..EntityState::default()
    };
    let succeeded = || Some(RunResult::Succeeded);
    vec![
        StreamState::Entity(vsi(), folded(state, 6)),
        run_of(1, "provision_vsi", succeeded()),
        run_of(2, "provision_vsi", Some(failed())),
        run_of(3, "provision_vsi", succeeded()),
        run_of(4, "update_vsi", Some(failed())),
        run_of(5, "update_vsi", succeeded()),
        run_of(6, "update_vsi", Some(failed())),
        run_of(7, "update_vsi", None),
    ]
}

fn forgotten(states: &[StreamState], before: u64, gone: bool) -> Vec<RunId> {
    let forgotten = forgettable(states, Timestamp(before), &move |_, _| gone);
    forgotten.into_iter().collect()
}

#[test]
fn a_living_entity_keeps_the_runs_that_it_goes_by() {
    assert_eq!(forgotten(&states(), 100, false), [1, 2, 4].map(id));
}

#[test]
fn nothing_young_is_forgotten() {
    assert_eq!(forgotten(&states(), 4, false), [1, 2].map(id));
    assert_eq!(forgotten(&states(), 1, true), []);
}

#[test]
fn a_run_from_before_the_clock_was_set_back_is_as_old_as_the_next_run() {
    let mut states = states();
    for stream in &mut states {
        if let StreamState::Run(run, folded) = stream
            && [id(2), id(4)].contains(run)
        {
            folded.changed = Timestamp(9_000);
        }
    }
    assert_eq!(forgotten(&states, 100, false), [1, 2, 4].map(id));
    assert_eq!(forgotten(&states, 4, false), [1, 2].map(id));
}

#[test]
fn of_an_entity_that_is_gone_only_an_open_run_stays() {
    assert_eq!(forgotten(&states(), 100, true), [1, 2, 3, 4, 5, 6].map(id));
}

#[test]
fn a_run_whose_entity_is_not_known_stays() {
    assert_eq!(forgotten(&states()[1..], 100, true), []);
}

/// A journal whose events name two blobs, and a folder with these blobs and one more.
async fn swept() -> (tempfile::TempDir, DirBlobs, MemoryJournal) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = DirBlobs::open(dir.path()).await.unwrap();
    let journal = crate::audit::sample::journal(&blobs).await;
    blobs.put_blob(b"nobody's").await.unwrap();
    (dir, blobs, journal)
}

async fn base(journal: &MemoryJournal) {
    let mut fold = Fold::default();
    for stored in journal.read_stored(0, usize::MAX).await.unwrap() {
        fold.take(&stored).unwrap();
    }
    let link = journal.head().await.unwrap().unwrap();
    let states = fold.states(link.last + 1, Some(link));
    journal.write_base(states).await.unwrap();
}

fn all(journal: &MemoryJournal, cause: MissingCause, to: u64) {
    let from = 0;
    journal.plant_missing(Missing { from, to, cause });
}

#[tokio::test]
async fn only_blobs_that_nothing_names_are_removed() {
    let (dir, blobs, journal) = swept().await;
    let expected = Swept {
        named: 2,
        removed: 1,
    };
    assert_eq!(sweep(&journal, &blobs).await.unwrap(), expected);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[tokio::test]
async fn what_a_base_names_stays_though_its_events_were_removed() {
    let (_dir, blobs, journal) = swept().await;
    base(&journal).await;
    all(&journal, MissingCause::Removed, 53);
    // Still referred to: parameters in the first run's graph, and the output of a step.
    let done = sweep(&journal, &blobs).await.unwrap();
    assert_eq!(
        done,
        Swept {
            named: 2,
            removed: 1
        }
    );
}

#[tokio::test]
async fn nothing_is_removed_while_something_cannot_be_read() {
    let refused = async |journal: &MemoryJournal, blobs: &DirBlobs| {
        let error = sweep(journal, blobs).await.unwrap_err();
        assert_eq!(error.code(), "VSI0913", "{error}");
    };
    let (dir, blobs, journal) = swept().await;
    all(&journal, MissingCause::Removed, 53);
    refused(&journal, &blobs).await;

    let (_damaged, damaged_blobs, damaged_journal) = swept().await;
    base(&damaged_journal).await;
    all(&damaged_journal, MissingCause::Damaged, 53);
    refused(&damaged_journal, &damaged_blobs).await;

    let (_undecodable, undecodable_blobs, undecodable_journal) = swept().await;
    let event = undecodable_journal
        .read_all(0, 1)
        .await
        .unwrap()
        .remove(0)
        .event;
    undecodable_journal.plant_undecodable(&StreamId::Journal, event);
    refused(&undecodable_journal, &undecodable_blobs).await;

    let (lost, left_blobs, left_journal) = swept().await;
    base(&left_journal).await;
    for entry in std::fs::read_dir(lost.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    refused(&left_journal, &left_blobs).await;
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}
