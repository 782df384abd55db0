//! How many commands run at a time, and how much of their bodies is held.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{CommandNeeds, Problem};

/// Commands at a time; more wait.
const AT_A_TIME: usize = 64;
/// Answers that follow something, which do little.
const FOLLOWED: usize = 256;
/// How long a command waits for its turn.
const TURN: Duration = Duration::from_secs(60);
/// Bodies of all callers together, in KiB.
const BODIES: usize = 256 * 1024;

/// Places for commands, and for their bodies.
pub(crate) struct Turns {
    commands: Arc<Semaphore>,
    followed: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            commands: Arc::new(Semaphore::new(AT_A_TIME)),
            followed: Arc::new(Semaphore::new(FOLLOWED)),
            bodies: Arc::new(Semaphore::new(BODIES)),
        }
    }
}

impl Turns {
    /// A place for a command, as long as it is held.
    pub(crate) async fn acquire(
        &self,
        about: CommandNeeds,
    ) -> Result<OwnedSemaphorePermit, Problem> {
        let places = if about.follows {
            &self.followed
        } else {
            &self.commands
        };
        match timeout(TURN, places.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::busy("too many commands at a time")),
        }
    }

    /// Room for a body of so many bytes, as long as it is held.
    pub(crate) async fn body(&self, length: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let places = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let bodies = self.bodies.clone().acquire_many_owned(places);
        match timeout(TURN, bodies).await {
            Ok(Ok(body)) => Ok(body),
            _ => Err(Problem::busy("too much is being sent at a time")),
        }
    }
}
