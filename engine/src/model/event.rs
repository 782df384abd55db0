//! What happened: the events of a journal.

use serde::{Deserialize, Serialize};

use super::{
    failure::Failure,
    graph::Graph,
    id::{EntityId, RunId, Timestamp},
    payload::{Hash, Payload},
    text::{Name, Text, Who},
};

/// One thing that happened, when, by whom and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The wall clock when it was recorded. Order comes from the journal's offset, not from here.
    pub at: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// Why; empty where nobody said.
    pub reason: Text,
    /// What happened.
    pub kind: EventKind,
}

/// Who caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// The engine itself.
    Engine,
    /// A Unix user on the machine the command ran on.
    Unix {
        /// Numeric user id.
        uid: u32,
        /// User name, where one is known.
        name: Who,
    },
    /// A Kubernetes user or field manager.
    Kubernetes(Who),
    /// The bearer of a token, by the token's name.
    Token(Who),
}

impl std::fmt::Display for Actor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Engine => f.write_str("engine"),
            Self::Unix { uid, name } if name.is_empty() => write!(f, "unix:{uid}"),
            Self::Unix { name, .. } => write!(f, "unix:{name}"),
            Self::Kubernetes(user) => write!(f, "kubernetes:{user}"),
            Self::Token(name) => write!(f, "token:{name}"),
        }
    }
}

/// What a newer desired state does to the run of an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Precedence {
    /// Waits until the open run is over; of several the last one counts (power commands).
    Queue,
    /// Lets the current step end, then takes the run's place (a new generation).
    Supersede,
    /// Takes the run's place and ends waits at once; nothing but another of its kind follows
    /// until it is done (delete).
    Supreme,
    /// Is only kept: no run follows (a host's settings).
    Record,
}

/// How a step left the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// It was already as wanted.
    AlreadyPresent,
    /// It was made.
    Created,
    /// It was changed.
    Updated,
}

/// Why a run is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CancelMode {
    /// The user said `cancel`: what exists is kept.
    User,
    /// A newer generation is wanted.
    Superseded,
    /// Nobody waits for the entity any more.
    Unwanted,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunResult {
    /// Every node succeeded.
    Succeeded,
    /// A node failed for good.
    Failed(Failure),
    /// The user cancelled it.
    Cancelled,
    /// A newer generation took its place, or nobody needed it any more.
    Superseded,
}

/// A recorded wait: after a restart `min(due − now, delay)` of it remains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wait {
    /// The whole delay in milliseconds.
    pub delay_ms: u64,
    /// When it ends by the wall clock.
    pub due: Timestamp,
}

/// The kinds of events. New kinds are only ever appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    // --- of an entity's stream ---
    /// Something new is wanted of the entity.
    Desired {
        /// Counts what was wanted of this entity, from 1.
        generation: u64,
        /// The workflow that brings the entity there.
        workflow: Name,
        /// Whether it takes the place of what runs, or waits for its end.
        precedence: Precedence,
        /// The desired state; the workflow reads it.
        desired: Payload,
    },
    /// A run for the entity was opened; its stream starts in the same batch.
    RunOpened {
        /// The run.
        run: RunId,
        /// Its workflow.
        workflow: Name,
        /// The generation it works for.
        generation: u64,
    },
    /// The entity's run ended; `run_finished` stands in the run's stream in the same batch.
    RunClosed {
        /// The run.
        run: RunId,
        /// How it ended.
        result: RunResult,
    },
    /// A step is about to act for this entity for the first time: whatever bears the names that
    /// this step makes may from now on be this journal's.
    Intent {
        /// The step's name.
        step: Name,
    },
    /// The entity is now in another state.
    StateChanged {
        /// The state's name, such as `Running`.
        state: Name,
        /// What led to it.
        detail: Text,
    },
    /// Another run for the same desired state is to follow at once: the user asked for it, or (by the
    /// engine) a scheduled wait is over.
    RetryRequested,
    /// A secret of this entity was erased from the secret store.
    SecretErased {
        /// Its random id.
        secret: Name,
    },

    // --- of a run's stream ---
    /// The run began, with the graph that decides it.
    RunStarted {
        /// For which entity.
        entity: EntityId,
        /// For which generation.
        generation: u64,
        /// The whole graph.
        graph: Graph,
    },
    /// An attempt of a node begins.
    StepStarted {
        /// The node.
        node: Name,
        /// Counts from 1.
        attempt: u32,
    },
    /// The node is done.
    StepSucceeded {
        /// The node.
        node: Name,
        /// The attempt that did it.
        attempt: u32,
        /// How it left the world.
        outcome: Outcome,
        /// What later nodes may read.
        output: Payload,
    },
    /// The attempt failed; with `retry` it is tried again, without the node has failed for good.
    StepFailed {
        /// The node.
        node: Name,
        /// The attempt that failed.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When it is tried again.
        retry: Option<Wait>,
    },
    /// The node waits for somebody to remove the cause; with `recheck` the engine looks again.
    StepBlocked {
        /// The node.
        node: Name,
        /// The attempt that met the cause.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When it is looked at again.
        recheck: Option<Wait>,
    },
    /// The attempt's end was not seen (the process died, the attempt was stopped): its effect is
    /// unknown, and the next attempt observes.
    StepInterrupted {
        /// The node.
        node: Name,
        /// The attempt.
        attempt: u32,
    },
    /// The node was not reached.
    StepSkipped {
        /// The node.
        node: Name,
    },
    /// A recorded wait is over.
    TimerDue {
        /// The node that waited.
        node: Name,
    },
    /// Blocked and delayed nodes are to be tried again at once.
    Signal {
        /// What is signalled: `retry`.
        signal: Name,
    },
    /// The run is to stop.
    CancelRequested {
        /// Why.
        mode: CancelMode,
    },
    /// The run starts nothing more until it is resumed.
    Paused,
    /// The run continues.
    Resumed,
    /// The run is over.
    RunFinished {
        /// How.
        result: RunResult,
    },

    // --- of an entity's stream again ---
    /// The entity's run failed, and another one for the same desired state follows when the wait is over.
    RetryScheduled {
        /// The wait.
        wait: Wait,
    },

    // --- of the journal's own stream ---
    /// Reserved: no version writes it any more. What was before an offset was moved into an
    /// archive beside the journal.
    Compacted {
        /// That offset.
        horizon: u64,
        /// SHA-256 over what stood in the place of the events.
        sealed: Hash,
        /// The SHA-256 of the newest archive.
        archive: Hash,
    },
    /// The wall clock was set, or the machine slept: times before and after are not comparable.
    ClockJumped {
        /// By how many milliseconds; negative: back.
        by_ms: i64,
    },
    /// A base was written into the log: every state as of an offset; see
    /// [`Journal::write_base`](crate::journal::Journal::write_base).
    BaseWritten {
        /// Every event before it is folded into the base, and none from it on.
        as_of: u64,
        /// What [`base_hash`](crate::journal::base_hash) makes of its states.
        hash: Hash,
        /// Who signed it, and how; empty where no key was given. See
        /// [`sign_base`](crate::audit::sign_base).
        signature: Text,
    },
    /// A repair closed a range of offsets whose events nobody has any more.
    RangeLost {
        /// The first of them.
        from: u64,
        /// The offset after the last of them.
        to: u64,
    },

    // --- of an entity's stream once more ---
    /// Something was done with the entity that changes neither its desired state nor its state.
    Noted {
        /// What, such as `console_opened`.
        what: Name,
        /// What else is to be known of it.
        detail: Text,
    },
}

impl EventKind {
    /// The step that it tells of, and which attempt at it.
    pub fn step(&self) -> (Option<&Name>, Option<u32>) {
        match self {
            Self::StepStarted { node, attempt }
            | Self::StepSucceeded { node, attempt, .. }
            | Self::StepFailed { node, attempt, .. }
            | Self::StepBlocked { node, attempt, .. }
            | Self::StepInterrupted { node, attempt } => (Some(node), Some(*attempt)),
            Self::StepSkipped { node } | Self::TimerDue { node } => (Some(node), None),
            Self::Intent { step } => (Some(step), None),
            _ => (None, None),
        }
    }

    /// The kind as history prints it, such as `step_succeeded`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Desired { .. } => "desired",
            Self::RunOpened { .. } => "run_opened",
            Self::RunClosed { .. } => "run_closed",
            Self::Intent { .. } => "intent",
            Self::StateChanged { .. } => "state_changed",
            Self::RetryRequested => "retry_requested",
            Self::SecretErased { .. } => "secret_erased",
            Self::RunStarted { .. } => "run_started",
            Self::StepStarted { .. } => "step_started",
            Self::StepSucceeded { .. } => "step_succeeded",
            Self::StepFailed { .. } => "step_failed",
            Self::StepBlocked { .. } => "step_blocked",
            Self::StepInterrupted { .. } => "step_interrupted",
            Self::StepSkipped { .. } => "step_skipped",
            Self::TimerDue { .. } => "timer_due",
            Self::Signal { .. } => "signal",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::RunFinished { .. } => "run_finished",
            Self::RetryScheduled { .. } => "retry_scheduled",
            Self::Compacted { .. } => "compacted",
            Self::ClockJumped { .. } => "clock_jumped",
            Self::BaseWritten { .. } => "base_written",
            Self::RangeLost { .. } => "range_lost",
            Self::Noted { .. } => "noted",
        }
    }
}
