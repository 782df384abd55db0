//! Sample events, like those of a run of nine steps.

use vsiflow_engine::model::{
    Actor, Event, EventKind, Graph, Name, Node, Outcome, Payload, RunId, StreamId, Text, Timestamp,
    Work,
};

/// The steps of a run, as many as provisioning a VSI has.
pub(crate) const STEPS: [&str; 9] = [
    "resolve_host",
    "ensure_base_image",
    "clone_boot_disk",
    "write_cidata",
    "create_console_log",
    "attach_data_disks",
    "define_domain",
    "start_domain",
    "monitor_console",
];

pub(crate) fn event(kind: EventKind) -> Event {
    Event {
        at: Timestamp(1_800_000_000_000),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    }
}

/// The success of a step; its record has about 300 bytes.
pub(crate) fn succeeded(step: &str, attempt: u32) -> Event {
    event(EventKind::StepSucceeded {
        node: Name::of(step),
        attempt,
        outcome: Outcome::Created,
        output: Payload::Inline(vec![b'x'; 190]),
    })
}

pub(crate) fn run(number: u64) -> RunId {
    RunId(ulid::Ulid::from_parts(number, number.into()))
}

pub(crate) fn stream(number: u64) -> StreamId {
    StreamId::Run(run(number))
}

/// A graph in which each step follows the previous one.
pub(crate) fn graph() -> Graph {
    let mut nodes = Vec::<Node>::new();
    for step in STEPS {
        let after = nodes.last().map(|node| node.name.clone());
        nodes.push(Node {
            name: Name::of(step),
            after: after.into_iter().collect(),
            work: Work::Step {
                step: Name::of(step),
                version: 1,
                params: Payload::Inline(b"null".to_vec()),
            },
            lane: Text::default(),
            interruptible: false,
        });
    }
    Graph {
        workflow: Name::of("provision_vsi"),
        version: 1,
        nodes,
    }
}
