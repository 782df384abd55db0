//! Limits the number of concurrent commands, and the memory for their bodies.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{CommandNeeds, Problem};

/// Commands that run at the same time; further ones wait.
const MAX_COMMANDS: usize = 64;
/// Commands that follow something and do little work.
const MAX_FOLLOWERS: usize = 256;
/// How long a command waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);
/// The size of all request bodies together, in KiB.
const MAX_BODIES: usize = 256 * 1024;

/// Permits for commands, and for their bodies.
pub(crate) struct Turns {
    commands: Arc<Semaphore>,
    followed: Arc<Semaphore>,
    bodies: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            commands: Arc::new(Semaphore::new(MAX_COMMANDS)),
            followed: Arc::new(Semaphore::new(MAX_FOLLOWERS)),
            bodies: Arc::new(Semaphore::new(MAX_BODIES)),
        }
    }
}

impl Turns {
    /// A permit for a command, as long as it is held.
    pub(crate) async fn acquire(
        &self,
        about: CommandNeeds,
    ) -> Result<OwnedSemaphorePermit, Problem> {
        let places = if about.follows {
            &self.followed
        } else {
            &self.commands
        };
        match timeout(TURN_TIMEOUT, places.clone().acquire_owned()).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::busy("too many commands at a time")),
        }
    }

    /// A permit for a body of `length` bytes, as long as it is held.
    pub(crate) async fn body(&self, length: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let places = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let bodies = self.bodies.clone().acquire_many_owned(places);
        match timeout(TURN_TIMEOUT, bodies).await {
            Ok(Ok(body)) => Ok(body),
            _ => Err(Problem::busy("too much is being sent at a time")),
        }
    }
}
