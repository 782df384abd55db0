//! Limits the number of concurrent commands, and the memory for their bodies.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::places::{Place, PlaceLimits, Places};
use crate::{Caller, CommandNeeds, Problem};

/// Commands that run at the same time; further ones wait.
const COMMANDS: PlaceLimits = PlaceLimits {
    all: 64,
    looking: 48,
    each: 16,
};
/// Commands that follow something and do little work.
const FOLLOWERS: PlaceLimits = PlaceLimits {
    all: 256,
    looking: 192,
    each: 64,
};
/// Commands of others than the owner that read a whole journal.
const AUDITS: PlaceLimits = PlaceLimits {
    all: usize::MAX >> 4,
    looking: 1,
    each: 1,
};
/// How long a command waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);
/// The size of all request bodies together, in KiB.
const MAX_BODIES: usize = 256 * 1024;

/// Permits for commands, and for their bodies.
pub(crate) struct Turns {
    commands: Places,
    followed: Places,
    audits: Places,
    bodies: Arc<Semaphore>,
}

/// A command's turn, as long as it is held.
pub(crate) struct CommandPlace {
    _audit: Option<Place>,
    _place: Place,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            commands: Places::new(COMMANDS),
            followed: Places::new(FOLLOWERS),
            audits: Places::new(AUDITS),
            bodies: Arc::new(Semaphore::new(MAX_BODIES)),
        }
    }
}

impl Turns {
    /// A permit for a command, as long as it is held.
    pub(crate) async fn acquire(
        &self,
        caller: &Caller,
        about: CommandNeeds,
    ) -> Result<CommandPlace, Problem> {
        let places = if about.follows {
            &self.followed
        } else {
            &self.commands
        };
        let taken = async {
            let audit = if about.audits {
                Some(self.audits.take(caller).await?)
            } else {
                None
            };
            let place = places.take(caller).await?;
            Ok::<_, AcquireError>(CommandPlace {
                _audit: audit,
                _place: place,
            })
        };
        match timeout(TURN_TIMEOUT, taken).await {
            Ok(Ok(turn)) => Ok(turn),
            _ => Err(Problem::busy("too many commands at a time")),
        }
    }

    /// A permit for an answer that reads or follows something, as long as it is held.
    pub(crate) async fn reader(&self, caller: &Caller) -> Result<Place, Problem> {
        match timeout(TURN_TIMEOUT, self.followed.take(caller)).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Problem::busy("too much is read at a time")),
        }
    }

    /// A permit for a body of `length` bytes, as long as it is held. Only those who may do everything send
    /// large ones.
    pub(crate) async fn body(&self, length: u64) -> Result<OwnedSemaphorePermit, Problem> {
        let places = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
        let bodies = self.bodies.clone().acquire_many_owned(places);
        match timeout(TURN_TIMEOUT, bodies).await {
            Ok(Ok(body)) => Ok(body),
            _ => Err(Problem::busy("too much is being sent at a time")),
        }
    }
}
