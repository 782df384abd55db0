//! The desired state of an entity, and the run that it needs. At most one run is open at a time.

use std::collections::BTreeSet;

use super::{
    divergence::Divergence,
    event::{Actor, CancelMode, Event, EventKind, Precedence, RunResult, Wait},
    id::RunId,
    objects::Objects,
    payload::Payload,
    text::{Name, Text},
};

/// The desired state of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The number of this desired state, from 1.
    pub generation: u64,
    /// The workflow that brings the entity to it.
    pub workflow: Name,
    /// Its rank relative to the open run.
    pub precedence: Precedence,
    /// The desired state.
    pub desired: Payload,
}

/// The run that is open for an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveRun {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// The generation it works for.
    pub generation: u64,
}

/// The run that ended last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// The run.
    pub run: RunId,
    /// Its workflow.
    pub workflow: Name,
    /// The generation it worked for.
    pub generation: u64,
    /// How it ended.
    pub result: RunResult,
}

/// The state of an entity, folded from its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntityState {
    /// The newest desired state; `None` before the first.
    pub desired: Option<Desired>,
    /// The open run.
    pub active: Option<ActiveRun>,
    /// The run that ended last.
    pub last: Option<LastRun>,
    /// The generation a run was last opened for; a retry sets it back.
    pub attempted: u64,
    /// The newest generation that a run reached with success.
    pub reached: u64,
    /// The run that reached it.
    pub reached_by: Option<RunId>,
    /// Steps that have acted, or may have acted, for this entity.
    pub intents: BTreeSet<Name>,
    /// The entity's state, such as `Running`, and a detail.
    pub state: Option<(Name, Text)>,
    /// Every run, in the order they were opened.
    pub runs: Vec<RunId>,
    /// Failed runs for the newest desired state since it was submitted or a user last requested a
    /// retry.
    pub failures: u32,
    /// The wait until another run automatically follows the failed one.
    pub next_try: Option<Wait>,
    /// Its objects that a guest may have written to, and the orders to destroy them.
    pub objects: Objects,
}

impl EntityState {
    /// Folds one event of the entity's stream into the state.
    ///
    /// # Errors
    /// [`Divergence`] when the event cannot follow what came before; the state is unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), Divergence> {
        match &event.kind {
            EventKind::Desired {
                generation,
                workflow,
                precedence,
                desired,
            } => {
                let newest = self.desired.as_ref().map_or(0, |newest| newest.generation);
                if *generation <= newest {
                    return Err(Divergence::new(&event.kind, "its generation is not newer"));
                }
                (self.failures, self.next_try) = (0, None);
                self.desired = Some(Desired {
                    generation: *generation,
                    workflow: workflow.clone(),
                    precedence: *precedence,
                    desired: desired.clone(),
                });
            }
            EventKind::RunOpened {
                run,
                workflow,
                generation,
            } => {
                if self.active.is_some() {
                    return Err(Divergence::new(&event.kind, "another run is open"));
                }
                self.attempted = *generation;
                self.next_try = None;
                self.runs.push(*run);
                self.active = Some(ActiveRun {
                    run: *run,
                    workflow: workflow.clone(),
                    generation: *generation,
                });
            }
            EventKind::RunClosed { run, result } => self.close(&event.kind, *run, result)?,
            EventKind::Intent { step } => {
                self.intents.insert(step.clone());
            }
            EventKind::StateChanged { state, detail } => {
                self.state = Some((state.clone(), detail.clone()));
            }
            EventKind::RetryRequested => {
                if event.actor != Actor::Engine {
                    self.failures = 0;
                }
                if self.active.is_none() {
                    (self.attempted, self.next_try) = (0, None);
                }
            }
            EventKind::RetryScheduled { wait } => {
                if !self.has_failed() {
                    return Err(Divergence::new(&event.kind, "no run has just failed"));
                }
                self.next_try = Some(*wait);
            }
            EventKind::SecretErased { .. } | EventKind::Noted { .. } => {}
            EventKind::ObjectBegun { .. }
            | EventKind::ObjectMade { .. }
            | EventKind::ObjectInUse { .. }
            | EventKind::ObjectGone { .. }
            | EventKind::Warranted { .. }
            | EventKind::WarrantSpent { .. }
            | EventKind::WarrantVoided { .. } => {
                let active_run = self.active.as_ref();
                let generation = active_run.map_or(self.attempted, |active| active.generation);
                self.objects
                    .apply(&event.kind, active_run.map(|active| active.run), generation)
                    .map_err(|why| Divergence::new(&event.kind, why))?;
            }
            other => return Err(Divergence::new(other, "it belongs to a run's stream")),
        }
        Ok(())
    }

    fn close(
        &mut self,
        kind: &EventKind,
        run: RunId,
        result: &RunResult,
    ) -> Result<(), Divergence> {
        let Some(active) = self.active.take_if(|active| active.run == run) else {
            return Err(Divergence::new(kind, "that run is not open"));
        };
        let newest = self.desired.as_ref().map(|desired| desired.generation);
        let is_newest = newest == Some(active.generation);
        self.objects.close_run(run, result, is_newest);
        match result {
            RunResult::Succeeded => {
                self.reached = active.generation;
                self.reached_by = Some(run);
                self.failures = 0;
            }
            RunResult::Failed(_) => self.failures = self.failures.saturating_add(1),
            RunResult::Cancelled | RunResult::Superseded => {}
        }
        self.last = Some(LastRun {
            run,
            workflow: active.workflow,
            generation: active.generation,
            result: result.clone(),
        });
        Ok(())
    }

    /// The newest generation that the entity's objects on its host were made from: one that a run reached,
    /// or whose definition is in use although its run did not succeed. 0 if there is none.
    pub fn made_from(&self) -> u64 {
        let in_use = self.objects.in_use.as_ref();
        in_use.map_or(self.reached, |in_use| self.reached.max(in_use.generation))
    }

    /// Whether the newest run failed, and no other was opened since.
    fn has_failed(&self) -> bool {
        let failed = |last: &LastRun| matches!(last.result, RunResult::Failed(_));
        self.active.is_none() && self.last.as_ref().is_some_and(failed)
    }

    /// Whether a desired state of that rank may follow the newest. Until a supreme one is reached,
    /// only another supreme one may.
    pub fn admits(&self, precedence: Precedence) -> bool {
        let newest = self.desired.as_ref().map(|desired| desired.precedence);
        newest != Some(Precedence::Supreme)
            || precedence == Precedence::Supreme
            || self.is_settled()
    }

    /// Whether the newest desired state has been reached.
    pub fn is_settled(&self) -> bool {
        self.active.is_none()
            && self.desired.as_ref().is_none_or(|desired| {
                desired.precedence == Precedence::Record || desired.generation == self.reached
            })
    }

    /// The newest generation for which nothing is left to begin. A change that is only recorded opens no run,
    /// so its generation counts as soon as the entity is settled.
    pub fn observed_generation(&self) -> u64 {
        let worked_for = self.attempted.max(self.reached);
        let settled = self.desired.as_ref().filter(|_| self.is_settled());
        settled.map_or(worked_for, |desired| desired.generation.max(worked_for))
    }
}

/// A command that follows from an entity's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityCommand {
    /// Open a run for the newest desired state.
    OpenRun {
        /// The workflow.
        workflow: Name,
        /// The generation.
        generation: u64,
    },
    /// Ask the open run to stop, so that a newer desired state can follow.
    CancelRun {
        /// The run.
        run: RunId,
        /// Why.
        mode: CancelMode,
    },
    /// Open another run after the failed one when the wait is over.
    ArmTimer {
        /// The run that failed.
        after: RunId,
        /// The wait.
        wait: Wait,
    },
}

/// Decides what follows from an entity's state: nothing, a run, or the end of the open run.
///
/// A desired state is attempted once. After a run that failed or was cancelled, only a retry, a
/// newer desired state or the end of a scheduled wait opens another. Asking a run to stop twice is
/// harmless.
pub fn decide_entity(state: &EntityState) -> Option<EntityCommand> {
    let desired = state
        .desired
        .as_ref()
        .filter(|d| d.precedence != Precedence::Record)?;
    match &state.active {
        None if desired.generation > state.attempted && desired.generation > state.reached => {
            Some(EntityCommand::OpenRun {
                workflow: desired.workflow.clone(),
                generation: desired.generation,
            })
        }
        None => Some(EntityCommand::ArmTimer {
            after: state.last.as_ref()?.run,
            wait: state.next_try?,
        }),
        Some(active) if desired.generation <= active.generation => None,
        Some(_) if desired.precedence == Precedence::Queue => None,
        Some(active) => Some(EntityCommand::CancelRun {
            run: active.run,
            mode: CancelMode::Superseded,
        }),
    }
}
