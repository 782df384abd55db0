//! Tests of the journal on disk through its public calls.

use std::time::Duration;

use futures::future::{join_all, poll_immediate};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::*;
use crate::{
    journal::{Append, ChainedJournal as _, Journal as _, log::sim::SimDisk},
    model::{Actor, Event, EventKind, RunId, StreamId, Text},
};

const ID: &str = "01JXAMPLE0000000000000000";

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

fn on(disk: &SimDisk) -> DiskJournal {
    DiskJournal::start(
        Arc::new(disk.clone()),
        ID,
        OpenMode::Make,
        WritePermit::always(),
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_seen_before_it_is_durable_and_what_waits_is_written_together() {
    static ENTERED: Semaphore = Semaphore::const_new(0);
    static GATE: Semaphore = Semaphore::const_new(0);
    let disk = SimDisk::new();
    let journal = Arc::new(on(&disk));
    disk.on_sync(|_| {
        ENTERED.add_permits(1);
        futures::executor::block_on(GATE.acquire())
            .unwrap()
            .forget();
        Ok(())
    });
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
    // One for each batch, one for the mark at the end.
    GATE.add_permits(3);
    first.await.unwrap().unwrap();
    assert!(waiting.await.iter().all(Result::is_ok));
    let batches: Vec<_> = journal.read_links(0, 9).await.unwrap();
    let ranges: Vec<_> = batches.iter().map(|link| (link.first, link.last)).collect();
    assert_eq!(ranges, [(0, 0), (1, 8)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_journal_answers_so_and_can_be_opened_while_it_still_lives() {
    let dir = tempfile::tempdir().unwrap();
    let journal = DiskJournal::open(dir.path(), ID).await.unwrap();
    let mut append_first = Box::pin(journal.append(vec![append(&stream(1), 0, 1)]));
    assert!(poll_immediate(&mut append_first).await.is_none());
    journal.close().await;
    journal.close().await;
    assert!(append_first.await.is_ok());
    let late = journal.append(vec![append(&stream(1), 1, 1)]).await;
    assert_eq!(late, Err(JournalError::Closed));
    assert_eq!(journal.read_all(0, 9).await, Err(JournalError::Closed));
    let again = DiskJournal::open(dir.path(), ID).await.unwrap();
    assert_eq!(again.read_all(0, 9).await.unwrap().len(), 1);
}

/// A journal of several segments: 900 events of about three kilobytes, of 9 streams.
async fn several_segments(dir: &TempDir) -> DiskJournal {
    several_segments_at(dir, |_| 1).await
}

/// The same; the events with these numbers of their streams were recorded at this time.
async fn several_segments_at(dir: &TempDir, time: impl Fn(u64) -> u64) -> DiskJournal {
    let journal = DiskJournal::open(dir.path(), ID).await.unwrap();
    for seq in 0..100 {
        let batch = (0..9).map(|number| {
            let mut append = append(&stream(number), seq, 1);
            append.events.iter_mut().for_each(long);
            let stamp = |event: &mut Event| event.at = Timestamp(time(seq));
            append.events.iter_mut().for_each(stamp);
            append
        });
        journal.append(batch.collect()).await.unwrap();
    }
    journal
}

fn long(event: &mut Event) {
    event.kind = EventKind::StepSucceeded {
        node: crate::model::Name::of("n"),
        attempt: 1,
        outcome: crate::model::Outcome::Created,
        output: crate::model::Payload::Inline(vec![7; 3_000]),
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_from_before_the_clock_was_set_back_are_archived_with_those_after_them() {
    let dir = tempfile::tempdir().unwrap();
    let expected = several_segments(&dir).await.to_archive(Timestamp(2)).await;
    let ahead = tempfile::tempdir().unwrap();
    let while_ahead = |seq| if (30..60).contains(&seq) { 9_000 } else { 1 };
    let journal = several_segments_at(&ahead, while_ahead).await;
    let archived = journal.archive(Timestamp(2)).await;
    assert_eq!(archived, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn archived_segments_read_as_before_and_take_less_room() {
    let dir = tempfile::tempdir().unwrap();
    let journal = several_segments(&dir).await;
    let all = journal.read_all(0, usize::MAX).await.unwrap();
    assert_eq!(
        journal.archive(Timestamp(1)).await.unwrap().segments,
        0,
        "nothing is older"
    );
    let done = journal.archive(Timestamp(2)).await.unwrap();
    assert!(done.segments > 0 && done.events > 0, "{done:?}");
    let reopened = DiskJournal::open_to_read(dir.path(), ID).await.unwrap();
    for opened in [&journal, &reopened] {
        assert_eq!(opened.read_all(0, usize::MAX).await.unwrap(), all);
        let one = opened.read(&stream(3), 5, 50).await.unwrap();
        assert_eq!(
            one.iter().map(|record| record.seq).collect::<Vec<_>>(),
            (5..55).collect::<Vec<_>>()
        );
    }
    journal
        .append(vec![append(&stream(3), 100, 1)])
        .await
        .unwrap();
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_only_read_tells_of_all_streams() {
    let dir = tempfile::tempdir().unwrap();
    let journal = several_segments(&dir).await;
    let streams = journal.streams().await.unwrap();
    let one = journal.read(&stream(5), 0, usize::MAX).await.unwrap();
    journal.close().await;
    let tables = std::fs::read_dir(dir.path().join("log")).unwrap();
    let tables = tables.map(|entry| entry.unwrap().path());
    let mut tables = tables.filter(|path| path.extension().is_some_and(|end| end == "table"));
    let table = tables.next().unwrap();
    for round in 0..2 {
        let read = DiskJournal::open_to_read(dir.path(), ID).await.unwrap();
        let found = read.read(&stream(5), 0, usize::MAX).await.unwrap();
        assert_eq!(found, one, "round {round}");
        assert_eq!(read.streams().await.unwrap(), streams, "round {round}");
        read.close().await;
        // A table of another version is rebuilt.
        let mut bytes = std::fs::read(&table).unwrap();
        bytes[15] = 1;
        std::fs::write(&table, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_archived_while_its_table_is_written_down() {
    let disk = SimDisk::new();
    let journal = on(&disk);
    // The delays make the keeper rename its table while the archive writes its own.
    disk.on_sync(|_| {
        let is_keeper = std::thread::current().name() == Some("log-keeper");
        std::thread::sleep(Duration::from_millis(if is_keeper { 60 } else { 40 }));
        Ok(())
    });
    for round in 0..3 {
        let appended = journal.append(vec![append(&stream(1), round, 1)]).await;
        appended.unwrap();
        let done = journal.archive(Timestamp(2)).await;
        assert_eq!(done.unwrap().segments, 1, "round {round}");
    }
    journal.close().await;
    let names = |folder: &str| disk.list(folder).unwrap().len();
    assert_eq!(names("archive"), 6, "each has its table");
    assert_eq!(names("log"), 1, "{:?}", disk.list("log"));
    let read = on(&disk);
    assert_eq!(read.read_all(0, 99).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_is_named_and_what_is_around_it_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = several_segments(&dir).await;
    assert!(journal.archive(Timestamp(2)).await.unwrap().segments > 1);
    journal
        .append(vec![append(&stream(3), 100, 1)])
        .await
        .unwrap();
    journal.close().await;
    let archived = dir.path().join("archive/00000000000000000000");
    let mut bytes = std::fs::read(&archived).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&archived, bytes).unwrap();
    let refused = DiskJournal::open(dir.path(), ID).await.err();
    assert!(
        matches!(&refused, Some(error) if error.is_damage()),
        "{refused:?}"
    );
    let reader = DiskJournal::open_to_read(dir.path(), ID).await.unwrap();
    let damage = reader.damage().await.unwrap();
    assert_eq!((damage.len(), damage[0].from), (1, 0));
    assert!(damage[0].file.contains("archive"), "{damage:?}");
    let after = reader.read_all(damage[0].to, usize::MAX).await.unwrap();
    assert_eq!(after.len() as u64, 901 - damage[0].to);
}
