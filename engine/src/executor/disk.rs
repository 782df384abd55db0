//! Watches how full the disk of the state directory is, see [`crate::room`].

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use crate::room::{DiskReading, Level, Room};

/// How often the disk is measured while nothing is written.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Watches how much room the disk has.
pub(super) struct RoomWatch {
    room: Arc<Room>,
    changes: watch::Receiver<DiskReading>,
    poller: JoinSet<()>,
}

impl RoomWatch {
    pub(super) fn new(room: Arc<Room>) -> Self {
        Self {
            changes: room.follow(),
            room,
            poller: JoinSet::new(),
        }
    }

    pub(super) fn level(&self) -> Level {
        self.room.seen().level
    }

    /// Waits for the next change of the level. Pending forever if room is unlimited. Cancel safe.
    pub(super) async fn changed(&mut self) -> DiskReading {
        if self.room.is_boundless() {
            return std::future::pending().await;
        }
        loop {
            if self.poller.is_empty() {
                self.poller.spawn(poll_room(self.room.clone()));
            }
            tokio::select! {
                biased;
                Ok(()) = self.changes.changed() => return *self.changes.borrow_and_update(),
                Some(_ended) = self.poller.join_next() => {}
            }
        }
    }
}

async fn poll_room(room: Arc<Room>) {
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let room = room.clone();
        if tokio::task::spawn_blocking(move || room.measure())
            .await
            .is_err()
        {
            return;
        }
    }
}
