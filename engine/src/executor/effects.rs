//! Publishes durable events and carries out their effects.

use std::sync::Arc;

use super::{
    attempt::Job, control::Control, error::EngineError, event_log, loop_state::Effect,
    notice::Notice, projection::Projection,
};
use crate::{
    journal::{Record, StatesUpdate},
    model::RunId,
};

impl Control {
    /// Publishes events, and the states that they led to.
    pub(super) fn show(&self, states: Projection, records: Vec<Record>) {
        self.publish(states.whole_update());
        for record in &records {
            event_log::log_record(record, &states);
        }
        self.shared.publish(states);
        for record in records {
            let _ = self.shared.notices.send(Notice::Recorded(Arc::new(record)));
        }
    }

    /// Publishes states to the index, except while an entity is unreadable: a start from states
    /// after the unreadable event would not notice it.
    pub(super) fn publish(&self, update: StatesUpdate) {
        if self.recorder.projection.unreadable.is_empty() {
            self.parts.journal.publish(update);
        }
    }

    /// Answers all waiting requests with the error.
    pub(super) fn refuse_replies(&mut self, error: &EngineError) {
        for effect in std::mem::take(&mut self.effects) {
            if let Effect::Reply(reply) = effect {
                reply(Err(error.clone()));
            }
        }
    }

    pub(super) fn carry_out_effects(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Attempt(job) => self.start(*job),
                Effect::Notice(notice) => {
                    let _ = self.shared.notices.send(notice);
                }
                Effect::Reply(reply) => reply(Ok(())),
                Effect::Forget(run) => self.forget(run),
            }
        }
    }

    /// Runs as a separate task: on a full disk it waits for room, and nothing else may wait for
    /// that.
    fn forget(&mut self, run: RunId) {
        while self.forgetting.try_join_next().is_some() {}
        let checkpoints = self.parts.checkpoints.clone();
        self.forgetting.spawn(async move {
            if let Err(error) = checkpoints.forget(run).await {
                tracing::warn!(%run, %error, "checkpoints of a finished run stay");
            }
        });
    }

    fn start(&mut self, mut job: Job) {
        // Known only now, because the run's first event is durable.
        job.sequence = self
            .recorder
            .projection
            .runs
            .get(&job.run)
            .map_or(0, |run| run.first);
        let waiter = (job.run, job.node.clone());
        let handle = self.attempts.spawn(job.run(self.parts.clone()));
        self.tasks.insert(handle.id(), waiter);
    }
}
