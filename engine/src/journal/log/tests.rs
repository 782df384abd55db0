//! Tests of the log on a disk that loses power, fails, fills up or changes bytes.

mod cuts;
mod damage;
mod faults;
mod forged;
mod mending;
mod pages;
mod sabotage;

use std::sync::Arc;

use super::{disk::LogDisk, sim::SimDisk};
use crate::{
    journal::{Append, DiskJournal, Journal as _, JournalError, Record, log::OpenMode},
    model::{Actor, Event, EventKind, Name, Outcome, Payload, RunId, StreamId, Text, Timestamp},
    permit::WritePermit,
};

pub(super) const ID: &str = "01JXAMPLE0000000000000000";

/// Wraps the simulated disk into the disk that the log uses.
pub(super) type Wrap = fn(&SimDisk) -> Arc<dyn LogDisk>;

pub(super) fn plain(disk: &SimDisk) -> Arc<dyn LogDisk> {
    Arc::new(disk.clone())
}

pub(super) fn open(disk: &SimDisk, mode: OpenMode) -> Result<DiskJournal, JournalError> {
    open_as(disk, mode, plain)
}

pub(super) fn open_as(
    disk: &SimDisk,
    mode: OpenMode,
    wrap: Wrap,
) -> Result<DiskJournal, JournalError> {
    DiskJournal::start(wrap(disk), ID, mode, WritePermit::always())
}

pub(super) fn stream(number: u64) -> StreamId {
    StreamId::Run(RunId(ulid::Ulid::from_parts(number, 1)))
}

pub(super) fn event(len: usize) -> Event {
    let (node, outcome) = (Name::of("n"), Outcome::Created);
    let output = Payload::Inline(
        (0..len)
            .map(|n| u8::try_from(n * 31 % 251).unwrap())
            .collect(),
    );
    Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::StepSucceeded {
            node,
            attempt: 1,
            outcome,
            output,
        },
    }
}

pub(super) fn append(number: u64, expected_seq: u64, events: &[usize]) -> Append {
    Append {
        stream: stream(number),
        expected_seq,
        events: events.iter().map(|len| event(*len)).collect(),
    }
}

pub(super) async fn all(journal: &DiskJournal) -> Vec<Record> {
    journal.read_all(0, usize::MAX).await.unwrap()
}

pub(super) fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}
