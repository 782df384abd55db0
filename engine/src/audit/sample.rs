//! A small history with every kind of event, for tests.

use std::collections::HashMap;

use ulid::Ulid;

use crate::{
    blob::Blobs,
    journal::{Append, ChainedJournal, MemoryJournal},
    model::{
        Actor, CancelMode, EntityId, Event, EventKind, Failure, FailureClass, Graph, Hash, Name,
        Node, Outcome, Payload, Precedence, RunId, RunResult, StreamId, Text, Timestamp, Wait,
        WarrantId, Who, Work,
    },
};

/// A batch: events with their streams, in the order in which they are written.
pub(crate) type Batch = Vec<(StreamId, EventKind)>;

/// The first moment of the sample.
const BEGIN: u64 = 1_750_000_000_000;

pub(crate) fn vsi() -> EntityId {
    EntityId::new(Name::of("vsi"), "7b5c8d6e-1f2a-4b3c-8d4e-5f6a7b8c9d0e").unwrap()
}

fn image() -> EntityId {
    EntityId::new(Name::of("image"), "host/pool/guest.qcow2").unwrap()
}

pub(crate) fn run(number: u128) -> RunId {
    RunId(Ulid::from_parts(BEGIN, number))
}

fn name(name: &str) -> Name {
    Name::of(name)
}

fn inline(text: &str) -> Payload {
    Payload::Inline(text.as_bytes().to_vec())
}

fn step(node: &str, after: &[&str], params: Payload) -> Node {
    Node {
        name: name(node),
        after: after.iter().map(|dependency| name(dependency)).collect(),
        work: Work::Step {
            step: name(node),
            version: 1,
            params,
        },
        lane: Text::new("host"),
        interruptible: node == "monitor_console",
    }
}

fn graph(workflow: &str, nodes: Vec<Node>) -> Graph {
    Graph {
        workflow: name(workflow),
        version: 1,
        nodes,
    }
}

fn started(node: &str, attempt: u32) -> EventKind {
    let node = name(node);
    EventKind::StepStarted { node, attempt }
}

fn succeeded(node: &str, attempt: u32, outcome: Outcome, output: Payload) -> EventKind {
    let node = name(node);
    EventKind::StepSucceeded {
        node,
        attempt,
        outcome,
        output,
    }
}

fn desired(generation: u64, workflow: &str, precedence: Precedence, desired: Payload) -> EventKind {
    EventKind::Desired {
        generation,
        workflow: name(workflow),
        precedence,
        desired,
    }
}

fn opened(number: u128, workflow: &str, generation: u64) -> EventKind {
    EventKind::RunOpened {
        run: run(number),
        workflow: name(workflow),
        generation,
    }
}

fn begun(entity: EntityId, generation: u64, graph: Graph) -> EventKind {
    EventKind::RunStarted {
        entity,
        generation,
        graph,
    }
}

fn wait(delay_ms: u64) -> Wait {
    Wait {
        delay_ms,
        due: Timestamp(BEGIN + delay_ms),
    }
}

fn failure(class: FailureClass, code: &str, message: &str) -> Failure {
    Failure::new(class, code, message)
        .on_host("host")
        .of_object("guest.qcow2")
        .with_remedy("see docs/errors.md")
}

fn provisioning(long: &Payload) -> Graph {
    let wants_image = Node {
        name: name("ensure_base_image"),
        after: vec![name("resolve_host")],
        work: Work::Entity {
            entity: image(),
            workflow: name("ensure_base_image"),
            desired: inline("{\"url\":\"file:///guest.qcow2\"}"),
        },
        lane: Text::default(),
        interruptible: true,
    };
    let nodes = vec![
        step("resolve_host", &[], inline("{\"host\":\"host\"}")),
        wants_image,
        step("define_domain", &["resolve_host"], long.clone()),
        step(
            "monitor_console",
            &["ensure_base_image", "define_domain"],
            inline("{\"deadline\":1.5}"),
        ),
    ];
    graph("provision_vsi", nodes)
}

/// The batches of the history. Payloads too long for an event are stored in `blobs`.
pub(crate) async fn batches(blobs: &dyn Blobs) -> Vec<Batch> {
    let long = blobs.put(&[b'x'; 5_000]).await.unwrap();
    let lines = blobs
        .put_blob(b"{\"lines\":[\"HPL10001I\"]}")
        .await
        .unwrap();
    let mut batches = provision(&long, &lines);
    batches.extend(fail_and_retry());
    batches.extend(delete());
    batches
}

fn provision(long: &Payload, other: &Payload) -> Vec<Batch> {
    let (v, i) = (StreamId::Entity(vsi()), StreamId::Entity(image()));
    let (r, ri) = (StreamId::Run(run(1)), StreamId::Run(run(2)));
    let upload = graph(
        "ensure_base_image",
        vec![step("upload", &[], inline("\u{7}no json"))],
    );
    let node = name("upload");
    let away = EventKind::StepFailed {
        node: node.clone(),
        attempt: 1,
        failure: failure(FailureClass::Transient, "VSI0101", "unreachable"),
        retry: Some(wait(900)),
    };
    let full = EventKind::StepBlocked {
        node: name("define_domain"),
        attempt: 1,
        failure: failure(FailureClass::Recheck, "VSI0203", "no room"),
        recheck: Some(wait(300_000)),
    };
    let result = RunResult::Succeeded;
    let uploaded = EventKind::RunClosed {
        run: run(2),
        result: result.clone(),
    };
    let intent = EventKind::Intent {
        step: name("define_domain"),
    };
    let state = EventKind::StateChanged {
        state: name("Booting"),
        detail: Text::new("started at 12:00"),
    };
    let signal = EventKind::Signal {
        signal: name("retry"),
    };
    let interrupted = EventKind::StepInterrupted {
        node: name("define_domain"),
        attempt: 2,
    };
    let json = inline("{\"a\":[1,2.5,{\"b\":null}]}");
    vec![
        vec![
            (
                v.clone(),
                desired(1, "provision_vsi", Precedence::Supersede, long.clone()),
            ),
            (v.clone(), opened(1, "provision_vsi", 1)),
            (r.clone(), begun(vsi(), 1, provisioning(long))),
            (r.clone(), started("resolve_host", 1)),
        ],
        vec![
            (
                r.clone(),
                succeeded("resolve_host", 1, Outcome::AlreadyPresent, json),
            ),
            (r.clone(), started("ensure_base_image", 1)),
            (r.clone(), started("define_domain", 1)),
            (
                i.clone(),
                desired(1, "ensure_base_image", Precedence::Queue, inline("{}")),
            ),
            (i.clone(), opened(2, "ensure_base_image", 1)),
            (ri.clone(), begun(image(), 1, upload)),
            (ri.clone(), started("upload", 1)),
        ],
        vec![(v.clone(), intent)],
        vec![(ri.clone(), away)],
        vec![(r.clone(), full)],
        vec![
            (ri.clone(), EventKind::TimerDue { node }),
            (ri.clone(), started("upload", 4)),
            (
                ri.clone(),
                succeeded("upload", 4, Outcome::Created, other.clone()),
            ),
            (ri, EventKind::RunFinished { result }),
            (i, uploaded),
            (
                r.clone(),
                succeeded(
                    "ensure_base_image",
                    1,
                    Outcome::AlreadyPresent,
                    other.clone(),
                ),
            ),
        ],
        vec![
            (r.clone(), signal),
            (r.clone(), started("define_domain", 2)),
        ],
        vec![
            (r.clone(), interrupted),
            (r.clone(), started("define_domain", 3)),
        ],
        vec![
            (
                r.clone(),
                succeeded(
                    "define_domain",
                    3,
                    Outcome::Updated,
                    Payload::Inline(vec![255]),
                ),
            ),
            (r.clone(), started("monitor_console", 1)),
            (v, state),
        ],
        vec![(r.clone(), EventKind::Paused)],
        vec![(r, EventKind::Resumed)],
    ]
}

fn fail_and_retry() -> Vec<Batch> {
    let (v, r) = (StreamId::Entity(vsi()), StreamId::Run(run(1)));
    let r3 = StreamId::Run(run(3));
    let failure = failure(FailureClass::Failed, "VSI0501", "HPL10002E");
    let result = RunResult::Failed(failure.clone());
    let failed = EventKind::StepFailed {
        node: name("monitor_console"),
        attempt: 1,
        failure,
        retry: None,
    };
    let closed = EventKind::RunClosed {
        run: run(1),
        result: result.clone(),
    };
    let nodes = vec![
        step("resolve_host", &[], inline("null")),
        step("define_domain", &["resolve_host"], inline("{}")),
    ];
    vec![
        vec![
            (r.clone(), failed),
            (r, EventKind::RunFinished { result }),
            (v.clone(), closed),
            (v.clone(), EventKind::RetryScheduled { wait: wait(10_000) }),
        ],
        vec![
            (v.clone(), EventKind::RetryRequested),
            (v, opened(3, "provision_vsi", 1)),
            (r3.clone(), begun(vsi(), 1, graph("provision_vsi", nodes))),
            (r3, started("resolve_host", 1)),
        ],
    ]
}

fn delete() -> Vec<Batch> {
    let v = StreamId::Entity(vsi());
    let (r3, r4) = (StreamId::Run(run(3)), StreamId::Run(run(4)));
    let nodes = vec![
        step("stop_domain", &[], inline("{}")),
        step("undefine_domain", &["stop_domain"], inline("{}")),
    ];
    let cancel = |mode| EventKind::CancelRequested { mode };
    let skipped = |node| EventKind::StepSkipped { node: name(node) };
    let interrupted = EventKind::StepInterrupted {
        node: name("resolve_host"),
        attempt: 1,
    };
    let ended = |number, result: RunResult| {
        let closed = EventKind::RunClosed {
            run: run(number),
            result: result.clone(),
        };
        (EventKind::RunFinished { result }, closed)
    };
    let (superseded, closed) = ended(3, RunResult::Superseded);
    let (cancelled, closed_too) = ended(4, RunResult::Cancelled);
    let erased = EventKind::SecretErased {
        secret: name("01JXT0000000000000000000AB"),
    };
    vec![
        vec![
            (
                v.clone(),
                desired(2, "delete_vsi", Precedence::Supreme, inline("{}")),
            ),
            (r3.clone(), cancel(CancelMode::Superseded)),
        ],
        vec![
            (r3.clone(), interrupted),
            (r3.clone(), skipped("resolve_host")),
            (r3.clone(), skipped("define_domain")),
            (r3, superseded),
            (v.clone(), closed),
            (v.clone(), opened(4, "delete_vsi", 2)),
            (r4.clone(), begun(vsi(), 2, graph("delete_vsi", nodes))),
            (r4.clone(), started("stop_domain", 1)),
        ],
        vec![(r4.clone(), cancel(CancelMode::User))],
        vec![
            (
                r4.clone(),
                succeeded("stop_domain", 1, Outcome::Updated, inline("null")),
            ),
            (r4.clone(), skipped("undefine_domain")),
            (r4, cancelled),
            (v.clone(), closed_too),
        ],
        vec![(v, erased)],
    ]
}

fn actor(kind: &EventKind) -> Actor {
    match kind {
        EventKind::Desired { .. } => Actor::Unix {
            uid: 1000,
            name: Who::new("operator"),
        },
        EventKind::Signal { .. } => Actor::Kubernetes(Who::new("system:serviceaccount:vsiflow")),
        _ => Actor::Engine,
    }
}

/// Appends the batches, one second apart.
pub(crate) async fn write(journal: &dyn ChainedJournal, batches: Vec<Batch>) {
    let mut seqs: HashMap<StreamId, u64> = HashMap::new();
    for (number, batch) in batches.into_iter().enumerate() {
        let mut appends = Vec::new();
        for (stream, kind) in batch {
            let seq = seqs.entry(stream.clone()).or_default();
            let event = Event {
                at: Timestamp(BEGIN + 1_000 * number as u64),
                actor: actor(&kind),
                reason: Text::new(if number == 0 { "first \"light\"" } else { "" }),
                kind,
            };
            appends.push(Append {
                stream,
                expected_seq: *seq,
                events: vec![event],
            });
            *seq += 1;
        }
        journal.append(appends).await.unwrap();
    }
}

/// Appends one more batch: events of the journal's own stream.
pub(crate) async fn write_own(journal: &dyn ChainedJournal) {
    let signature = Text::new("key=ed25519:AAAA signature=AAAA");
    let kinds = vec![
        EventKind::ClockJumped { by_ms: -3_600_000 },
        EventKind::BaseWritten {
            as_of: 53,
            hash: Hash::of(b"a base"),
            signature,
        },
        EventKind::RangeLost { from: 7, to: 9 },
    ];
    let events = kinds.into_iter().map(|kind| Event {
        at: Timestamp(BEGIN + 60_000),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    });
    let append = Append {
        stream: StreamId::Journal,
        expected_seq: 0,
        events: events.collect(),
    };
    journal.append(vec![append]).await.unwrap();
}

/// Appends one more batch: a note about the VSI that does not change it.
pub(crate) async fn write_noted(journal: &dyn ChainedJournal) {
    let stream = StreamId::Entity(vsi());
    let records = journal.read(&stream, 0, usize::MAX).await.unwrap();
    let noted = Event {
        at: Timestamp(BEGIN + 61_000),
        actor: Actor::Unix {
            uid: 1000,
            name: Who::new("operator"),
        },
        reason: Text::default(),
        kind: EventKind::Noted {
            what: name("console_opened"),
            detail: Text::new("by force"),
        },
    };
    let append = Append {
        expected_seq: records.len() as u64,
        stream,
        events: vec![noted],
    };
    journal.append(vec![append]).await.unwrap();
}

/// Appends one more batch: a volume of the VSI, and the orders to destroy it. A run spends one of them.
pub(crate) async fn write_objects(journal: &dyn ChainedJournal) {
    let (v, r5) = (StreamId::Entity(vsi()), StreamId::Run(run(5)));
    let object = || Text::new("images/boot-1.qcow2");
    let warrant = |number: u128| WarrantId(ulid::Ulid::from_parts(BEGIN, number));
    let ordered = |number| EventKind::Warranted {
        warrant: warrant(number),
        object: object(),
        act: name("rebuild"),
        shown: Text::new("boot disk images/boot-1.qcow2: it is rebuilt because of bootDisk"),
    };
    let spent = EventKind::WarrantSpent {
        warrant: warrant(2),
        run: run(5),
        node: name("delete_volumes"),
    };
    let object_made = EventKind::ObjectMade {
        object: object(),
        identity: Text::new("0802:131074"),
    };
    let nodes = vec![step("delete_volumes", &[], inline("{}"))];
    let result = RunResult::Succeeded;
    let closed = EventKind::RunClosed {
        run: run(5),
        result: result.clone(),
    };
    let batch = vec![
        (v.clone(), EventKind::ObjectBegun { object: object() }),
        (v.clone(), object_made),
        (v.clone(), EventKind::ObjectInUse { object: object() }),
        (v.clone(), ordered(1)),
        (
            v.clone(),
            EventKind::WarrantVoided {
                warrant: warrant(1),
            },
        ),
        (
            v.clone(),
            desired(3, "update_vsi", Precedence::Supersede, inline("{}")),
        ),
        (v.clone(), ordered(2)),
        (v.clone(), opened(5, "update_vsi", 3)),
        (r5.clone(), begun(vsi(), 3, graph("update_vsi", nodes))),
        (r5.clone(), started("delete_volumes", 1)),
        (v.clone(), spent),
        (v.clone(), EventKind::ObjectGone { object: object() }),
        (
            r5.clone(),
            succeeded("delete_volumes", 1, Outcome::Updated, inline("null")),
        ),
        (r5, EventKind::RunFinished { result }),
        (v, closed),
    ];
    append_to(journal, batch).await;
}

/// Appends a batch to streams that have events already.
async fn append_to(journal: &dyn ChainedJournal, batch: Batch) {
    let mut appends: Vec<Append> = Vec::new();
    for (stream, kind) in batch {
        let event = Event {
            at: Timestamp(BEGIN + 62_000),
            actor: actor(&kind),
            reason: Text::default(),
            kind,
        };
        if let Some(append) = appends.iter_mut().find(|append| append.stream == stream) {
            append.events.push(event);
            continue;
        }
        let records = journal.read(&stream, 0, usize::MAX).await.unwrap();
        appends.push(Append {
            expected_seq: records.len() as u64,
            stream,
            events: vec![event],
        });
    }
    journal.append(appends).await.unwrap();
}

/// The whole history in memory.
pub(crate) async fn journal(blobs: &dyn Blobs) -> MemoryJournal {
    let journal = MemoryJournal::new();
    write(&journal, batches(blobs).await).await;
    journal
}
