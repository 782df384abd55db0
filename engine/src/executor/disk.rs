//! What the engine does while the disk of its state directory fills, see [`crate::room`].

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::{control::Control, effects::Effect, notice::Notice};
use crate::room::{DiskReading, Level, Room};

/// How often the disk is looked at while nothing is written.
const LOOK: Duration = Duration::from_secs(1);

/// Follows how much room there is.
pub(super) struct RoomWatch {
    room: Arc<Room>,
    changes: watch::Receiver<DiskReading>,
    looking: JoinSet<()>,
}

impl RoomWatch {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self {
            changes: room.follow(),
            room,
            looking: JoinSet::new(),
        }
    }

    pub(super) fn level(&self) -> Level {
        self.room.seen().level
    }

    /// The next level that is another one. Pending for ever where room has no end. Cancel safe.
    pub(super) async fn changed(&mut self) -> DiskReading {
        if self.room.is_boundless() {
            return std::future::pending().await;
        }
        loop {
            if self.looking.is_empty() {
                self.looking.spawn(watch_hosts(self.room.clone()));
            }
            tokio::select! {
                biased;
                Ok(()) = self.changes.changed() => return *self.changes.borrow_and_update(),
                Some(_ended) = self.looking.join_next() => {}
            }
        }
    }
}

async fn watch_hosts(room: Arc<Room>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let room = room.clone();
        if tokio::task::spawn_blocking(move || room.measure())
            .await
            .is_err()
        {
            return;
        }
    }
}

impl Control {
    /// What waited for room is decided again.
    pub(super) fn room_changed(&mut self, seen: DiskReading) {
        self.effects.push(Effect::Notice(Notice::Room(seen)));
        self.decide_all_again();
    }

    /// What kept everything from going on is gone.
    pub(super) fn decide_all_again(&mut self) {
        let projection = &self.recorder.projection;
        self.dirty_entities
            .extend(projection.entities.keys().cloned());
        let active = projection.entities.values();
        let active = active.filter_map(|entry| Some(entry.state.active.as_ref()?.run));
        self.dirty_runs.extend(active);
    }
}
