//! Properties of the pure core for any sequence of events, tested with a random executor.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{
    Actor, CancelMode, Command, EntityCommand, EntityId, EntityState, Event, EventKind, Failure,
    FailureClass, Graph, Name, Node, NodeState, Outcome, Payload, Precedence, RunId, RunPhase,
    RunResult, RunState, Text, Timestamp, Wait, Work, decide, decide_entity,
};
use crate::journal::arbitrary;

fn event(kind: EventKind) -> Event {
    Event {
        at: Timestamp(0),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    }
}

fn node_name(at: usize) -> Name {
    Name::of(&format!("n{at}"))
}

fn entity() -> EntityId {
    EntityId::new(Name::of("vsi"), "a").unwrap()
}

/// A valid graph: each node waits for some of those before it.
fn graph() -> impl Strategy<Value = Graph> {
    vec((any::<u8>(), any::<bool>(), any::<bool>()), 1..8).prop_map(|nodes| {
        let nodes = nodes
            .into_iter()
            .enumerate()
            .map(|(at, (after, waits, stops))| Node {
                name: node_name(at),
                after: (0..at)
                    .filter(|b| after >> b & 1 == 1)
                    .map(node_name)
                    .collect(),
                work: if waits { wait_for_other() } else { act() },
                lane: Text::default(),
                interruptible: stops,
            });
        Graph {
            workflow: Name::of("w"),
            version: 1,
            nodes: nodes.collect(),
        }
    })
}

fn act() -> Work {
    Work::Step {
        step: Name::of("s"),
        version: 1,
        params: Payload::default(),
    }
}

fn wait_for_other() -> Work {
    Work::Entity {
        entity: entity(),
        workflow: Name::of("w"),
        desired: Payload::default(),
    }
}

fn begun(graph: &Graph) -> EventKind {
    EventKind::RunStarted {
        entity: entity(),
        generation: 1,
        graph: graph.clone(),
    }
}

fn wait() -> Wait {
    Wait {
        delay_ms: 1,
        due: Timestamp(1),
    }
}

fn failure(class: FailureClass) -> Failure {
    Failure::new(class, "VSI0001", "x")
}

/// One move of the executor or of its environment.
#[derive(Clone, Debug)]
enum Move {
    /// Carry out one of the decided commands.
    Obey(Index),
    /// End one of the attempts in progress, in one of several ways.
    End(Index, u8),
    /// An event from outside, or the end of a wait.
    Outside(u8, Index),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let next_move = prop_oneof![
        4 => any::<Index>().prop_map(Move::Obey),
        4 => (any::<Index>(), 0..6u8).prop_map(|(at, how)| Move::End(at, how)),
        1 => (0..6u8, any::<Index>()).prop_map(|(what, at)| Move::Outside(what, at)),
    ];
    vec(next_move, 0..80)
}

/// The event that carrying out a command records; `None` if it only arms a timer or stops an
/// attempt.
fn recorded(command: &Command) -> Option<EventKind> {
    match command.clone() {
        Command::Start { node, attempt } => Some(EventKind::StepStarted { node, attempt }),
        Command::Skip { node } => Some(EventKind::StepSkipped { node }),
        Command::Finish { result } => Some(EventKind::RunFinished { result }),
        Command::ArmTimer { .. } | Command::Stop { .. } => None,
    }
}

fn running(state: &RunState) -> Vec<(Name, u32)> {
    let nodes = state.nodes.iter();
    let running = nodes.filter_map(|(name, node)| match node {
        NodeState::Running { attempt } => Some((name.clone(), *attempt)),
        _ => None,
    });
    running.collect()
}

fn ended(node: Name, attempt: u32, how: u8) -> EventKind {
    let retry = Some(wait());
    match how {
        0 | 1 => EventKind::StepSucceeded {
            node,
            attempt,
            outcome: Outcome::Created,
            output: Payload::default(),
        },
        2 => EventKind::StepInterrupted { node, attempt },
        3 => EventKind::StepFailed {
            node,
            attempt,
            failure: failure(FailureClass::Transient),
            retry,
        },
        4 => EventKind::StepBlocked {
            node,
            attempt,
            failure: failure(FailureClass::Recheck),
            recheck: retry,
        },
        _ => EventKind::StepFailed {
            node,
            attempt,
            failure: failure(FailureClass::Failed),
            retry: None,
        },
    }
}

fn from_outside(what: u8, at: &Index, graph: &Graph) -> EventKind {
    match what {
        0 => EventKind::Signal {
            signal: Name::of("retry"),
        },
        1 => EventKind::Paused,
        2 => EventKind::Resumed,
        3 => EventKind::CancelRequested {
            mode: *at.get(&[
                CancelMode::User,
                CancelMode::Superseded,
                CancelMode::Unwanted,
            ]),
        },
        _ => EventKind::TimerDue {
            node: at.get(&graph.nodes).name.clone(),
        },
    }
}

/// The event of a move; `None` if the move is not possible now.
fn event_of(one: &Move, graph: &Graph, state: &RunState) -> Option<EventKind> {
    match one {
        Move::Obey(at) => {
            let mut commands = decide(graph, state);
            // Of the events decided together, the end is recorded last.
            if commands.len() > 1 {
                commands.retain(|command| !matches!(command, Command::Finish { .. }));
            }
            let kinds: Vec<_> = commands.iter().filter_map(recorded).collect();
            (!kinds.is_empty()).then(|| at.get(&kinds).clone())
        }
        Move::End(at, how) => {
            let running = running(state);
            (!running.is_empty()).then(|| {
                let (node, attempt) = at.get(&running).clone();
                ended(node, attempt, *how)
            })
        }
        Move::Outside(what, at) => Some(from_outside(*what, at, graph)),
    }
}

/// Checks the rules that hold for every start.
fn check_start(graph: &Graph, state: &RunState, kind: &EventKind) {
    let EventKind::StepStarted { node, .. } = kind else {
        return;
    };
    let has_succeeded = |name: &Name| matches!(state.nodes[name], NodeState::Succeeded { .. });
    assert!(!has_succeeded(node), "{node} succeeded already");
    assert!(
        graph.node(node).unwrap().after.iter().all(has_succeeded),
        "{node} is early"
    );
    assert_eq!(state.phase, RunPhase::Active);
    assert_eq!(state.cancel, None);
}

/// Drives a run by the moves; returns the recorded events and the final state.
fn drive(graph: &Graph, moves: &[Move]) -> (Vec<Event>, RunState) {
    let mut state = RunState::default();
    let mut events = vec![event(begun(graph))];
    state.apply(&events[0]).unwrap();
    for next_move in moves {
        assert_eq!(decide(graph, &state), decide(graph, &state));
        let Some(kind) = event_of(next_move, graph, &state) else {
            continue;
        };
        check_start(graph, &state, &kind);
        let event = event(kind);
        let state_before = state.clone();
        match (state.apply(&event), next_move) {
            (Ok(()), _) => events.push(event),
            (Err(why), Move::Obey(_)) => panic!("what was decided does not apply: {why}"),
            (Err(_), _) => assert_eq!(state, state_before, "a refused event changes nothing"),
        }
    }
    (events, state)
}

fn replayed(events: &[Event]) -> RunState {
    let mut state = RunState::default();
    events.iter().for_each(|event| state.apply(event).unwrap());
    state
}

/// Continues until nothing is decided and nothing runs; every attempt ends as `how` says.
fn run_out(graph: &Graph, state: &mut RunState, how: u8) {
    for _ in 0..200 {
        if let Some((node, attempt)) = running(state).pop() {
            state.apply(&event(ended(node, attempt, how))).unwrap();
        } else if let Some(kind) = decide(graph, state).iter().find_map(recorded) {
            state.apply(&event(kind)).unwrap();
        } else {
            return;
        }
    }
    panic!("it does not come to an end");
}

proptest! {
    #[test]
    fn decided_commands_apply_and_replaying_gives_equal_states(
        graph in graph(), moves in moves(),
    ) {
        let (events, state) = drive(&graph, &moves);
        prop_assert_eq!(&replayed(&events), &state);
        prop_assert_eq!(replayed(&events), state);
    }

    #[test]
    fn a_finished_run_decides_nothing_and_takes_nothing_more(
        graph in graph(), moves in moves(), next in arbitrary::event(),
    ) {
        let (_, mut state) = drive(&graph, &moves);
        if state.phase == RunPhase::Paused {
            state.apply(&event(EventKind::Resumed)).unwrap();
        }
        run_out(&graph, &mut state, 0);
        if state.result().is_some() {
            prop_assert_eq!(decide(&graph, &state), vec![]);
            prop_assert!(state.apply(&next).is_err());
        } else {
            let blocked = |node: &NodeState| {
                matches!(node, NodeState::Blocked { .. } | NodeState::Delayed { .. })
            };
            prop_assert!(state.nodes.values().any(blocked), "only a wait holds it up");
        }
    }

    #[test]
    fn a_cancelled_run_always_ends(
        graph in graph(), moves in moves(), how in 0..6u8, paused in any::<bool>(),
    ) {
        let (_, mut state) = drive(&graph, &moves);
        if state.result().is_none() {
            if paused {
                state.apply(&event(EventKind::Paused)).unwrap();
            }
            let mode = CancelMode::User;
            state.apply(&event(EventKind::CancelRequested { mode })).unwrap();
            run_out(&graph, &mut state, how);
        }
        prop_assert!(state.result().is_some());
        prop_assert!(running(&state).is_empty());
    }

    #[test]
    fn a_run_whose_steps_all_succeed_succeeds(graph in graph()) {
        let mut state = RunState::default();
        state.apply(&event(begun(&graph))).unwrap();
        run_out(&graph, &mut state, 0);
        prop_assert_eq!(state.result(), Some(&RunResult::Succeeded));
    }

    #[test]
    fn no_event_whatever_makes_the_core_panic(
        graph in arbitrary::graph(), events in vec(arbitrary::event(), 0..12),
    ) {
        let (mut run, mut of_entity) = (RunState::default(), EntityState::default());
        run.apply(&event(begun(&graph))).unwrap();
        for event in &events {
            let states_before = (run.clone(), of_entity.clone());
            if run.apply(event).is_err() {
                prop_assert_eq!(&run, &states_before.0);
            }
            if of_entity.apply(event).is_err() {
                prop_assert_eq!(&of_entity, &states_before.1);
            }
            prop_assert_eq!(decide(&graph, &run), decide(&graph, &run));
            prop_assert_eq!(decide_entity(&of_entity), decide_entity(&of_entity));
        }
    }
}

/// A move of an entity.
#[derive(Clone, Debug)]
enum Requested {
    Desire(Precedence),
    Obey,
    Close(RunResult),
    Retry,
    Schedule,
}

fn updates() -> impl Strategy<Value = Vec<Requested>> {
    use Precedence::{Queue, Record, Supersede, Supreme};
    let results = vec![
        RunResult::Succeeded,
        RunResult::Cancelled,
        RunResult::Superseded,
        RunResult::Failed(failure(FailureClass::Failed)),
    ];
    let request = prop_oneof![
        prop::sample::select(vec![Queue, Supersede, Supreme, Record]).prop_map(Requested::Desire),
        Just(Requested::Obey),
        prop::sample::select(results).prop_map(Requested::Close),
        Just(Requested::Retry),
        Just(Requested::Schedule),
    ];
    vec(request, 0..60)
}

/// The event of a move, with the number of the run it may open.
fn requested(one: Requested, state: &EntityState, number: u128) -> Option<EventKind> {
    let newest = state
        .desired
        .as_ref()
        .map_or(0, |desired| desired.generation);
    let active = state.active.as_ref();
    match one {
        Requested::Desire(precedence) => Some(EventKind::Desired {
            generation: newest + 1,
            workflow: Name::of("w"),
            precedence,
            desired: Payload::default(),
        }),
        Requested::Retry => Some(EventKind::RetryRequested),
        Requested::Schedule => {
            let failed = |last: &super::LastRun| matches!(last.result, RunResult::Failed(_));
            let schedules = active.is_none() && state.last.as_ref().is_some_and(failed);
            schedules.then(|| EventKind::RetryScheduled { wait: wait() })
        }
        Requested::Close(result) => active.map(|active| EventKind::RunClosed {
            run: active.run,
            result,
        }),
        Requested::Obey => match decide_entity(state)? {
            EntityCommand::OpenRun {
                workflow,
                generation,
            } => Some(EventKind::RunOpened {
                run: RunId(ulid::Ulid::from_parts(1, number)),
                workflow,
                generation,
            }),
            EntityCommand::CancelRun { run, .. } => {
                assert_eq!(Some(run), active.map(|active| active.run));
                None
            }
            EntityCommand::ArmTimer { .. } => {
                assert!(active.is_none());
                Some(EventKind::RetryRequested)
            }
        },
    }
}

proptest! {
    #[test]
    fn an_entity_has_one_run_at_a_time_and_none_for_what_it_reached(updates in updates()) {
        let mut state = EntityState::default();
        let mut events = Vec::new();
        for (number, request) in (0..).zip(updates) {
            let Some(kind) = requested(request, &state, number) else {
                continue;
            };
            if let EventKind::RunOpened { generation, .. } = &kind {
                prop_assert!(state.active.is_none());
                prop_assert!(*generation > state.reached);
            }
            let event = event(kind);
            prop_assert!(state.apply(&event).is_ok(), "{event:?}");
            events.push(event);
        }
        let mut replayed = EntityState::default();
        events.iter().for_each(|event| replayed.apply(event).unwrap());
        prop_assert_eq!(replayed, state);
    }
}
