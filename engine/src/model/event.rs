//! Events: the facts that a journal records.

use serde::{Deserialize, Serialize};

use super::{
    failure::Failure,
    graph::Graph,
    id::{EntityId, RunId, Timestamp},
    objects::WarrantId,
    payload::{Hash, Payload},
    text::{Name, Text, Who},
};

/// One fact, with its time, actor and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The wall clock when it was recorded. The order of events comes from the journal's offset,
    /// not from here.
    pub at: Timestamp,
    /// The actor that caused it.
    pub actor: Actor,
    /// The reason; empty if none was given.
    pub reason: Text,
    /// The fact itself.
    pub kind: EventKind,
}

/// The actor that caused an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// The engine itself.
    Engine,
    /// A Unix user on the machine on which the command ran.
    Unix {
        /// Numeric user id.
        uid: u32,
        /// User name, if it is known.
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

/// How a newer desired state affects the run of an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Precedence {
    /// Waits until the open run ends; of several queued desired states only the newest is used
    /// (power commands).
    Queue,
    /// Lets the current step end, then replaces the run (a new generation).
    Supersede,
    /// Replaces the run and ends its waits immediately. Until it is reached, only another supreme
    /// desired state may follow (delete).
    Supreme,
    /// Is only recorded: no run follows (a host's settings).
    Record,
}

/// What a step changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing: the desired state already existed.
    AlreadyPresent,
    /// The object was created.
    Created,
    /// The object was changed.
    Updated,
}

/// Why a run is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CancelMode {
    /// The user ran `cancel`: existing objects remain.
    User,
    /// A newer generation exists.
    Superseded,
    /// No run waits for the entity any more.
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
    /// A newer generation replaced it, or no run needed it any more.
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

/// The kinds of events. New kinds are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    // --- of an entity's stream ---
    /// The entity has a new desired state.
    Desired {
        /// The number of this desired state, from 1.
        generation: u64,
        /// The workflow that brings the entity to it.
        workflow: Name,
        /// Whether it replaces the open run or waits for its end.
        precedence: Precedence,
        /// The desired state, in the workflow's format.
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
    /// The entity's run ended; the same batch has a `run_finished` in the run's stream.
    RunClosed {
        /// The run.
        run: RunId,
        /// How it ended.
        result: RunResult,
    },
    /// A step is about to act for this entity for the first time. From now on, objects with the
    /// names that this step uses may belong to this journal.
    Intent {
        /// The step's name.
        step: Name,
    },
    /// The entity reached another state.
    StateChanged {
        /// The state's name, such as `Running`.
        state: Name,
        /// The detail, such as the reason.
        detail: Text,
    },
    /// Another run for the same desired state is to follow immediately, because the user requested
    /// it or (with the engine as actor) because a scheduled wait is over.
    RetryRequested,
    /// A secret of this entity was erased from the secret store.
    SecretErased {
        /// The secret's ID.
        secret: Name,
    },

    // --- of a run's stream ---
    /// The run began, with the graph that it follows.
    RunStarted {
        /// The entity.
        entity: EntityId,
        /// The generation.
        generation: u64,
        /// The whole graph.
        graph: Graph,
    },
    /// An attempt of a node begins.
    StepStarted {
        /// The node.
        node: Name,
        /// The number of the attempt, from 1.
        attempt: u32,
    },
    /// The node is done.
    StepSucceeded {
        /// The node.
        node: Name,
        /// The attempt that succeeded.
        attempt: u32,
        /// What it changed.
        outcome: Outcome,
        /// The output, for later nodes.
        output: Payload,
    },
    /// The attempt failed. With `retry` it is tried again; without it the node has failed for good.
    StepFailed {
        /// The node.
        node: Name,
        /// The attempt that failed.
        attempt: u32,
        /// The failure.
        failure: Failure,
        /// When it is tried again.
        retry: Option<Wait>,
    },
    /// The node waits until a user removes the cause; with `recheck` the engine also tries again.
    StepBlocked {
        /// The node.
        node: Name,
        /// The attempt that failed.
        attempt: u32,
        /// The cause.
        failure: Failure,
        /// When the engine tries again.
        recheck: Option<Wait>,
    },
    /// The attempt's end was not seen (the process died, or the attempt was stopped). Its effect is
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
    /// Blocked and delayed nodes are to be attempted again immediately.
    Signal {
        /// The signal: `retry`.
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
    /// The run ended.
    RunFinished {
        /// How it ended.
        result: RunResult,
    },

    // --- of an entity's stream again ---
    /// The entity's run failed; another run for the same desired state follows when the wait is
    /// over.
    RetryScheduled {
        /// The wait.
        wait: Wait,
    },

    // --- of the journal's own stream ---
    /// Reserved: no version writes it any more. Events before an offset were moved into an archive
    /// beside the journal.
    Compacted {
        /// That offset.
        horizon: u64,
        /// SHA-256 over the records that replaced the events.
        sealed: Hash,
        /// The SHA-256 of the newest archive.
        archive: Hash,
    },
    /// The wall clock was set, or the machine slept: times before and after are not comparable.
    ClockJumped {
        /// By how many milliseconds; negative if it was set back.
        by_ms: i64,
    },
    /// A base was written into the log: every state as of an offset; see
    /// [`Journal::write_base`](crate::journal::Journal::write_base).
    BaseWritten {
        /// Every event before this offset is folded into the base, and no later one.
        as_of: u64,
        /// The hash of its states, by [`base_hash`](crate::journal::base_hash).
        hash: Hash,
        /// The signature and its key; empty if no key was configured. See
        /// [`sign_base`](crate::audit::sign_base).
        signature: Text,
    },
    /// A repair closed a range of offsets whose events are lost.
    RangeLost {
        /// The first offset of the range.
        from: u64,
        /// The offset after the last of the range.
        to: u64,
    },

    // --- of an entity's stream once more ---
    /// An action on the entity that changes neither its desired state nor its state.
    Noted {
        /// The name of the action, such as `console_opened`.
        what: Name,
        /// More about the action.
        detail: Text,
    },

    // --- of an entity's stream: its objects, and the orders to destroy them ---
    /// A step begins to make the object under a name of its own. No definition names it, so it may be deleted
    /// and made again.
    ObjectBegun {
        /// The object.
        object: Text,
    },
    /// An object of the entity was made whole, and is about to be handed to a guest: from now on a guest
    /// may have written to it.
    ObjectMade {
        /// The object, such as a volume by pool and name.
        object: Text,
        /// What identified it on its host when it was made.
        identity: Text,
    },
    /// The entity's definition on its host names the object.
    ObjectInUse {
        /// The object.
        object: Text,
    },
    /// The object was deleted, or its host said that it does not exist.
    ObjectGone {
        /// The object.
        object: Text,
    },
    /// Somebody ordered that the object is destroyed. The order permits that once.
    Warranted {
        /// The identity of the order.
        warrant: WarrantId,
        /// The object.
        object: Text,
        /// The act that destroys it, such as `rebuild`.
        act: Name,
        /// What was shown to whom ordered it, or by which policy it was ordered.
        shown: Text,
    },
    /// A step is about to destroy the object of a warrant.
    WarrantSpent {
        /// The warrant.
        warrant: WarrantId,
        /// The run of the step.
        run: RunId,
        /// The node of the step.
        node: Name,
    },
    /// A warrant permits nothing any more. The reason is that of the event.
    WarrantVoided {
        /// The warrant.
        warrant: WarrantId,
    },
}

impl EventKind {
    /// The step or node that the event is about, and the number of the attempt.
    pub fn step(&self) -> (Option<&Name>, Option<u32>) {
        match self {
            Self::StepStarted { node, attempt }
            | Self::StepSucceeded { node, attempt, .. }
            | Self::StepFailed { node, attempt, .. }
            | Self::StepBlocked { node, attempt, .. }
            | Self::StepInterrupted { node, attempt } => (Some(node), Some(*attempt)),
            Self::StepSkipped { node } | Self::TimerDue { node } => (Some(node), None),
            Self::Intent { step } => (Some(step), None),
            Self::WarrantSpent { node, .. } => (Some(node), None),
            _ => (None, None),
        }
    }

    /// The name of the kind in the history, such as `step_succeeded`.
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
            Self::ObjectBegun { .. } => "object_begun",
            Self::ObjectMade { .. } => "object_made",
            Self::ObjectInUse { .. } => "object_in_use",
            Self::ObjectGone { .. } => "object_gone",
            Self::Warranted { .. } => "warranted",
            Self::WarrantSpent { .. } => "warrant_spent",
            Self::WarrantVoided { .. } => "warrant_voided",
        }
    }
}
