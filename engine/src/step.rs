//! What a step is, and what it is given.
//!
//! A step observes first and acts second, so that running it again is harmless. It is attempted
//! at least once; a crash may come between any two of its instructions, and the next attempt
//! finds out what is there.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use crate::{
    checkpoint::Checkpoints,
    model::{EntityId, Failure, FailureClass, Name, Outcome, RunId},
};

/// One thing that is done to an entity, idempotently.
#[async_trait]
pub trait Step: Send + Sync + 'static {
    /// The name by which graphs call it.
    const NAME: &'static str;
    /// The newest version of its parameters.
    const VERSION: u16 = 1;
    /// What it is told. Read from JSON: fields are only ever added, with a default.
    type Params: DeserializeOwned + Serialize + Send + Sync;
    /// What later nodes and people may read of it. Written as JSON: fields are only ever added.
    type Output: Serialize + DeserializeOwned + Send + Sync;

    /// Looks whether the work is done already, without changing anything.
    ///
    /// # Errors
    /// When it cannot tell. Unknown is not absent.
    async fn observe(
        &self,
        cx: &StepContext,
        params: &Self::Params,
    ) -> Result<Observed<Self::Output>, Failure>;

    /// Does the work. What a crash in its middle leaves, the next attempt must cope with.
    ///
    /// # Errors
    /// A [`Failure`] whose class says what the engine does next.
    async fn run(
        &self,
        cx: &StepContext,
        params: &Self::Params,
    ) -> Result<Done<Self::Output>, Failure>;
}

/// What [`Step::observe`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed<T> {
    /// All is as wanted already; [`Step::run`] is not called.
    Present(T),
    /// There is work to do.
    Needed,
}

/// What [`Step::run`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<T> {
    /// How it left the world.
    pub outcome: Outcome,
    /// What later nodes and people may read.
    pub output: T,
}

impl<T> Done<T> {
    /// It was made.
    pub fn created(output: T) -> Self {
        Self {
            outcome: Outcome::Created,
            output,
        }
    }

    /// It was changed.
    pub fn updated(output: T) -> Self {
        Self {
            outcome: Outcome::Updated,
            output,
        }
    }

    /// It was already there.
    pub fn present(output: T) -> Self {
        Self {
            outcome: Outcome::AlreadyPresent,
            output,
        }
    }
}

/// How far a step is, for people who wait. Never persisted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Units done so far.
    pub done: u64,
    /// Units in all, where known.
    pub total: Option<u64>,
    /// What is going on, such as `uploading` or a boot phase.
    pub what: String,
}

/// Receives a step's progress.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// How the newest desired state of an entity stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReconcileStatus {
    /// It is as wanted.
    Settled,
    /// It is under way, or waits for what passes by itself.
    UnderWay,
    /// Its run failed.
    Failed(Failure),
    /// Its run waits for somebody to remove the cause.
    Blocked(Failure),
    /// The user cancelled it.
    Cancelled,
}

/// What this journal recorded of what was done: a step asks it about a mark that it finds.
pub trait Recorded: Send + Sync {
    /// Whether an attempt of `step` was begun in `run`. A step that left a mark somewhere was; if
    /// this journal does not know of it, it is an older copy of the one that does.
    fn was_attempted(&self, run: RunId, step: &Name) -> bool;

    /// How the newest desired state of another entity stands; `None` where the journal knows no such
    /// entity.
    fn status_of(&self, id: &EntityId) -> Option<ReconcileStatus>;

    /// Whether the journal recorded the intent of `step` for an entity: what that step makes for it
    /// may be ours.
    fn was_intended(&self, id: &EntityId, step: &Name) -> bool;

    /// Whether a run of an entity is open: its steps may be acting now.
    fn has_open_run(&self, id: &EntityId) -> bool;

    /// Whether an open run of another entity waits for this one, or did: it continues with what it found.
    fn is_awaited(&self, id: &EntityId) -> bool;
}

/// What an attempt of a step is given.
#[derive(Clone)]
pub struct StepContext {
    /// The entity it acts for.
    pub entity: EntityId,
    /// The entity's generation the run works for.
    pub generation: u64,
    /// The run.
    pub run: RunId,
    /// The node of the run's graph.
    pub node: Name,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Whether this journal had recorded, before this attempt began, that this step is about to
    /// act for this entity: only then may something that bears our name be ours. It is recorded
    /// between [`Step::observe`] and [`Step::run`], once the former found work to do.
    pub intended_before: bool,
    /// The journal's own identity.
    pub journal_id: Arc<str>,
    /// A number that grows with every run of this journal; goes into what the run makes.
    pub sequence: u64,
    /// What this journal recorded.
    pub recorded: Arc<dyn Recorded>,
    /// Ends when the attempt is to stop (only interruptible nodes are stopped).
    pub stopped: CancellationToken,
    /// The outputs of the nodes that came before, as JSON.
    pub outputs: Arc<BTreeMap<Name, Vec<u8>>>,
    /// The output of the last node of the entity's newest run that succeeded, as JSON.
    pub previous: Option<Arc<[u8]>>,
    /// Where positions are kept that outlive the process.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// Where progress is told.
    pub progress: ProgressSink,
}

impl StepContext {
    /// The output of an earlier node.
    ///
    /// # Errors
    /// A blocked failure when no such node came before, or its output has another shape.
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

    /// What the entity's newest successful run left: its last node's output. A value of another
    /// shape counts as none.
    pub fn previous_output<T: DeserializeOwned>(&self) -> Option<T> {
        self.previous
            .as_deref()
            .and_then(|bytes| serde_json::from_slice(bytes).ok())
    }

    /// Saves where this node is; durable when it returns. The newest value counts.
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

    /// What this node saved last, in this or an earlier attempt of this run.
    ///
    /// # Errors
    /// As for [`StepContext::save`]. A value of another shape counts as none.
    pub async fn saved<T: DeserializeOwned>(&self) -> Result<Option<T>, Failure> {
        let bytes = self
            .checkpoints
            .get(self.run, &self.node)
            .await
            .map_err(checkpoint_failure)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Tells how far the step is.
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
