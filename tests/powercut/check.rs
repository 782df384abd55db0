//! Checks what must hold for every image that a power cut leaves.

use std::{collections::BTreeMap, path::Path, time::Duration};

use vsiflow_engine::{
    checkpoint::Checkpoints as _,
    journal::{Append, BatchLink, ChainedJournal as _, DiskJournal, Journal as _, Stored},
    model::{Actor, Event, EventKind, Hash, StreamId, Text, Timestamp},
    state_dir::{StateDir, StateDirError},
};

use crate::{trace::Ack, writer};

/// A check that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Opens the state directory `dir`, compares its journal with the acknowledged events, writes to it and
/// closes it. If `thorough`, it does so a second time.
pub(crate) fn check(dir: &Path, acks: &[&Ack], thorough: bool) -> Result<(), String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let checked = runtime.block_on(async {
        let twice = async {
            // The power was cut before the folder was made.
            if acks.is_empty() && !dir.exists() {
                return Ok(());
            }
            let next = look(dir, acks, thorough).await?;
            if !thorough {
                return Ok(());
            }
            let next_after = look(dir, acks, true).await?;
            if next_after == next + 1 {
                Ok(())
            } else {
                Err("what was written last is gone".to_owned())
            }
        };
        tokio::time::timeout(PATIENCE, twice)
            .await
            .unwrap_or_else(|_| Err("it hangs".to_owned()))
    });
    runtime.shutdown_background();
    checked
}

/// Opens, checks and closes the state directory once, and adds an event. Returns the number of events before.
async fn look(dir: &Path, acks: &[&Ack], thorough: bool) -> Result<u64, String> {
    let unopened = |e: StateDirError| format!("it cannot be opened: {e}");
    let state = StateDir::open(dir).map_err(unopened)?;
    let journal = state.journal().await.map_err(unopened)?;
    positions(&state).await?;
    let all = journal
        .read_stored(0, usize::MAX)
        .await
        .map_err(|e| e.to_string())?;
    acknowledged(&all, acks)?;
    let heads = streams(&all)?;
    if thorough {
        indexes(&journal, heads).await?;
    }
    batches(&journal, &all).await?;
    append_one(&journal).await?;
    journal.close().await;
    Ok(all.len() as u64)
}

/// Checks that every stored position is whole.
async fn positions(state: &StateDir) -> Result<(), String> {
    let opened = state.checkpoints().await;
    let checkpoints = opened.map_err(|e| format!("its checkpoints cannot be opened: {e}"))?;
    for task in writer::tasks() {
        let (run, node) = writer::position_of(task);
        let kept = checkpoints.get(run, &node).await;
        let kept = kept.map_err(|e| format!("a position: {e}"))?;
        let whole = |position: &Vec<u8>| {
            position.len() == writer::POSITION
                && position.iter().all(|byte| Some(byte) == position.first())
        };
        if kept.is_some_and(|kept| !whole(&kept)) {
            return Err(format!("half a position of task {task}"));
        }
    }
    checkpoints.close().await;
    Ok(())
}

fn acknowledged(all: &[Stored], acks: &[&Ack]) -> Result<(), String> {
    for ack in acks {
        let found = all
            .get(usize::try_from(ack.offset).unwrap())
            .map(|stored| stored.hash.to_string());
        if found.as_deref() != Some(&ack.hash) {
            let newest = acks
                .iter()
                .map(|known| known.offset)
                .max()
                .unwrap_or_default();
            return Err(format!(
                "event {} was acknowledged and is {}; {} events are there, {newest} is the newest acknowledged",
                ack.offset,
                if found.is_some() { "another" } else { "gone" },
                all.len(),
            ));
        }
    }
    Ok(())
}

type ChainHeads = BTreeMap<StreamId, (u64, Hash)>;

fn streams(all: &[Stored]) -> Result<ChainHeads, String> {
    let mut heads = ChainHeads::new();
    for stored in all {
        let head = heads.entry(stored.stream.clone()).or_default();
        if (stored.seq, stored.prev) != *head {
            return Err(format!("{} #{} does not follow", stored.stream, stored.seq));
        }
        *head = (stored.seq + 1, stored.hash);
    }
    for [run, entity] in writer::pairs() {
        if heads.get(&run).map(|h| h.0) != heads.get(&entity).map(|h| h.0) {
            return Err(format!("half a batch: {run}"));
        }
    }
    Ok(heads)
}

async fn indexes(journal: &DiskJournal, heads: ChainHeads) -> Result<(), String> {
    for (stream, (next, hash)) in heads {
        let read = journal
            .read(&stream, 0, usize::MAX)
            .await
            .map_err(|e| e.to_string())?;
        if read.len() as u64 != next || read.last().map(|record| record.hash) != Some(hash) {
            return Err(format!("the index of {stream} does not fit its records"));
        }
    }
    Ok(())
}

async fn batches(journal: &DiskJournal, all: &[Stored]) -> Result<(), String> {
    let links = journal
        .read_links(0, usize::MAX)
        .await
        .map_err(|e| e.to_string())?;
    let (mut prev, mut next) = (Hash::default(), 0);
    for link in &links {
        let records = all.iter().skip(usize::try_from(link.first).unwrap());
        let records = records.take_while(|stored| stored.offset <= link.last);
        let expected = BatchLink::new(prev, next, link.last, records.map(|stored| &stored.hash));
        if *link != expected {
            return Err(format!("the chain of batches breaks at offset {next}"));
        }
        (prev, next) = (link.hash, link.last + 1);
    }
    if next == all.len() as u64 {
        Ok(())
    } else {
        Err("events stand outside the chain".to_owned())
    }
}

async fn append_one(journal: &DiskJournal) -> Result<(), String> {
    let stream: StreamId = "run/00000000000000000000000ZZZ"
        .parse()
        .map_err(|e| format!("{e}"))?;
    let next = journal
        .read(&stream, 0, usize::MAX)
        .await
        .map_err(|e| e.to_string())?
        .len() as u64;
    let event = Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::Paused,
    };
    let append = Append {
        stream,
        expected_seq: next,
        events: vec![event],
    };
    journal
        .append(vec![append])
        .await
        .map(drop)
        .map_err(|e| e.to_string())
}
