//! Proptest strategies for events and states of every kind, up to the limits of their fields.

use std::sync::Arc;

use proptest::{collection::vec, option, prelude::*, sample::select};
use ulid::Ulid;

use crate::{
    journal::{Folded, StreamState},
    model::{
        ActiveRun, Actor, CancelMode, Desired, EntityId, EntityState, Event, EventKind, Failure,
        FailureClass, Graph, Hash, INLINE_MAX, LastRun, Name, Node, NodeState, ObjectInUse,
        Objects, Outcome, Payload, Precedence, RunId, RunPhase, RunResult, RunState, Spender,
        StreamId, Text, Timestamp, Wait, Warrant, WarrantId, Who, Work,
    },
};

/// Any number, and often the largest, which has the longest encoding.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), Just(u64::MAX), 0..9u64]
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), Just(u32::MAX), 0..9u32]
}

/// A length from `min` to `max`, and often one of the two.
fn length(min: usize, max: usize) -> impl Strategy<Value = usize> {
    prop_oneof![min..=max, Just(max), Just(min)]
}

fn text() -> BoxedStrategy<Text> {
    prop_oneof![
        length(0, 2 * Text::MAX).prop_map(|len| Text::new("x".repeat(len))),
        length(0, Text::MAX).prop_map(|len| Text::new("ü€".repeat(len))),
        any::<String>().prop_map(Text::new),
    ]
    .boxed()
}

fn who() -> impl Strategy<Value = Who> {
    length(0, 2 * Who::MAX).prop_map(|len| Who::new("x".repeat(len)))
}

fn name() -> BoxedStrategy<Name> {
    length(1, Name::MAX)
        .prop_flat_map(|len| vec(select(b"abcZ09_.-".to_vec()), len))
        .prop_map(|bytes| Name::new(String::from_utf8_lossy(&bytes)).unwrap())
        .boxed()
}

fn payload() -> BoxedStrategy<Payload> {
    prop_oneof![
        length(0, INLINE_MAX).prop_map(|len| Payload::Inline(vec![0xff; len])),
        blob(),
    ]
    .boxed()
}

fn blob() -> impl Strategy<Value = Payload> {
    (any::<[u8; 32]>(), number()).prop_map(|(hash, len)| Payload::Blob {
        hash: Hash(hash),
        len,
    })
}

pub(crate) fn entity() -> BoxedStrategy<EntityId> {
    (name(), length(1, EntityId::MAX))
        .prop_map(|(kind, len)| EntityId::new(kind, "/".repeat(len)).unwrap())
        .boxed()
}

fn run() -> impl Strategy<Value = RunId> {
    any::<u128>().prop_map(|bits| RunId(Ulid::from_bytes(bits.to_be_bytes())))
}

pub(crate) fn stream() -> impl Strategy<Value = StreamId> {
    prop_oneof![
        entity().prop_map(StreamId::Entity),
        run().prop_map(StreamId::Run),
        Just(StreamId::Journal),
    ]
}

fn actor() -> BoxedStrategy<Actor> {
    prop_oneof![
        Just(Actor::Engine),
        (small(), who()).prop_map(|(uid, name)| Actor::Unix { uid, name }),
        who().prop_map(Actor::Kubernetes),
        who().prop_map(Actor::Token),
    ]
    .boxed()
}

fn precedence() -> impl Strategy<Value = Precedence> {
    use Precedence::{Queue, Record, Supersede, Supreme};
    select(vec![Queue, Supersede, Supreme, Record])
}

fn outcome() -> impl Strategy<Value = Outcome> {
    select(vec![
        Outcome::AlreadyPresent,
        Outcome::Created,
        Outcome::Updated,
    ])
}

fn mode() -> impl Strategy<Value = CancelMode> {
    select(vec![
        CancelMode::User,
        CancelMode::Superseded,
        CancelMode::Unwanted,
    ])
}

fn class() -> impl Strategy<Value = FailureClass> {
    use FailureClass::{Blocked, Failed, Recheck, Transient};
    select(vec![Transient, Recheck, Blocked, Failed])
}

fn failure() -> BoxedStrategy<Failure> {
    (class(), name(), text(), text(), text(), text())
        .prop_map(|(class, code, message, host, object, remedy)| Failure {
            class,
            code,
            message,
            host,
            object,
            remedy,
        })
        .boxed()
}

fn result() -> BoxedStrategy<RunResult> {
    prop_oneof![
        Just(RunResult::Succeeded),
        failure().prop_map(RunResult::Failed),
        Just(RunResult::Cancelled),
        Just(RunResult::Superseded),
    ]
    .boxed()
}

fn wait() -> impl Strategy<Value = Option<Wait>> {
    option::of(a_wait())
}

fn a_wait() -> impl Strategy<Value = Wait> {
    (number(), number()).prop_map(|(delay_ms, due)| Wait {
        delay_ms,
        due: Timestamp(due),
    })
}

fn work() -> BoxedStrategy<Work> {
    let params = || prop_oneof![blob(), vec(any::<u8>(), 0..600).prop_map(Payload::Inline)];
    prop_oneof![
        (name(), any::<u16>(), params()).prop_map(|(step, version, params)| Work::Step {
            step,
            version,
            params
        }),
        (entity(), name(), params()).prop_map(|(entity, workflow, desired)| Work::Entity {
            entity,
            workflow,
            desired
        }),
    ]
    .boxed()
}

fn node() -> BoxedStrategy<Node> {
    (name(), vec(name(), 0..4), work(), text(), any::<bool>())
        .prop_map(|(name, after, work, lane, interruptible)| Node {
            name,
            after,
            work,
            lane,
            interruptible,
        })
        .boxed()
}

/// A graph of any permitted weight, up to the maximum. Its edges need not make sense.
pub(crate) fn graph() -> BoxedStrategy<Graph> {
    let parts = (
        name(),
        any::<u16>(),
        vec(node(), 1..Graph::MAX_NODES),
        0..=Graph::MAX_WEIGHT,
    );
    parts
        .prop_map(|(workflow, version, nodes, room)| {
            let mut graph = Graph {
                workflow,
                version,
                nodes,
            };
            while graph.nodes.len() > 1 && graph.weight() > Graph::MAX_WEIGHT {
                graph.nodes.pop();
            }
            let free = Graph::MAX_WEIGHT.saturating_sub(graph.weight());
            if let Some(Work::Step {
                params: Payload::Inline(bytes),
                ..
            }) = graph.nodes.last_mut().map(|node| &mut node.work)
            {
                bytes.resize(bytes.len() + free.min(room), 7);
            }
            graph
        })
        .boxed()
}

fn kind() -> BoxedStrategy<EventKind> {
    prop_oneof![
        of_an_entity(),
        of_a_step(),
        (entity(), number(), graph()).prop_map(|(entity, generation, graph)| {
            EventKind::RunStarted {
                entity,
                generation,
                graph,
            }
        }),
        name().prop_map(|signal| EventKind::Signal { signal }),
        mode().prop_map(|mode| EventKind::CancelRequested { mode }),
        select(vec![EventKind::Paused, EventKind::Resumed]),
        result().prop_map(|result| EventKind::RunFinished { result }),
    ]
    .boxed()
}

fn of_an_entity() -> BoxedStrategy<EventKind> {
    prop_oneof![
        (number(), name(), precedence(), payload()).prop_map(
            |(generation, workflow, precedence, desired)| EventKind::Desired {
                generation,
                workflow,
                precedence,
                desired,
            }
        ),
        (run(), name(), number()).prop_map(|(run, workflow, generation)| EventKind::RunOpened {
            run,
            workflow,
            generation
        }),
        (run(), result()).prop_map(|(run, result)| EventKind::RunClosed { run, result }),
        name().prop_map(|step| EventKind::Intent { step }),
        (name(), text()).prop_map(|(state, detail)| EventKind::StateChanged { state, detail }),
        Just(EventKind::RetryRequested),
        name().prop_map(|secret| EventKind::SecretErased { secret }),
        a_wait().prop_map(|wait| EventKind::RetryScheduled { wait }),
        (name(), text()).prop_map(|(what, detail)| EventKind::Noted { what, detail }),
        of_objects(),
    ]
    .boxed()
}

fn of_objects() -> BoxedStrategy<EventKind> {
    let warrant = || run().prop_map(|run| WarrantId(run.0));
    prop_oneof![
        (text(), text()).prop_map(|(object, identity)| EventKind::ObjectMade { object, identity }),
        text().prop_map(|object| EventKind::ObjectBegun { object }),
        text().prop_map(|object| EventKind::ObjectInUse { object }),
        text().prop_map(|object| EventKind::ObjectGone { object }),
        (warrant(), text(), name(), text()).prop_map(|(warrant, object, act, shown)| {
            EventKind::Warranted {
                warrant,
                object,
                act,
                shown,
            }
        }),
        (warrant(), run(), name()).prop_map(|(warrant, run, node)| EventKind::WarrantSpent {
            warrant,
            run,
            node
        }),
        warrant().prop_map(|warrant| EventKind::WarrantVoided { warrant }),
    ]
    .boxed()
}

fn of_a_step() -> BoxedStrategy<EventKind> {
    prop_oneof![
        (name(), small()).prop_map(|(node, attempt)| EventKind::StepStarted { node, attempt }),
        (name(), small(), outcome(), payload()).prop_map(|(node, attempt, outcome, output)| {
            EventKind::StepSucceeded {
                node,
                attempt,
                outcome,
                output,
            }
        }),
        (name(), small(), failure(), wait()).prop_map(|(node, attempt, failure, retry)| {
            EventKind::StepFailed {
                node,
                attempt,
                failure,
                retry,
            }
        }),
        (name(), small(), failure(), wait()).prop_map(|(node, attempt, failure, recheck)| {
            EventKind::StepBlocked {
                node,
                attempt,
                failure,
                recheck,
            }
        }),
        (name(), small()).prop_map(|(node, attempt)| EventKind::StepInterrupted { node, attempt }),
        name().prop_map(|node| EventKind::StepSkipped { node }),
        name().prop_map(|node| EventKind::TimerDue { node }),
        any::<i64>().prop_map(|by_ms| EventKind::ClockJumped { by_ms }),
        (number(), any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(horizon, sealed, archive)| {
            EventKind::Compacted {
                horizon,
                sealed: Hash(sealed),
                archive: Hash(archive),
            }
        }),
        (number(), any::<[u8; 32]>(), text()).prop_map(|(as_of, hash, signature)| {
            EventKind::BaseWritten {
                as_of,
                hash: Hash(hash),
                signature,
            }
        }),
        (number(), number()).prop_map(|(from, to)| EventKind::RangeLost { from, to }),
    ]
    .boxed()
}

pub(crate) fn event() -> BoxedStrategy<Event> {
    (number(), actor(), text(), kind())
        .prop_map(|(at, actor, reason, kind)| Event {
            at: Timestamp(at),
            actor,
            reason,
            kind,
        })
        .boxed()
}

fn node_state() -> BoxedStrategy<NodeState> {
    prop_oneof![
        Just(NodeState::Waiting),
        small().prop_map(|attempt| NodeState::Running { attempt }),
        small().prop_map(|attempt| NodeState::Ready { attempt }),
        small().prop_map(|attempt| NodeState::Skipped { attempt }),
        (small(), failure().prop_map(Box::new))
            .prop_map(|(attempt, failure)| NodeState::Failed { attempt, failure }),
        (small(), failure().prop_map(Box::new), a_wait()).prop_map(|(attempt, failure, retry)| {
            NodeState::Delayed {
                attempt,
                failure,
                retry,
            }
        }),
        (small(), failure().prop_map(Box::new), wait()).prop_map(|(attempt, failure, recheck)| {
            NodeState::Blocked {
                attempt,
                failure,
                recheck,
            }
        }),
        (small(), outcome(), payload(), number()).prop_map(|(attempt, outcome, output, at)| {
            NodeState::Succeeded {
                attempt,
                outcome,
                output,
                at: Timestamp(at),
            }
        }),
    ]
    .boxed()
}

fn phase() -> BoxedStrategy<RunPhase> {
    prop_oneof![
        select(vec![RunPhase::New, RunPhase::Active, RunPhase::Paused]),
        result().prop_map(RunPhase::Finished),
    ]
    .boxed()
}

fn run_state() -> BoxedStrategy<RunState> {
    let parts = (
        phase(),
        option::of(entity()),
        number(),
        option::of(graph()),
        vec((name(), node_state()), 0..12),
        option::of(mode()),
    );
    parts
        .prop_map(
            |(phase, entity, generation, graph, nodes, cancel)| RunState {
                phase,
                entity,
                generation,
                graph: graph.map(Arc::new),
                nodes: nodes.into_iter().collect(),
                cancel,
            },
        )
        .boxed()
}

fn desired() -> BoxedStrategy<Desired> {
    (number(), name(), precedence(), payload())
        .prop_map(|(generation, workflow, precedence, desired)| Desired {
            generation,
            workflow,
            precedence,
            desired,
        })
        .boxed()
}

fn opened() -> impl Strategy<Value = ActiveRun> {
    (run(), name(), number()).prop_map(|(run, workflow, generation)| ActiveRun {
        run,
        workflow,
        generation,
    })
}

fn closed() -> impl Strategy<Value = LastRun> {
    (run(), name(), number(), result()).prop_map(|(run, workflow, generation, result)| LastRun {
        run,
        workflow,
        generation,
        result,
    })
}

fn warrant() -> impl Strategy<Value = (WarrantId, Warrant)> {
    let spender = (run(), name()).prop_map(|(run, node)| Spender { run, node });
    (run(), text(), name(), option::of(spender)).prop_map(|(id, object, act, spent)| {
        let warrant = Warrant { object, act, spent };
        (WarrantId(id.0), warrant)
    })
}

fn objects() -> BoxedStrategy<Objects> {
    let in_use =
        (text(), number()).prop_map(|(object, generation)| ObjectInUse { object, generation });
    let parts = (
        vec((text(), text()), 0..3),
        option::of(in_use),
        vec((text(), name()), 0..2),
        vec(warrant(), 0..3),
        (vec(text(), 0..2), option::of(text())),
    );
    let filled = parts.prop_map(
        |(made, used, unfinished, warrants, (begun, newest))| Objects {
            made: made.into_iter().collect(),
            in_use: used,
            unfinished: unfinished.into_iter().collect(),
            warrants: warrants.into_iter().collect(),
            begun: begun.into_iter().collect(),
            newest,
        },
    );
    prop_oneof![Just(Objects::default()), filled].boxed()
}

fn entity_state() -> BoxedStrategy<EntityState> {
    let runs = (
        option::of(opened()),
        option::of(closed()),
        option::of(run()),
    );
    let counts = (number(), number(), small(), wait());
    let lists = (vec(name(), 0..6), vec(run(), 0..40));
    let state = (option::of(desired()), option::of((name(), text())));
    (runs, counts, lists, state, objects())
        .prop_map(
            |(runs, counts, (intents, opened), (desired, state), objects)| EntityState {
                desired,
                active: runs.0,
                last: runs.1,
                attempted: counts.0,
                reached: counts.1,
                reached_by: runs.2,
                intents: intents.into_iter().collect(),
                state,
                runs: opened,
                failures: counts.2,
                next_try: counts.3,
                objects,
            },
        )
        .boxed()
}

fn folded<T: std::fmt::Debug>(
    state: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Folded<T>> {
    let places = (number(), any::<[u8; 32]>(), number());
    (state, places, number(), number()).prop_map(|(state, places, created, changed)| Folded {
        state: Arc::new(state),
        next_seq: places.0,
        hash: Hash(places.1),
        first: places.2,
        created: Timestamp(created),
        changed: Timestamp(changed),
    })
}

/// A stream with any state, including states that no sequence of events leads to.
pub(crate) fn stream_state() -> BoxedStrategy<StreamState> {
    prop_oneof![
        (entity(), folded(entity_state())).prop_map(|(id, state)| StreamState::Entity(id, state)),
        (run(), folded(run_state())).prop_map(|(id, state)| StreamState::Run(id, state)),
        (number(), any::<[u8; 32]>()).prop_map(|(next_seq, hash)| StreamState::Journal {
            next_seq,
            hash: Hash(hash),
        }),
    ]
    .boxed()
}
