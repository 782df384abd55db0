//! Waits for other entities that a VSI needs. They have runs of their own; this module only reads the
//! journal.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{EntityId, Failure},
    step::{ReconcileStatus, Recorded, StepContext},
};

use crate::error::{self, Code};

const POLL: Duration = Duration::from_millis(50);

/// An entity that a VSI waits for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Awaited {
    /// The entity, as `KIND/ID`.
    pub entity: String,
    /// The name that users know it by.
    pub name: String,
}

/// The words for entities of one kind, and the failures when one is not made.
pub(crate) struct AwaitedKind {
    /// An entity of this kind, as used in a sentence.
    pub what: &'static str,
    /// The word before its name in commands.
    pub word: &'static str,
    /// The failure of an entity whose deletion waits because it is in use: it still exists.
    pub in_use: Code,
    /// The failure reported if an entity cannot be made.
    pub not_made: Code,
}

impl AwaitedKind {
    /// Waits until none of the entities is under way.
    ///
    /// Cancel safe: nothing is changed.
    ///
    /// # Errors
    /// When one cannot be made, or the step is stopped.
    pub(crate) async fn wait(&self, cx: &StepContext, entities: &[Awaited]) -> Result<(), Failure> {
        while let Some(name) = self.pending(&cx.recorded, entities)? {
            cx.report(&format!("waiting for {} {name}", self.what), 0, None);
            tokio::select! {
                biased;
                () = cx.stopped.cancelled() => {
                    let message = format!("stopped waiting for {}s", self.what);
                    return Err(error::OUTCOME_UNKNOWN.failure(message));
                }
                () = tokio::time::sleep(POLL) => {}
            }
        }
        Ok(())
    }

    /// The name of the first entity that is under way.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(crate) fn pending<'a>(
        &self,
        recorded: &Arc<dyn Recorded>,
        entities: &'a [Awaited],
    ) -> Result<Option<&'a str>, Failure> {
        for awaited in entities {
            let id: Option<EntityId> = awaited.entity.parse().ok();
            match id.and_then(|id| recorded.status_of(&id)) {
                None | Some(ReconcileStatus::Settled) => {}
                Some(ReconcileStatus::UnderWay) => return Ok(Some(&awaited.name)),
                Some(ReconcileStatus::Cancelled) => {
                    return Err(self.not_made(awaited, "it was cancelled"));
                }
                Some(ReconcileStatus::Failed(failure) | ReconcileStatus::Blocked(failure)) => {
                    if failure.code.as_str() != self.in_use.code {
                        return Err(self.not_made(awaited, &failure.to_string()));
                    }
                }
            }
        }
        Ok(None)
    }

    fn not_made(&self, awaited: &Awaited, why: &str) -> Failure {
        let Self { what, word, .. } = self;
        let failure =
            (self.not_made).failure(format!("{what} {} is not made: {why}", awaited.name));
        failure.of_object(format!("{word}/{}", awaited.name))
    }
}
