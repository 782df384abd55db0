//! The `Step` trait, and the context that a step receives.
//!
//! A step observes first and acts second, so that running it again is harmless. It is attempted at
//! least once. A crash may happen between any two of its instructions; the next attempt observes
//! what exists.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use ulid::Ulid;

use crate::{
    checkpoint::{Checkpoints, MemoryCheckpoints},
    model::{EntityId, Failure, FailureClass, Name, Objects, Outcome, RunId, Text},
};

/// One idempotent action for an entity.
#[async_trait]
pub trait Step: Send + Sync + 'static {
    /// The name that graphs use.
    const NAME: &'static str;
    /// The newest version of its parameters.
    const VERSION: u16 = 1;
    /// Its parameters. Read from JSON: fields are only ever added, with a default.
    type Params: DeserializeOwned + Serialize + Send + Sync;
    /// Its output, for later nodes and users. Written as JSON: fields are only ever added.
    type Output: Serialize + DeserializeOwned + Send + Sync;

    /// Checks whether the work is done already, without changing anything.
    ///
    /// # Errors
    /// When that cannot be determined. Unknown is not absent.
    async fn observe(
        &self,
        cx: &StepContext,
        params: &Self::Params,
    ) -> Result<Observed<Self::Output>, Failure>;

    /// Does the work. The next attempt must cope with what a crash in the middle leaves.
    ///
    /// # Errors
    /// A [`Failure`]; its class decides what the engine does next.
    async fn run(
        &self,
        cx: &StepContext,
        params: &Self::Params,
    ) -> Result<Done<Self::Output>, Failure>;
}

/// The result of [`Step::observe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed<T> {
    /// The desired state exists already; [`Step::run`] is not called.
    Present(T),
    /// There is work to do.
    Needed,
}

/// The result of [`Step::run`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<T> {
    /// What it changed.
    pub outcome: Outcome,
    /// The output, for later nodes and users.
    pub output: T,
}

impl<T> Done<T> {
    /// The object was created.
    pub fn created(output: T) -> Self {
        Self {
            outcome: Outcome::Created,
            output,
        }
    }

    /// The object was changed.
    pub fn updated(output: T) -> Self {
        Self {
            outcome: Outcome::Updated,
            output,
        }
    }

    /// The object already existed.
    pub fn present(output: T) -> Self {
        Self {
            outcome: Outcome::AlreadyPresent,
            output,
        }
    }
}

/// The progress of a step, for users who wait. Never stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Units done so far.
    pub done: u64,
    /// Units in total, if known.
    pub total: Option<u64>,
    /// The current activity, such as `uploading` or a boot phase.
    pub what: String,
}

/// Receives a step's progress.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// How far the newest desired state of an entity is reconciled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReconcileStatus {
    /// It is reached.
    Settled,
    /// It is in progress, or waits for a cause that disappears without action.
    UnderWay,
    /// Its run failed.
    Failed(Failure),
    /// Its run waits until a user removes the cause.
    Blocked(Failure),
    /// The user cancelled it.
    Cancelled,
}

/// The journal's records of earlier work: a step that finds a mark asks about it.
pub trait Recorded: Send + Sync {
    /// Whether an attempt of `step` was begun in `run`. That is true for each step that left a
    /// mark. If this journal does not know the attempt, it is an older copy of the journal that
    /// does.
    fn was_attempted(&self, run: RunId, step: &Name) -> bool;

    /// The status of another entity's newest desired state; `None` if the journal does not know the
    /// entity.
    fn status_of(&self, id: &EntityId) -> Option<ReconcileStatus>;

    /// Whether the journal recorded the intent of `step` for an entity: objects that this step
    /// creates for it may be ours.
    fn was_intended(&self, id: &EntityId, step: &Name) -> bool;

    /// Whether a run of an entity is open: its steps may be acting now.
    fn has_open_run(&self, id: &EntityId) -> bool;

    /// Whether an open run of another entity waits for this one, or did; that run uses the result.
    fn is_awaited(&self, id: &EntityId) -> bool;

    /// What this journal has of the objects of another entity; `None` if it does not know the entity.
    fn objects_of(&self, owner: &EntityId) -> Option<Objects>;

    /// What identified an object of an entity on its host when this journal recorded it last; `None` if it never did,
    /// or the object is gone.
    fn identity_of(&self, owner: &EntityId, object: &Text) -> Option<Text> {
        self.objects_of(owner)?.made.get(object).cloned()
    }
}

/// A fact about an object of the entity whose content cannot be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectFact {
    /// The step is about to make the object, under a name that nothing else has or had.
    Begun {
        /// The object.
        object: Text,
    },
    /// The object is whole, and is about to be handed to a guest.
    Made {
        /// The object.
        object: Text,
        /// What identifies it on its host.
        identity: Text,
    },
    /// The step works on an object of another entity. Nothing is recorded if the journal does not know that entity.
    Of {
        /// The entity that owns the object.
        owner: EntityId,
        /// The object.
        object: Text,
        /// What becomes of it.
        change: ObjectChange,
    },
    /// The entity's definition on its host names the object.
    InUse {
        /// The object.
        object: Text,
    },
    /// The object does not exist any more.
    Gone {
        /// The object.
        object: Text,
    },
    /// The step is about to take the object away from its guest, and a later step destroys it. Refused unless a
    /// warrant permits to destroy it; nothing is recorded.
    Replacing {
        /// The object.
        object: Text,
    },
    /// The step is about to destroy the object. Refused unless a warrant permits it.
    Destroying {
        /// The object.
        object: Text,
    },
    /// The step is about to delete an object for which nobody's order is needed. It is noted with the ground.
    Discarding {
        /// The object.
        object: Text,
        /// Why no order is needed.
        ground: Text,
    },
}

/// What becomes of an object of another entity than the one that the step acts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectChange {
    /// As [`ObjectFact::Begun`].
    Begun,
    /// As [`ObjectFact::Made`]; the identity is empty if the step begins to replace the object.
    Made(Text),
    /// As [`ObjectFact::InUse`].
    InUse,
    /// As [`ObjectFact::Gone`].
    Gone,
}

/// What the journal knows of the entity's objects, and where a step records more.
#[async_trait]
pub trait ObjectLedger: Send + Sync {
    /// The objects as they were known when the attempt began.
    fn objects(&self) -> &Objects;

    /// Records a fact; durable when it returns. Recording the same fact again is harmless.
    ///
    /// # Errors
    /// [`FailureClass::Blocked`] when the step may not destroy the object, a transient failure when the
    /// engine ends.
    async fn record(&self, fact: ObjectFact) -> Result<(), Failure>;
}

/// The ledger of a question, which destroys and records nothing.
struct QuestionLedger;

#[async_trait]
impl ObjectLedger for QuestionLedger {
    fn objects(&self) -> &Objects {
        static NONE: Objects = Objects::none();
        &NONE
    }

    async fn record(&self, _: ObjectFact) -> Result<(), Failure> {
        Err(Failure::defect("a question about a step recorded a fact"))
    }
}

/// The context of one attempt of a step.
#[derive(Clone)]
pub struct StepContext {
    /// The entity it acts for.
    pub entity: EntityId,
    /// The generation of the entity for which the run works.
    pub generation: u64,
    /// The run.
    pub run: RunId,
    /// The node of the run's graph.
    pub node: Name,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Whether this journal had recorded, before this attempt began, that this step is about to act
    /// for this entity. Only then may an object with our name be ours. The intent is recorded
    /// between [`Step::observe`] and [`Step::run`], if the former found work to do.
    pub intended_before: bool,
    /// The journal's own identity.
    pub journal_id: Arc<str>,
    /// A number that grows with every run of this journal; stored in objects that the run creates.
    pub sequence: u64,
    /// The journal's records of earlier work.
    pub recorded: Arc<dyn Recorded>,
    /// Cancelled when the attempt is to stop (only interruptible nodes are stopped).
    pub stopped: CancellationToken,
    /// The outputs of the nodes that came before, as JSON.
    pub outputs: Arc<BTreeMap<Name, Vec<u8>>>,
    /// The output of the last node of the entity's newest run that succeeded, as JSON.
    pub previous: Option<Arc<[u8]>>,
    /// Store of positions that survive the process.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Receives the progress of the step.
    pub progress: ProgressSink,
    /// The entity's objects.
    pub ledger: Arc<dyn ObjectLedger>,
    /// Whether this attempt left something that the next one need not do again.
    pub advanced: Arc<AtomicBool>,
}

impl StepContext {
    /// A context to ask what a step would find for the entity, outside of a run. Nothing was intended and
    /// there are no outputs; what is saved is lost with it.
    pub fn of_question(
        entity: EntityId,
        journal_id: Arc<str>,
        sequence: u64,
        recorded: Arc<dyn Recorded>,
    ) -> Self {
        Self {
            entity,
            generation: 0,
            run: RunId(Ulid::nil()),
            node: Name::of("question"),
            attempt: 1,
            intended_before: false,
            journal_id,
            sequence,
            recorded,
            stopped: CancellationToken::new(),
            outputs: Arc::default(),
            previous: None,
            checkpoints: Arc::new(MemoryCheckpoints::default()),
            progress: Arc::new(|_| ()),
            ledger: Arc::new(QuestionLedger),
            advanced: Arc::default(),
        }
    }

    /// Notes that the next attempt need not do again what this one did. If this one fails, the pause before
    /// the next is as short as after a first failure.
    pub fn note_advance(&self) {
        self.advanced.store(true, Ordering::Relaxed);
    }

    /// The output of an earlier node.
    ///
    /// # Errors
    /// A blocked failure when there was no such node before, or its output has another format.
    pub fn output<T: DeserializeOwned>(&self, node: &str) -> Result<T, Failure> {
        let bytes = self.outputs.get(&Name::of(node)).ok_or_else(|| {
            Failure::defect(format!(
                "step {} needs the output of {node}, which is not there",
                self.node
            ))
        })?;
        serde_json::from_slice(bytes)
            .map_err(|e| Failure::defect(format!("the output of {node} cannot be read: {e}")))
    }

    /// The output of the last node of the entity's newest successful run. A value in another format
    /// counts as absent.
    pub fn previous_output<T: DeserializeOwned>(&self) -> Option<T> {
        self.previous
            .as_deref()
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
    }

    /// Saves the position of this node; durable when it returns. Only the newest value is stored.
    ///
    /// # Errors
    /// A transient failure when the store cannot be written.
    pub async fn save<T: Serialize + Sync>(&self, value: &T) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(value).map_err(|e| Failure::defect(e.to_string()))?;
        self.checkpoints
            .put(self.run, &self.node, bytes)
            .await
            .map_err(checkpoint_failure)
    }

    /// The value that this node saved last, in this or an earlier attempt of this run.
    ///
    /// # Errors
    /// As for [`StepContext::save`]. A value in another format counts as absent.
    pub async fn saved<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let bytes = self
            .checkpoints
            .get(self.run, &self.node)
            .await
            .map_err(checkpoint_failure)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Reports the progress of the step.
    pub fn report(&self, what: &str, done: u64, total: Option<u64>) {
        (self.progress)(Progress {
            done,
            total,
            what: what.to_owned(),
        });
    }
}

fn checkpoint_failure(error: crate::journal::JournalError) -> Failure {
    Failure::new(
        FailureClass::Transient,
        "VSI0010",
        format!("a checkpoint was not saved: {error}"),
    )
    .with_remedy("see that the state directory has room and can be written")
}
