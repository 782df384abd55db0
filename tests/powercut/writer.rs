//! The process that is recorded: it writes to a journal and prints the acknowledged events.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use vsiflow_engine::{
    checkpoint::{Checkpoints as _, FileCheckpoints},
    journal::{Append, DiskJournal, Journal as _, Record},
    model::{
        Actor, EntityId, Event, EventKind, Name, Outcome, Payload, RunId, StreamId, Text, Timestamp,
    },
    state_dir::StateDir,
};

/// The environment variable with the folder to write to.
pub(crate) const DIR: &str = "VSIFLOW_TEST_POWERCUT_DIR";
/// The environment variable with the seed of all random choices.
pub(crate) const SEED: &str = "VSIFLOW_TEST_POWERCUT_WRITES";

const TASKS: u64 = 24;
const APPENDS: u64 = 240;
const PAIRS: u64 = 10;

/// The state directory in the recorded folder.
pub(crate) fn state_of(dir: &Path) -> PathBuf {
    dir.join("state")
}

/// After this many appends a task stores a checkpoint.
const CHECKPOINT_EVERY: u64 = 8;
/// The length of a position in bytes, which are all the same.
pub(crate) const POSITION: usize = 64;

/// The run and the step of a task's checkpoint.
pub(crate) fn position_of(task: u64) -> (RunId, Name) {
    (RunId(ulid::Ulid::from_parts(task, 2)), Name::of("n"))
}

/// The numbers of all tasks that may run.
pub(crate) fn tasks() -> impl Iterator<Item = u64> {
    0..TASKS
}

/// The stores that the tasks write to.
struct WriterStores {
    journal: DiskJournal,
    checkpoints: FileCheckpoints,
}

/// The stream of a run and the stream of its entity, which are always written together.
pub(crate) fn pair(number: u64) -> [StreamId; 2] {
    let entity = EntityId::new(
        Name::of("vsi"),
        format!("{:x}", number.wrapping_mul(0x9E37_79B9)),
    );
    [
        StreamId::Run(RunId(ulid::Ulid::from_parts(number, 1))),
        StreamId::Entity(entity.unwrap()),
    ]
}

/// All pairs that tasks may write to.
pub(crate) fn pairs() -> impl Iterator<Item = [StreamId; 2]> {
    (0..TASKS * PAIRS).map(pair)
}

fn event(rng: &mut StdRng) -> Event {
    let long = if rng.random_ratio(1, 12) { 3_500 } else { 300 };
    let output = Payload::Inline(
        (0..rng.random_range(0..long))
            .map(|_| rng.random())
            .collect(),
    );
    let (node, outcome) = (Name::of("n"), Outcome::Created);
    let kind = EventKind::StepSucceeded {
        node,
        attempt: 1,
        outcome,
        output,
    };
    Event {
        at: Timestamp(rng.random()),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    }
}

/// Prints an acknowledged batch with one write call, so that it has one place among the traced calls.
pub(crate) fn acknowledge(records: &[Record]) {
    let lines: String = records
        .iter()
        .map(|record| format!("\nack {} {}\n", record.offset, record.hash))
        .collect();
    std::io::stdout().write_all(lines.as_bytes()).unwrap();
}

async fn append_for_a_while(stores: Arc<WriterStores>, task: u64, appends: u64, seed: u64) {
    let (journal, (run, node)) = (&stores.journal, position_of(task));
    let mut rng = StdRng::seed_from_u64(seed ^ task);
    for number in 0..appends {
        if number % CHECKPOINT_EVERY == CHECKPOINT_EVERY - 1 {
            let position = vec![rng.random(); POSITION];
            let kept = stores.checkpoints.put(run, &node, position).await;
            kept.unwrap();
        }
        let streams = pair(task * PAIRS + rng.random_range(0..PAIRS));
        let next = journal
            .read(&streams[0], 0, usize::MAX)
            .await
            .unwrap()
            .len() as u64;
        let events: Vec<_> = (0..rng.random_range(1..6))
            .map(|_| event(&mut rng))
            .collect();
        let append = |stream| Append {
            stream,
            expected_seq: next,
            events: events.clone(),
        };
        acknowledge(&journal.append(streams.map(append).into()).await.unwrap());
    }
}

/// Opens the state directory twice and writes to it with one, six or [`TASKS`] tasks. The first time it
/// closes the journal. The second time it exits without that, as a killed process does.
pub(crate) fn write(dir: &Path, seed: u64) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for life in 0..2_u64 {
        let state = StateDir::open(state_of(dir)).unwrap();
        let stores = Arc::new(WriterStores {
            journal: runtime.block_on(state.journal()).unwrap(),
            checkpoints: runtime.block_on(state.checkpoints()).unwrap(),
        });
        let count = [1, 6, TASKS][usize::try_from(seed % 3).unwrap()];
        let tasks = (0..count).map(|task| {
            let seed = seed.wrapping_add(life << 32);
            runtime.spawn(append_for_a_while(
                Arc::clone(&stores),
                task,
                APPENDS / count,
                seed,
            ))
        });
        let tasks: Vec<_> = tasks.collect();
        for task in tasks {
            runtime.block_on(task).unwrap();
        }
        if life == 1 {
            std::process::exit(0);
        }
        runtime.block_on(stores.journal.close());
        runtime.block_on(stores.checkpoints.close());
    }
}
