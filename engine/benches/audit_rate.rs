//! Measures how long it takes to verify, replay and export a journal on disk.
//!
//! ```sh
//! cargo bench -p vsiflow-engine --bench audit_rate -- [EVENTS]
//! ```
//!
//! Writes runs of nine steps until there are EVENTS events (default 100,000), then measures each
//! operation once.

use std::{error::Error, time::Instant};

use vsiflow_engine::{
    audit::Audit,
    blob::MemoryBlobs,
    journal::{Append, DiskJournal, Journal as _},
    model::{
        Actor, EntityId, Event, EventKind, Graph, Name, Node, Outcome, Payload, Precedence, RunId,
        RunResult, StreamId, Text, Timestamp, Work,
    },
    replay::replay,
};

type Answer<T> = Result<T, Box<dyn Error>>;

const STEPS: usize = 9;

fn name(step: usize) -> Name {
    Name::of(&format!("step_{step}"))
}

fn graph() -> Graph {
    let node = |step: usize| Node {
        name: name(step),
        after: step.checked_sub(1).map(name).into_iter().collect(),
        work: Work::Step {
            step: name(step),
            version: 1,
            params: Payload::default(),
        },
        lane: Text::new("host"),
        interruptible: false,
    };
    Graph {
        workflow: Name::of("provision_vsi"),
        version: 1,
        nodes: (0..STEPS).map(node).collect(),
    }
}

/// The events of each of a run's batches: first the entity's, then the run's.
fn run_of(entity: &EntityId, run: RunId) -> Vec<(Vec<EventKind>, Vec<EventKind>)> {
    let (workflow, generation, result) = (Name::of("provision_vsi"), 1, RunResult::Succeeded);
    let desired = EventKind::Desired {
        generation,
        workflow: workflow.clone(),
        precedence: Precedence::Supersede,
        desired: Payload::Inline(vec![b'1'; 190]),
    };
    let opened = EventKind::RunOpened {
        run,
        workflow,
        generation,
    };
    let begun = EventKind::RunStarted {
        entity: entity.clone(),
        generation,
        graph: graph(),
    };
    let attempt = 1;
    let started = |step| EventKind::StepStarted {
        node: name(step),
        attempt,
    };
    let mut batches = vec![(vec![desired, opened], vec![begun, started(0)])];
    for step in 0..STEPS {
        let done = EventKind::StepSucceeded {
            node: name(step),
            attempt,
            outcome: Outcome::Created,
            output: Payload::Inline(vec![b'1'; 190]),
        };
        batches.push(if step + 1 < STEPS {
            (Vec::new(), vec![done, started(step + 1)])
        } else {
            let result = result.clone();
            let closed = EventKind::RunClosed {
                run,
                result: result.clone(),
            };
            (vec![closed], vec![done, EventKind::RunFinished { result }])
        });
    }
    batches
}

fn append(stream: &StreamId, seq: &mut u64, kinds: Vec<EventKind>) -> Append {
    let event = |kind| Event {
        at: Timestamp(1_750_000_000_000),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    };
    let append = Append {
        stream: stream.clone(),
        expected_seq: *seq,
        events: kinds.into_iter().map(event).collect(),
    };
    *seq += append.events.len() as u64;
    append
}

async fn write_run(journal: &DiskJournal, number: u64) -> Answer<u64> {
    let id = EntityId::new(Name::of("vsi"), format!("{number}"))?;
    let run: RunId = format!("01JXT{number:021}").parse()?;
    let (entity, of_run) = (StreamId::Entity(id.clone()), StreamId::Run(run));
    let (mut seq, mut run_seq) = (0, 0);
    for (of_entity, of_the_run) in run_of(&id, run) {
        let first = append(&entity, &mut seq, of_entity);
        let second = append(&of_run, &mut run_seq, of_the_run);
        journal.append(vec![first, second]).await?;
    }
    Ok(seq + run_seq)
}

#[tokio::main]
async fn main() -> Answer<()> {
    // Cargo adds `--bench`.
    let events: u64 = std::env::args()
        .skip(1)
        .find(|word| word != "--bench")
        .map_or(Ok(100_000), |n| n.parse())?;
    let dir = tempfile::tempdir()?;
    let journal = DiskJournal::open(dir.path(), "bench").await?;
    let (mut written, mut number) = (0, 0);
    while written < events {
        written += write_run(&journal, number).await?;
        number += 1;
    }
    journal.close().await;
    let (reader, blobs) = (
        DiskJournal::open_to_read(dir.path(), "bench").await?,
        MemoryBlobs::new(),
    );
    let audit = Audit {
        journal: &reader,
        blobs: &blobs,
        journal_id: "rate",
    };
    let begin = Instant::now();
    let report = audit.verify(None, None).await?;
    println!(
        "verify  {} events  {:?}  sound: {}",
        report.records,
        begin.elapsed(),
        report.is_sound()
    );
    let replay_began = Instant::now();
    let replayed = replay(&reader, true).await?;
    println!(
        "replay  {} events  {:?}",
        replayed.events,
        replay_began.elapsed()
    );
    let export_began = Instant::now();
    let exported = audit.export(&mut tokio::io::sink(), Timestamp(0)).await?;
    println!(
        "export  {} events  {:?}",
        exported.events,
        export_began.elapsed()
    );
    reader.close().await;
    Ok(())
}
