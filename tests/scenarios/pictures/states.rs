//! The states of a run, of its steps and of an entity, found by applying all possible events.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt::Write as _,
};

use ulid::Ulid;
use vsiflow_engine::model::{
    Actor, CancelMode, Command, EntityCommand, EntityId, EntityState, Event, EventKind, Failure,
    FailureClass, Graph, Name, Node, NodeState, Outcome, Payload, Precedence, RunId, RunPhase,
    RunResult, RunState, Text, Timestamp, Wait, Work, decide, decide_entity,
};

/// A transition: from a state, by an event, to another state.
type Arrow = (&'static str, String, &'static str);

const STEP: &str = "step";
/// More attempts reach no further states.
const MOST: usize = 7;

pub(super) fn run() -> String {
    diagram(&explore(RunState::default(), run_events, apply_run, phase))
}

pub(super) fn step() -> String {
    diagram(&explore(RunState::default(), run_events, apply_run, node))
}

pub(super) fn entity() -> String {
    let apply = |state: &mut EntityState, event: &Event| state.apply(event).is_ok();
    diagram(&explore(EntityState::default(), entity_events, apply, life))
}

/// All transitions between labels that some sequence of events causes.
fn explore<S: Clone + std::fmt::Debug>(
    first: S,
    events: fn(&S) -> Vec<(String, EventKind)>,
    apply: fn(&mut S, &Event) -> bool,
    label: fn(&S) -> &'static str,
) -> BTreeSet<Arrow> {
    let (mut arrows, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut queue = VecDeque::from([(first, 0)]);
    while let Some((state, depth)) = queue.pop_front() {
        for (name, kind) in events(&state) {
            let mut next = state.clone();
            if !apply(&mut next, &happens(kind)) {
                continue;
            }
            let (from, to) = (label(&state), label(&next));
            if from != to {
                arrows.insert((from, name, to));
            }
            if depth < MOST && seen.insert(format!("{next:?}")) {
                queue.push_back((next, depth + 1));
            }
        }
    }
    arrows
}

/// Draws all arrows between the same two states as one.
fn diagram(arrows: &BTreeSet<Arrow>) -> String {
    let mut text = "stateDiagram-v2\n".to_owned();
    let pairs: BTreeSet<_> = arrows.iter().map(|(from, _, to)| (*from, *to)).collect();
    for (from, to) in pairs {
        let between = arrows
            .iter()
            .filter(|arrow| (arrow.0, arrow.2) == (from, to));
        let names: Vec<_> = between.map(|arrow| arrow.1.as_str()).collect();
        writeln!(text, "  {from} --> {to}: {}", names.join(", ")).unwrap();
    }
    text
}

fn happens(kind: EventKind) -> Event {
    Event {
        at: Timestamp(0),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    }
}

fn named(kind: EventKind) -> (String, EventKind) {
    (kind.type_name().to_owned(), kind)
}

fn noted(kind: EventKind, note: &str) -> (String, EventKind) {
    (format!("{} ({note})", kind.type_name()), kind)
}

fn failure() -> Failure {
    Failure::new(FailureClass::Transient, "VSI0101", "unreachable")
}

const WAIT: Wait = Wait {
    delay_ms: 1,
    due: Timestamp(1),
};

fn graph() -> Graph {
    let node = Node {
        name: Name::of(STEP),
        after: Vec::new(),
        work: Work::Step {
            step: Name::of(STEP),
            version: 1,
            params: Payload::default(),
        },
        lane: Text::default(),
        interruptible: true,
    };
    Graph {
        workflow: Name::of("workflow"),
        version: 1,
        nodes: vec![node],
    }
}

fn apply_run(state: &mut RunState, event: &Event) -> bool {
    state.apply(event).is_ok()
}

/// The events that may follow in a run: decisions of the engine, ends of attempts, requests of
/// users.
fn run_events(state: &RunState) -> Vec<(String, EventKind)> {
    let started = EventKind::RunStarted {
        entity: EntityId::new(Name::of("vsi"), "id").unwrap(),
        generation: 1,
        graph: graph(),
    };
    let mut events: Vec<_> = decide(&graph(), state)
        .into_iter()
        .filter_map(decided)
        .collect();
    events.push(named(started));
    let attempt = state.nodes.values().map(NodeState::attempt).max();
    events.extend(attempt_ends(attempt.unwrap_or(0)));
    events.extend([
        noted(
            EventKind::CancelRequested {
                mode: CancelMode::User,
            },
            "user",
        ),
        noted(
            EventKind::CancelRequested {
                mode: CancelMode::Superseded,
            },
            "superseded",
        ),
        named(EventKind::Paused),
        named(EventKind::Resumed),
        named(EventKind::Signal {
            signal: Name::of("retry"),
        }),
    ]);
    events
}

fn decided(command: Command) -> Option<(String, EventKind)> {
    Some(match command {
        Command::Start { node, attempt } => named(EventKind::StepStarted { node, attempt }),
        Command::ArmTimer { node, .. } => named(EventKind::TimerDue { node }),
        Command::Skip { node } => named(EventKind::StepSkipped { node }),
        Command::Finish { result } => named(EventKind::RunFinished { result }),
        Command::Stop { .. } => return None,
    })
}

fn attempt_ends(attempt: u32) -> [(String, EventKind); 6] {
    let node = Name::of(STEP);
    let failed = |retry| EventKind::StepFailed {
        node: node.clone(),
        attempt,
        failure: failure(),
        retry,
    };
    let blocked = |recheck| EventKind::StepBlocked {
        node: node.clone(),
        attempt,
        failure: failure(),
        recheck,
    };
    [
        named(EventKind::StepSucceeded {
            node: node.clone(),
            attempt,
            outcome: Outcome::Created,
            output: Payload::default(),
        }),
        noted(failed(Some(WAIT)), "retry"),
        noted(failed(None), "final"),
        noted(blocked(Some(WAIT)), "recheck"),
        noted(blocked(None), "until input or retry"),
        named(EventKind::StepInterrupted {
            node: node.clone(),
            attempt,
        }),
    ]
}

fn phase(state: &RunState) -> &'static str {
    match (&state.phase, state.cancel) {
        (RunPhase::New, _) => "[*]",
        (RunPhase::Finished(result), _) => ended(result),
        (RunPhase::Active | RunPhase::Paused, Some(_)) => "Ending",
        (RunPhase::Active, None) => "Active",
        (RunPhase::Paused, None) => "Paused",
    }
}

fn ended(result: &RunResult) -> &'static str {
    match result {
        RunResult::Succeeded => "Succeeded",
        RunResult::Failed(_) => "Failed",
        RunResult::Cancelled => "Cancelled",
        RunResult::Superseded => "Superseded",
    }
}

fn node(state: &RunState) -> &'static str {
    match state.nodes.get(&Name::of(STEP)) {
        None => "[*]",
        Some(NodeState::Waiting) => "Waiting",
        Some(NodeState::Running { .. }) => "Running",
        Some(NodeState::Ready { .. }) => "Ready",
        Some(NodeState::Delayed { .. }) => "Delayed",
        Some(NodeState::Blocked { .. }) => "Blocked",
        Some(NodeState::Succeeded { .. }) => "Succeeded",
        Some(NodeState::Failed { .. }) => "Failed",
        Some(NodeState::Skipped { .. }) => "Skipped",
    }
}

/// The events that may follow for an entity: a desired state, decisions of the engine, the end of
/// its run.
fn entity_events(state: &EntityState) -> Vec<(String, EventKind)> {
    let newest = state
        .desired
        .as_ref()
        .map_or(0, |desired| desired.generation);
    let mut events = vec![
        named(EventKind::Desired {
            generation: newest + 1,
            workflow: Name::of("workflow"),
            precedence: Precedence::Supersede,
            desired: Payload::default(),
        }),
        named(EventKind::RetryRequested),
    ];
    match decide_entity(state) {
        Some(EntityCommand::OpenRun {
            workflow,
            generation,
        }) => {
            let run = RunId(Ulid(state.runs.len() as u128));
            events.push(named(EventKind::RunOpened {
                run,
                workflow,
                generation,
            }));
        }
        // The timer has expired.
        Some(EntityCommand::ArmTimer { .. }) => events.push(named(EventKind::RetryRequested)),
        Some(EntityCommand::CancelRun { .. }) | None => {}
    }
    if let Some(active) = &state.active {
        let results = [
            RunResult::Succeeded,
            RunResult::Failed(failure()),
            RunResult::Cancelled,
            RunResult::Superseded,
        ];
        events.extend(results.map(|result| {
            let note = ended(&result).to_lowercase();
            noted(
                EventKind::RunClosed {
                    run: active.run,
                    result,
                },
                &note,
            )
        }));
    }
    if let Some(RunResult::Failed(_)) = state.last.as_ref().map(|last| &last.result) {
        events.push(named(EventKind::RetryScheduled { wait: WAIT }));
    }
    events
}

fn life(state: &EntityState) -> &'static str {
    if state.desired.is_none() {
        return "[*]";
    }
    match (&state.active, decide_entity(state)) {
        (Some(_), Some(EntityCommand::CancelRun { .. })) => "RunSuperseded",
        (Some(_), _) => "RunOpen",
        (None, Some(EntityCommand::OpenRun { .. })) => "RunDue",
        (None, Some(EntityCommand::ArmTimer { .. })) => "RetryScheduled",
        (None, _) if state.is_settled() => "Settled",
        (None, _) => "Unsettled",
    }
}
