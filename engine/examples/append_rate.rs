//! How many durable events a second the journal takes, beside what the disk itself can do.
//!
//! ```sh
//! cargo run --release -p vsiflow-engine --example append_rate -- [DIR] [EVENTS]
//! ```
//!
//! Appends events of about 300 bytes from 1, 16, 64 and 256 tasks, then fills the journal up to
//! EVENTS (a million), opens it anew and reads it from end to end, as a restart does. A figure
//! holds for its run only: compare it with the raw one printed beside it.

use std::{
    error::Error,
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use vsiflow_engine::{
    journal::{Append, Journal as _, SledJournal},
    model::{Actor, Event, EventKind, Name, Outcome, Payload, RunId, StreamId, Text, Timestamp},
};

type Answer<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long each figure is taken.
const TIME: Duration = Duration::from_secs(2);
/// What a run's stream grows to.
const PER_STREAM: u64 = 30;
/// What is set aside for the raw figure, in bytes.
const ROOM: u64 = 64 << 20;
/// A page of a restart.
const PAGE: usize = 1024;
/// The argument that makes it open a journal and nothing else.
const RESTART: &str = "--restart";

fn event(seq: u64) -> Event {
    let output = Payload::Inline(vec![b'x'; 190]);
    let node = Name::of("create_console_log");
    let outcome = Outcome::Created;
    let kind = EventKind::StepSucceeded {
        node,
        attempt: 1,
        outcome,
        output,
    };
    Event {
        at: Timestamp(seq),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    }
}

fn stream(number: u64) -> StreamId {
    StreamId::Run(RunId(ulid::Ulid::from_parts(number, number.into())))
}

/// Durable writes a second of one file: 300 bytes, `fdatasync`, again. In a file that grows each
/// sync also writes the file's new length.
fn raw(dir: &Path, allocated: u64) -> Answer<f64> {
    let mut file = File::create(dir.join("raw"))?;
    std::io::copy(&mut std::io::repeat(1).take(allocated), &mut file)?;
    file.sync_all()?;
    file.rewind()?;
    let (start, mut count) = (Instant::now(), 0u32);
    while start.elapsed() < TIME {
        file.write_all(&[7; 300])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Appends one event at a time to one stream after another until the time is over.
async fn appender(journal: Arc<SledJournal>, mut number: u64, until: Instant) -> Answer<u32> {
    let mut count = 0;
    while Instant::now() < until {
        for seq in 0..PER_STREAM {
            let events = vec![event(seq)];
            let append = Append {
                stream: stream(number),
                expected_seq: seq,
                events,
            };
            journal.append(vec![append]).await?;
            count += 1;
        }
        number += 1;
    }
    Ok(count)
}

async fn rate(journal: &Arc<SledJournal>, tasks: u64) -> Answer<f64> {
    let start = Instant::now();
    let first = |task| (tasks * 1000 + task) << 24;
    let tasks: Vec<_> = (0..tasks)
        .map(|n| tokio::spawn(appender(Arc::clone(journal), first(n), start + TIME)))
        .collect();
    let mut count = 0;
    for task in tasks {
        count += task.await??;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

async fn fill(journal: &SledJournal, from: u64, to: u64) -> Answer<()> {
    for number in 0..(to.saturating_sub(from)) / PER_STREAM {
        let events = (0..PER_STREAM).map(event).collect();
        let append = Append {
            stream: stream(1 << 40 | number),
            expected_seq: 0,
            events,
        };
        journal.append(vec![append]).await?;
    }
    Ok(())
}

async fn read_through(journal: &SledJournal) -> Answer<u64> {
    let mut next = 0;
    loop {
        let page = journal.read_all(next, PAGE).await?;
        match page.last() {
            Some(record) => next = record.offset + 1,
            None => return Ok(next),
        }
    }
}

fn resident() -> Answer<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    Ok(line.unwrap_or("unknown").trim().to_owned())
}

async fn restart(dir: &Path) -> Answer<()> {
    let start = Instant::now();
    let journal = SledJournal::open(dir).await?;
    println!(
        "open              {:>9.0?}   resident {}",
        start.elapsed(),
        resident()?
    );
    let start = Instant::now();
    let events = read_through(&journal).await?;
    println!(
        "read all {events:>8} {:>9.0?}   resident {}",
        start.elapsed(),
        resident()?
    );
    let start = Instant::now();
    let streams = journal.streams().await?.len();
    println!("heads of {streams:>8} {:>9.0?}", start.elapsed());
    Ok(())
}

#[tokio::main]
async fn main() -> Answer<()> {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|arg| arg == RESTART).is_some() {
        return restart(&PathBuf::from(args.next().unwrap_or_default())).await;
    }
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let events = args
        .next()
        .and_then(|n| n.to_str()?.parse().ok())
        .unwrap_or(1_000_000);
    let dir = tempfile::tempdir_in(dir)?;
    println!("raw, growing file {:>9.0}/s", raw(dir.path(), 0)?);
    let raw = raw(dir.path(), ROOM)?;
    println!("raw, in place     {raw:>9.0}/s");
    let path = dir.path().join("journal");
    let journal = Arc::new(SledJournal::open(&path).await?);
    for tasks in [1, 16, 64, 256] {
        let rate = rate(&journal, tasks).await?;
        println!(
            "append, {tasks:>3} tasks {rate:>9.0}/s   {:.2} of raw",
            rate / raw
        );
    }
    let written = read_through(&journal).await?;
    fill(&journal, written, events).await?;
    journal.close().await;
    // In a process of its own, so that its memory is its own.
    Command::new(std::env::current_exe()?)
        .arg(RESTART)
        .arg(path)
        .status()?;
    Ok(())
}
