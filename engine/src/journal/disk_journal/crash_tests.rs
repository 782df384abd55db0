//! Acknowledged events survive SIGKILL.
//!
//! The test starts itself as a child process, which appends events and prints the acknowledged ones,
//! and kills it at some moment. Then every printed event must exist, and every batch must be whole.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use super::*;

const ID: &str = "01JXAMPLE0000000000000000";
use crate::{
    journal::{Append, BatchLink, ChainedJournal as _, Journal as _},
    model::{Actor, EntityId, Event, EventKind, Hash, Name, RunId, StreamId, Text, Timestamp},
};

const DIR: &str = "VSIFLOW_TEST_CRASH_DIR";
const WRITERS: u64 = 8;
const ROUNDS: usize = 8;

/// The streams of a run and of its entity, which are always written together.
fn pair(writer: u64) -> [StreamId; 2] {
    let entity = EntityId::new(Name::of("vsi"), writer.to_string()).unwrap();
    [
        StreamId::Run(RunId(ulid::Ulid::from_parts(writer, 1))),
        StreamId::Entity(entity),
    ]
}

fn batch(writer: u64, seq: u64) -> Vec<Append> {
    let event = Event {
        at: Timestamp(seq),
        actor: Actor::Engine,
        reason: Text::new("x".repeat((seq % 500) as usize)),
        kind: EventKind::Paused,
    };
    let append = |stream| Append {
        stream,
        expected_seq: seq,
        events: vec![event.clone()],
    };
    pair(writer).map(append).into()
}

async fn write_for_ever(journal: Arc<DiskJournal>, writer: u64) {
    let [run, _] = pair(writer);
    let heads = journal.streams().await.unwrap();
    let head = heads.into_iter().find(|head| head.stream == run);
    for seq in head.map_or(0, |head| head.next_seq).. {
        for record in journal.append(batch(writer, seq)).await.unwrap() {
            println!("\nack {} {} {}", record.offset, record.hash, record.stream);
        }
    }
}

/// The child process; without a parent it does nothing.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let journal = Arc::new(DiskJournal::open(dir, ID).await.unwrap());
    let writers = (0..WRITERS).map(|n| tokio::spawn(write_for_ever(Arc::clone(&journal), n)));
    futures::future::join_all(writers).await;
}

fn spawn_child(dir: &Path) -> Child {
    let name = concat!(module_path!(), "::child");
    let name = name.split_once("::").unwrap().1;
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a child until it has acknowledged `count` events, kills it, and returns all that it
/// acknowledged.
fn killed_after(dir: &Path, count: usize) -> Vec<(u64, String)> {
    let mut child = spawn_child(dir);
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let (mut acks, mut line) = (Vec::new(), String::new());
    while lines.read_line(&mut line).unwrap() > 0 {
        // A line without a newline was cut off by the kill.
        if let Some(ack) = line
            .strip_prefix("ack ")
            .and_then(|line| line.strip_suffix('\n'))
        {
            let mut words = ack.split(' ');
            let offset = words.next().unwrap().parse().unwrap();
            acks.push((offset, words.next().unwrap().to_owned()));
        }
        if acks.len() == count {
            child.kill().unwrap();
        }
        line.clear();
    }
    child.wait().unwrap();
    acks
}

async fn assert_whole(journal: &DiskJournal) {
    let all = journal.read_stored(0, usize::MAX).await.unwrap();
    let mut heads = BTreeMap::<StreamId, (u64, Hash)>::new();
    for stored in &all {
        let (seq, prev) = heads.get(&stored.stream).copied().unwrap_or_default();
        assert_eq!((stored.seq, stored.prev), (seq, prev));
        heads.insert(stored.stream.clone(), (seq + 1, stored.hash));
    }
    for writer in 0..WRITERS {
        let [run, entity] = pair(writer).map(|stream| heads.get(&stream).map(|head| head.0));
        assert_eq!(run, entity, "half a batch");
    }
    let mut prev = Hash::default();
    let links = journal.read_links(0, usize::MAX).await.unwrap();
    for link in &links {
        let records = all
            .iter()
            .skip(link.first as usize)
            .take_while(|s| s.offset <= link.last);
        let expected = BatchLink::new(prev, link.first, link.last, records.map(|s| &s.hash));
        assert_eq!(*link, expected);
        prev = link.hash;
    }
    assert_eq!(
        links.last().map_or(0, |link| link.last + 1),
        all.len() as u64
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acks = Vec::new();
    for _ in 0..ROUNDS {
        let count = rand::random_range(1..3000);
        let path = dir.path().to_owned();
        let round = tokio::task::spawn_blocking(move || killed_after(&path, count))
            .await
            .unwrap();
        assert!(round.len() >= count, "the child ended before the kill");
        acks.extend(round);
        let journal = DiskJournal::open(dir.path(), ID).await.unwrap();
        let all = journal.read_all(0, usize::MAX).await.unwrap();
        for (offset, hash) in &acks {
            let found = all
                .get(*offset as usize)
                .map(|record| record.hash.to_string());
            assert_eq!(found.as_ref(), Some(hash), "offset {offset} after {count}");
        }
        assert_whole(&journal).await;
    }
}
