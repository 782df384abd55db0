//! Tests of the index: which states it returns, and which it refuses.

mod damage;
mod failing;
mod figures;
mod kill;
mod sabotage;
mod use_as_found;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use tempfile::TempDir;
use ulid::Ulid;

use super::*;
use crate::{
    journal::{Folded, StreamState},
    model::{
        Desired, EntityId, EntityState, Graph, Hash, Name, Node, NodeState, Outcome, Payload,
        Precedence, RunId, RunPhase, RunState, StreamId, Text, Timestamp, Work,
    },
};

const BOOT: &str = "the machine's first start";

/// A folder for an index, inside a temporary folder.
struct IndexPlace {
    _root: TempDir,
    dir: PathBuf,
}

impl IndexPlace {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("index");
        Self { _root: root, dir }
    }

    fn beside(&self, ending: &str) -> PathBuf {
        marker::beside(&self.dir, ending)
    }

    fn open(&self) -> OpenedIndex {
        self.open_with(facts())
    }

    fn open_with(&self, facts: Facts) -> OpenedIndex {
        open::to_write(&self.dir, facts, WritePermit::always(), pace())
    }

    fn read(&self) -> Result<States, Unusable> {
        self.read_with(&facts())
    }

    fn read_with(&self, facts: &Facts) -> Result<States, Unusable> {
        Index::begin_read(&self.dir, &facts.boot_id).states(&facts.link_before)
    }

    /// Fills the index with a fleet and closes it in order.
    fn fill(&self, count: u64) -> States {
        let states = fleet(count);
        let opened = self.open();
        assert_eq!(opened.states, None);
        opened.index.publish(all(&states));
        states
    }
}

fn pace() -> IndexDeadlines {
    IndexDeadlines {
        gather: Duration::from_millis(1),
        ..PACE
    }
}

/// Facts of a log in which a batch ends before every offset.
fn facts() -> Facts {
    Facts {
        boot_id: BOOT.to_owned(),
        link_before: Box::new(|as_of| Some(link(as_of))),
    }
}

fn link(as_of: Offset) -> Option<BatchLink> {
    let last = as_of.checked_sub(1)?;
    Some(BatchLink::new(Hash([1; 32]), 0, last, []))
}

/// So many entities, and a run for each of them except every tenth.
fn fleet(count: u64) -> States {
    let runs = (0..count).filter(|n| n % 10 != 9);
    let streams = (0..count).map(|n| entity(n, 0)).chain(runs.map(run));
    States {
        as_of: 7 * count,
        link: link(7 * count),
        streams: streams.collect(),
    }
}

fn entity_id(n: u64) -> EntityId {
    EntityId::new(Name::of("vsi"), format!("tenant-{}/server-{n:06}", n % 40)).unwrap()
}

fn run_id(n: u64) -> RunId {
    RunId(Ulid::from_parts(1_700_000_000_000 + n, n.into()))
}

fn entity(n: u64, round: u64) -> StreamState {
    let desired = Desired {
        generation: round + 1,
        workflow: Name::of("provision_vsi"),
        precedence: Precedence::Supersede,
        desired: Payload::Inline(format!("{{\"n\":{n},\"x\":\"{}\"}}", "w".repeat(300)).into()),
    };
    let state = EntityState {
        desired: Some(desired),
        runs: vec![run_id(n); 3],
        intents: ["overlay", "cidata", "define"].map(Name::of).into(),
        state: Some((Name::of("Running"), Text::new(format!("round {round}")))),
        ..EntityState::default()
    };
    StreamState::Entity(entity_id(n), folded(state, n))
}

fn run(n: u64) -> StreamState {
    let names: Vec<Name> = (0..9).map(|at| Name::of(&format!("step-{at}"))).collect();
    let node = |name: &Name| Node {
        name: name.clone(),
        after: names
            .first()
            .filter(|first| *first != name)
            .cloned()
            .into_iter()
            .collect(),
        work: Work::Step {
            step: name.clone(),
            version: 1,
            params: Payload::Inline(format!("{{\"n\":{n},\"p\":\"{}\"}}", "p".repeat(120)).into()),
        },
        lane: Text::new("host-7.example"),
        interruptible: false,
    };
    let done = |name: &Name| {
        let output =
            Payload::Inline(b"{\"uuid\":\"5d2f8b1e-0000-4000-8000-000000000000\"}".to_vec());
        let done = NodeState::Succeeded {
            attempt: 1,
            outcome: Outcome::Created,
            output,
            at: Timestamp(1_700_000_000_000),
        };
        (name.clone(), done)
    };
    let state = RunState {
        phase: RunPhase::Active,
        entity: Some(entity_id(n)),
        generation: 1,
        graph: Some(Arc::new(Graph {
            workflow: Name::of("provision_vsi"),
            version: 3,
            nodes: names.iter().map(node).collect(),
        })),
        nodes: names.iter().map(done).collect(),
        cancel: None,
    };
    StreamState::Run(run_id(n), folded(state, n))
}

fn folded<T>(state: T, n: u64) -> Folded<T> {
    Folded {
        state: Arc::new(state),
        next_seq: 7,
        hash: Hash([2; 32]),
        first: n,
        created: Timestamp(n),
        changed: Timestamp(n + 1),
    }
}

/// An update that makes an empty index hold these states.
fn all(states: &States) -> StatesUpdate {
    StatesUpdate {
        as_of: states.as_of,
        link: states.link,
        changed: states.streams.clone(),
        forgotten: Vec::new(),
    }
}

/// An update of some entities, as of an offset.
fn update(as_of: Offset, entities: impl IntoIterator<Item = u64>) -> StatesUpdate {
    let changed = entities.into_iter().map(|n| entity(n, as_of));
    StatesUpdate {
        as_of,
        link: link(as_of),
        changed: changed.collect(),
        forgotten: Vec::new(),
    }
}

/// The states after an update.
fn after(mut states: States, update: &StatesUpdate) -> States {
    let mut streams: BTreeMap<StreamId, StreamState> = by_stream(&states);
    streams.extend(
        update
            .changed
            .iter()
            .map(|state| (state.stream(), state.clone())),
    );
    streams.retain(|stream, _| !update.forgotten.contains(stream));
    (states.as_of, states.link) = (update.as_of, update.link);
    states.streams = streams.into_values().collect();
    states
}

fn by_stream(states: &States) -> BTreeMap<StreamId, StreamState> {
    let streams = states.streams.iter();
    streams
        .map(|state| (state.stream(), state.clone()))
        .collect()
}

/// The states have no order.
#[track_caller]
fn assert_same(found: &States, written: &States) {
    assert_eq!((found.as_of, found.link), (written.as_of, written.link));
    assert_eq!(found.streams.len(), written.streams.len());
    assert!(
        by_stream(found) == by_stream(written),
        "other states than were written"
    );
}
