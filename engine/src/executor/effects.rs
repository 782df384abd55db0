//! What was decided is made durable, then shown and carried out; nothing of it before.

use std::{collections::BTreeSet, sync::Arc};

use super::{attempt::Job, control::Control, error::EngineError, event_log, notice::Notice};
use crate::{
    journal::{Record, StatesUpdate},
    model::{RunId, StreamId},
};

/// What is done once the batch is durable.
pub(super) enum Effect {
    Attempt(Box<Job>),
    Forget(RunId),
    Notice(Notice),
    Reply(Box<dyn FnOnce(Result<(), EngineError>) + Send + Sync>),
}

impl Control {
    /// Makes the batch durable and carries out what waits for that; where it cannot be made
    /// durable whoever waits for an answer is told so.
    pub(super) async fn commit(&mut self) -> Result<(), EngineError> {
        let lease = self.parts.lease.clone();
        let journal = self.parts.journal.clone();
        let committed = self.recorder.commit(journal.as_ref(), &lease).await;
        match committed.map_err(EngineError::from) {
            Ok(records) => {
                self.show(records);
                self.carry_out_effects();
                Ok(())
            }
            Err(error) => {
                self.refuse_replies(&error);
                Err(error)
            }
        }
    }

    fn show(&self, records: Vec<Record>) {
        let streams: BTreeSet<StreamId> =
            records.iter().map(|record| record.stream.clone()).collect();
        if !records.is_empty() {
            let update = self.recorder.world.update(streams.iter());
            self.publish(update);
        }
        self.shared
            .publish(&self.recorder.world, streams.into_iter());
        for record in records {
            event_log::tell(&record, &self.recorder.world);
            let _ = self.shared.notices.send(Notice::Recorded(Arc::new(record)));
        }
    }

    /// Nothing goes into the index while an entity is unreadable: from states that go past such an
    /// event nobody would learn of it.
    pub(super) fn publish(&self, update: StatesUpdate) {
        if self.recorder.world.unreadable.is_empty() {
            self.parts.journal.publish(update);
        }
    }

    fn refuse_replies(&mut self, error: &EngineError) {
        for effect in std::mem::take(&mut self.effects) {
            if let Effect::Reply(reply) = effect {
                reply(Err(error.clone()));
            }
        }
    }

    fn carry_out_effects(&mut self) {
        for effect in std::mem::take(&mut self.effects) {
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

    /// Beside the rest: on a full disk it waits for room, which nothing else may wait for.
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
        // Known only now that the run's first event is durable.
        job.sequence = self
            .recorder
            .world
            .runs
            .get(&job.run)
            .map_or(0, |run| run.first);
        let waiter = (job.run, job.node.clone());
        let handle = self.attempts.spawn(job.run(self.parts.clone()));
        self.tasks.insert(handle.id(), waiter);
    }
}
