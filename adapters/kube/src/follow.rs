//! Follows changes in the fleet: each one marks a status as dirty, wakes the controller, or becomes an
//! Event.

use std::{sync::Arc, time::Duration};

use tokio::sync::{broadcast::error::RecvError, mpsc};
use uuid::Uuid;
use vsiflow_engine::{
    Notice,
    journal::{Offset, Record},
    model::{Actor, EntityId, Event, EventKind, StreamId},
};
use vsiflow_workflows::{fleet::Fleet, phase::Phase, record::kind};

use crate::{
    events::{EventNote, event_note},
    kind::ResourceKind,
    resource_cache::ResourceCache,
    status_queue::StatusQueue,
};

/// How often the progress of running work is read.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Events that are read at a time if notices were missed.
const PAGE: usize = 500;

/// Follows the notices of the fleet.
pub(crate) struct Follower {
    pub(crate) fleet: Fleet,
    pub(crate) cache: Arc<ResourceCache>,
    pub(crate) status_queue: Arc<StatusQueue>,
    pub(crate) event_notes: mpsc::Sender<EventNote>,
    /// The first offset that was not processed yet; none before the first notice.
    pub(crate) next: Option<Offset>,
    /// Whether notices were missed whose events could not be read yet. Until then, no later one is processed.
    pub(crate) is_behind: bool,
}

impl Follower {
    /// Ends when the engine does.
    pub(crate) async fn run(mut self) {
        let mut notices = self.fleet.notices();
        let mut moved = self.fleet.pools().moved();
        let mut reports = self.fleet.pools().report_changed();
        let mut overwritten = self.cache.overwritten();
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let notice = tokio::select! {
                notice = notices.recv() => notice,
                _ = tick.tick() => {
                    if self.is_behind {
                        self.catch_up().await;
                    }
                    self.dirty_working();
                    // No event is recorded when a host answers again.
                    self.status_queue.dirty_pools();
                    continue;
                }
                key = overwritten.recv() => {
                    match key {
                        Ok(key) => self.status_queue.overwritten(key),
                        Err(RecvError::Lagged(_)) => self.status_queue.dirty_all(),
                        // The cache lives as long as this operator.
                        Err(RecvError::Closed) => return,
                    }
                    continue;
                }
                Ok(()) = moved.changed() => {
                    self.status_queue.dirty_pools();
                    continue;
                }
                Ok(()) = reports.changed() => {
                    self.status_queue.dirty_pools();
                    // No event is recorded here when another journal makes a member.
                    self.cache.poke();
                    continue;
                }
            };
            match notice {
                Ok(Notice::Ended) | Err(RecvError::Closed) => return,
                Ok(notice) => self.on_notice(notice),
                Err(RecvError::Lagged(_)) => self.catch_up().await,
            }
        }
    }

    fn on_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Recorded(record) if self.is_behind => {
                self.mark(&record);
            }
            Notice::Recorded(record) => self.record(&record),
            Notice::Progress { entity, .. } | Notice::Unopened { entity, .. } => {
                self.dirty(&entity)
            }
            Notice::Repeated {
                run, failure, node, ..
            } => {
                if let Some(entity) = self.fleet.entity_of(run) {
                    self.dirty(&entity);
                    if let Some(uid) = uid_of(&entity) {
                        self.send_note(EventNote::repeated(uid, node.as_str(), &failure));
                    }
                }
            }
            Notice::Room(_) | Notice::Ended => {}
        }
    }

    /// Reads missed notices from the journal.
    async fn catch_up(&mut self) {
        self.status_queue.dirty_vsis();
        self.status_queue.dirty_kind(ResourceKind::Quota);
        self.cache.poke();
        self.is_behind = true;
        while let Some(from) = self.next {
            let Ok(records) = self.fleet.history().recorded(from, PAGE).await else {
                return;
            };
            if records.is_empty() {
                break;
            }
            records.iter().for_each(|record| self.record(record));
        }
        self.is_behind = false;
    }

    fn record(&mut self, record: &Record) {
        let next = record.offset.saturating_add(1);
        if self.next.is_some_and(|seen| seen >= next) {
            return;
        }
        self.next = Some(next);
        let Some(entity) = self.mark(record) else {
            return;
        };
        if let Some(note) = uid_of(&entity).and_then(|uid| event_note(uid, record)) {
            self.send_note(note);
        }
    }

    /// Marks what the event changed as dirty, and returns its entity.
    fn mark(&self, record: &Record) -> Option<EntityId> {
        let entity = match &record.stream {
            StreamId::Entity(entity) => Some(entity.clone()),
            StreamId::Run(run) => self.fleet.entity_of(*run),
            _ => None,
        }?;
        self.dirty(&entity);
        if changes_usage(&entity, &record.event.kind) {
            self.status_queue.dirty_kind(ResourceKind::Quota);
        }
        if is_gone(&record.event.kind) || is_of_pools(&entity, &record.event) {
            self.cache.poke();
        }
        Some(entity)
    }

    fn dirty(&self, entity: &EntityId) {
        match entity.kind().as_str() {
            // A schedule has the UID of its VSI.
            kind::VSI | kind::DISK | kind::SNAPSHOT | kind::SCHEDULE => {
                if let Ok(uid) = entity.id().parse() {
                    self.status_queue.dirty_uid(&uid);
                }
            }
            // VSIs may be waiting for the image.
            kind::IMAGE => self.dirty_working(),
            kind::NETWORK => {
                self.status_queue.dirty_kind(ResourceKind::Network);
                self.dirty_working();
            }
            _ => {}
        }
    }

    /// Marks everything with running work as dirty; nothing else has progress to report.
    fn dirty_working(&self) {
        let working = self.fleet.working();
        for uid in working.iter().filter_map(uid_of) {
            self.status_queue.dirty_uid(&uid);
        }
    }

    fn send_note(&self, note: EventNote) {
        if self.event_notes.try_send(note).is_err() {
            tracing::warn!("Events are not sent: the API server takes too long");
        }
    }
}

/// The UID of a VSI; none for other entities.
pub(crate) fn uid_of(entity: &EntityId) -> Option<Uuid> {
    match entity.kind().as_str() {
        kind::VSI => entity.id().parse().ok(),
        _ => None,
    }
}

/// Whether a pool may have a new member, or is being deleted.
fn is_of_pools(entity: &EntityId, event: &Event) -> bool {
    let is_pool = [kind::POOL, kind::GROUP].contains(&entity.kind().as_str());
    let by_pool = entity.kind().as_str() == kind::VSI && event.actor == Actor::Engine;
    matches!(event.kind, EventKind::Desired { .. }) && (is_pool || by_pool)
}

/// Whether the usage of a namespace may have changed.
fn changes_usage(entity: &EntityId, event: &EventKind) -> bool {
    let counted = [kind::VSI, kind::DISK, kind::POOL, kind::GROUP, kind::QUOTA];
    let changes = match event {
        EventKind::Desired { .. } => true,
        EventKind::StateChanged { state, .. } => state.as_str() == Phase::Deleted.as_str(),
        EventKind::RunClosed { .. } => true,
        _ => false,
    };
    changes && counted.contains(&entity.kind().as_str())
}

fn is_gone(event: &EventKind) -> bool {
    match event {
        EventKind::StateChanged { state, .. } => state.as_str() == Phase::Deleted.as_str(),
        EventKind::RunClosed { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
