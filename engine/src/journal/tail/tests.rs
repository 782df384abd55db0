use super::*;
use crate::journal::{
    Append,
    stage::{Draft, Head, Stage, Tip},
};
use crate::model::{Actor, Event, EventKind, RunId, StreamId, Text, Timestamp};

fn batch(tip: &Tip, seq: u64, count: usize) -> Batch {
    let event = Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::new("x".repeat(400)),
        kind: EventKind::Paused,
    };
    let append = Append {
        stream: StreamId::Run(RunId(ulid::Ulid::from_parts(1, 1))),
        expected_seq: seq,
        events: vec![event; count],
    };
    let mut stage = Stage::new(tip);
    let head = Head {
        next_seq: seq,
        ..Head::default()
    };
    stage
        .admit(Draft::all(vec![append]).unwrap(), |_| Ok(head))
        .unwrap();
    stage.seal().unwrap()
}

/// Writes so many batches, turning as a writer does; their links.
fn fill(dir: &Path, batches: usize) -> Vec<BatchLink> {
    let (mut tail, _) = Tail::open(dir, File::sync_data).unwrap();
    let (mut tip, mut links) = (Tip::default(), Vec::new());
    for _ in 0..batches {
        let batch = batch(&tip, tip.next, 3);
        if tail.is_full_for(&batch) {
            tail.turn();
        }
        tail.prepare(&batch);
        tail.append().unwrap();
        tip = batch.tip;
        links.push(batch.link);
    }
    links
}

fn links(dir: &Path) -> Vec<BatchLink> {
    let (_, found) = Tail::open(dir, File::sync_data).unwrap();
    found.iter().map(|found| found.link).collect()
}

#[test]
fn what_was_appended_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    assert!(links(dir.path()).is_empty());
    let written = fill(dir.path(), 20);
    assert_eq!(links(dir.path()), written);
}

#[test]
fn the_newest_batches_are_found_after_the_files_went_round() {
    let dir = tempfile::tempdir().unwrap();
    let written = fill(dir.path(), 1_000);
    let found = links(dir.path());
    assert!(found.len() > 150, "{}", found.len());
    assert_eq!(found.last(), written.last());
    // Whatever is found is one unbroken end, but for leftovers of a file's older use.
    let whole = found.iter().rev().zip(written.iter().rev());
    assert!(whole.take(150).all(|(found, written)| found == written));
}

#[test]
fn a_flipped_bit_costs_one_batch_and_the_others_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let written = fill(dir.path(), 5);
    let path = path(dir.path(), 0);
    let mut content = std::fs::read(&path).unwrap();
    let (_, len) = frame(&content).unwrap();
    content[len.next_multiple_of(16) + 200] ^= 1;
    std::fs::write(&path, content).unwrap();
    assert_eq!(
        links(dir.path()),
        [written[0], written[2], written[3], written[4]]
    );
}

#[test]
fn a_batch_longer_than_a_file_is_kept_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (mut tail, _) = Tail::open(dir.path(), File::sync_data).unwrap();
    let batch = batch(&Tip::default(), 0, 2_000);
    assert!(!tail.is_full_for(&batch));
    tail.prepare(&batch);
    tail.append().unwrap();
    let (_, found) = Tail::open(dir.path(), File::sync_data).unwrap();
    assert_eq!(found[0].records.len(), 2_000);
}
