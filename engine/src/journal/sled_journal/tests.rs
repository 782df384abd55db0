use std::{
    fs::File,
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::future::{join_all, poll_immediate};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    journal::sled_keys as keys,
    model::{Actor, Event, EventKind, Name, Outcome, Payload, RunId, Text, Timestamp},
};

fn stream(number: u64) -> StreamId {
    StreamId::Run(RunId(ulid::Ulid::from_parts(number, 1)))
}

fn append(stream: &StreamId, expected_seq: u64, count: usize) -> Append {
    let event = Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::Paused,
    };
    Append {
        stream: stream.clone(),
        expected_seq,
        events: vec![event; count],
    }
}

/// A closed journal of two streams with five events each, in turn.
async fn closed_journal() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let journal = SledJournal::open(dir.path()).await.unwrap();
    for seq in 0..5 {
        let batch = vec![append(&stream(1), seq, 1), append(&stream(2), seq, 1)];
        journal.append(batch).await.unwrap();
    }
    journal.close().await;
    dir
}

/// Changes a closed journal behind its back.
fn change(dir: &TempDir, key: &[u8], change: impl FnOnce(Option<Vec<u8>>) -> Option<Vec<u8>>) {
    let durable = Durable::open(dir.path(), File::sync_data).unwrap();
    let old = durable.tree().get(key).unwrap().map(|value| value.to_vec());
    let mut batch = sled::Batch::default();
    match change(old) {
        Some(value) => batch.insert(key, value),
        None => batch.remove(key),
    }
    durable.commit(batch).unwrap();
}

fn flip(value: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let mut value = value.unwrap();
    let middle = value.len() / 2;
    value[middle] ^= 0x10;
    Some(value)
}

fn place<T: std::fmt::Debug>(found: Result<T, JournalError>) -> String {
    match found {
        Err(JournalError::Damaged { place, .. }) => place,
        other => panic!("not damaged: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_record_is_named_and_the_good_ones_before_it_are_read() {
    let dir = closed_journal().await;
    change(&dir, &keys::record(6), flip);
    let journal = SledJournal::open(dir.path()).await.unwrap();
    let named = format!("{} #3 (offset 6)", stream(1));
    assert_eq!(place(journal.read(&stream(1), 0, 9).await), named);
    assert_eq!(place(journal.read_all(0, 99).await), named);
    assert_eq!(place(journal.read_stored(6, 1).await), named);
    assert_eq!(journal.read(&stream(1), 0, 3).await.unwrap().len(), 3);
    assert_eq!(journal.read_all(0, 6).await.unwrap().len(), 6);
    assert_eq!(journal.read_all(7, 99).await.unwrap().len(), 3);
    assert_eq!(journal.read(&stream(2), 0, 9).await.unwrap().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_record_is_named() {
    let dir = closed_journal().await;
    change(&dir, &keys::record(6), |_| None);
    let journal = SledJournal::open(dir.path()).await.unwrap();
    assert_eq!(place(journal.read_all(0, 99).await), "offset 6");
    assert_eq!(
        place(journal.read(&stream(1), 3, 1).await),
        format!("{} #3 (offset 6)", stream(1))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_or_lost_index_is_named() {
    let dir = closed_journal().await;
    change(&dir, &keys::place(&stream(1), 1), flip);
    change(&dir, &keys::place(&stream(2), 1), |_| None);
    let journal = SledJournal::open(dir.path()).await.unwrap();
    let named = |number| format!("the index of {} #1", stream(number));
    assert_eq!(place(journal.read(&stream(1), 0, 9).await), named(1));
    assert_eq!(place(journal.read(&stream(2), 0, 9).await), named(2));
    assert_eq!(journal.read_all(0, 99).await.unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_end_is_found_when_the_journal_is_opened() {
    let dir = closed_journal().await;
    change(&dir, &keys::record(9), |_| None);
    assert_eq!(
        place(SledJournal::open(dir.path()).await.map(drop)),
        "the journal's end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_layout_is_refused() {
    let dir = closed_journal().await;
    change(&dir, keys::FORMAT, |_| Some(vec![0, 0, 0, 3]));
    let found = SledJournal::open(dir.path()).await.map(drop);
    assert!(
        matches!(
            found,
            Err(JournalError::Newer {
                found: 3,
                known: 2,
                ..
            })
        ),
        "{found:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_snapshot_does_not_keep_it_from_opening() {
    let dir = closed_journal().await;
    std::fs::write(dir.path().join("snap.0000000000000000.generating"), "half").unwrap();
    let journal = SledJournal::open(dir.path()).await.unwrap();
    assert_eq!(journal.read_all(0, 99).await.unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_once_has_failed_for_good() {
    fn fails_second(file: &File) -> io::Result<()> {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        match CALLS.fetch_add(1, Ordering::Relaxed) {
            1 => Err(io::Error::other("no more disk")),
            _ => file.sync_data(),
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let journal = SledJournal::open_with(dir.path().to_owned(), fails_second).unwrap();
    assert!(poll_immediate(journal.failed()).await.is_none());
    let kept = journal
        .append(vec![append(&stream(1), 0, 1)])
        .await
        .unwrap();
    let error = journal
        .append(vec![append(&stream(1), 1, 1)])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no more disk"), "{error}");
    assert_eq!(journal.failed().await, error);
    assert_eq!(
        journal
            .append(vec![append(&stream(2), 0, 1)])
            .await
            .unwrap_err(),
        error
    );
    assert_eq!(journal.read_all(0, 9).await.unwrap_err(), error);
    drop(journal);
    let journal = SledJournal::open(dir.path()).await.unwrap();
    assert_eq!(journal.read_all(0, 1).await, Ok(kept));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_seen_before_it_is_durable_and_what_waits_is_written_together() {
    static ENTERED: Semaphore = Semaphore::const_new(0);
    static GATE: Semaphore = Semaphore::const_new(0);
    fn gated(file: &File) -> io::Result<()> {
        ENTERED.add_permits(1);
        futures::executor::block_on(GATE.acquire())
            .unwrap()
            .forget();
        file.sync_data()
    }
    let dir = tempfile::tempdir().unwrap();
    let journal = Arc::new(SledJournal::open_with(dir.path().to_owned(), gated).unwrap());
    let first = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.append(vec![append(&stream(0), 0, 1)]).await }
    });
    ENTERED.acquire().await.unwrap().forget();
    assert_eq!(journal.read_all(0, 9).await, Ok(Vec::new()));
    assert_eq!(journal.read(&stream(0), 0, 9).await, Ok(Vec::new()));
    assert_eq!(journal.streams().await, Ok(Vec::new()));
    assert_eq!(journal.head().await, Ok(None));

    let mut waiting = join_all((1..9).map(|n| journal.append(vec![append(&stream(n), 0, 1)])));
    assert!(poll_immediate(&mut waiting).await.is_none());
    // One for each batch, one for the last sync of all.
    GATE.add_permits(3);
    first.await.unwrap().unwrap();
    assert!(waiting.await.iter().all(Result::is_ok));
    let batches: Vec<_> = journal.read_links(0, 9).await.unwrap();
    let ranges: Vec<_> = batches.iter().map(|link| (link.first, link.last)).collect();
    assert_eq!(ranges, [(0, 0), (1, 8)]);
}

/// Sled keeps a page past about 128 KiB in a file of its own, which it never syncs.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_records_make_no_page_that_sled_keeps_apart() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SledJournal::open(dir.path()).await.unwrap();
    let mut long = append(&stream(1), 0, 64);
    for event in &mut long.events {
        let output = Payload::Inline(vec![7; 3900]);
        let (node, outcome) = (Name::of("n"), Outcome::Created);
        event.kind = EventKind::StepSucceeded {
            node,
            attempt: 1,
            outcome,
            output,
        };
    }
    for seq in (0..1024).step_by(64) {
        journal
            .append(vec![Append {
                expected_seq: seq,
                ..long.clone()
            }])
            .await
            .unwrap();
    }
    let stored = journal.read_stored(0, 1).await.unwrap();
    assert!(stored[0].bytes.len() > 3950);
    assert_eq!(
        std::fs::read_dir(dir.path().join("blobs")).unwrap().count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_journal_answers_so_and_can_be_opened_while_it_still_lives() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SledJournal::open(dir.path()).await.unwrap();
    let mut append_first = Box::pin(journal.append(vec![append(&stream(1), 0, 1)]));
    assert!(poll_immediate(&mut append_first).await.is_none());
    journal.close().await;
    journal.close().await;
    assert!(append_first.await.is_ok());
    let late = journal.append(vec![append(&stream(1), 1, 1)]).await;
    assert_eq!(late, Err(JournalError::Closed));
    assert_eq!(journal.read_all(0, 9).await, Err(JournalError::Closed));
    let again = SledJournal::open(dir.path()).await.unwrap();
    assert_eq!(again.read_all(0, 9).await.unwrap().len(), 1);
}
