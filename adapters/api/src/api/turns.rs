//! Limits the number of concurrent commands, requests and connections of callers, and the memory for bodies.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::places::{Place, PlaceLimits, Places};
use crate::{Caller, Problem, listen};

/// Commands that run at the same time; further ones wait.
const COMMANDS: PlaceLimits = PlaceLimits {
    all: 64,
    looking: 48,
    each: 16,
};
/// Answers that follow something, or wait for a host, and need little work.
const FOLLOWERS: PlaceLimits = PlaceLimits {
    all: 256,
    looking: 192,
    each: 64,
};
/// Answers to others than the owner that read a whole journal.
const AUDITS: PlaceLimits = PlaceLimits {
    all: usize::MAX >> 4,
    looking: 1,
    each: 1,
};
/// Requests of the service that are answered at the same time; further ones wait.
const REQUESTS: PlaceLimits = PlaceLimits {
    all: 64,
    looking: 8,
    each: 4,
};
/// Connections of callers who showed a valid token. Together with those of unknown clients they are fewer than a
/// listener serves ([`listen::REMOTE`]), so that everybody can show a token.
const CONNECTIONS: PlaceLimits = PlaceLimits {
    all: listen::REMOTE.connections - listen::REMOTE.unknown,
    looking: 320,
    each: 96,
};
/// How long a command waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);
/// The size of all request bodies together, in KiB.
const MAX_BODIES: usize = 256 * 1024;

/// Permits for commands, and for their bodies.
pub(crate) struct Turns {
    commands: Places,
    followed: Places,
    requests: Places,
    audits: Places,
    connections: Places,
    bodies: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            commands: Places::new(COMMANDS),
            followed: Places::new(FOLLOWERS),
            requests: Places::new(REQUESTS),
            audits: Places::new(AUDITS),
            connections: Places::new(CONNECTIONS),
            bodies: Arc::new(Semaphore::new(MAX_BODIES)),
        }
    }
}

impl Turns {
    /// A permit for a command, as long as it is held.
    pub(crate) async fn command(&self, caller: &Caller) -> Result<Place, Problem> {
        turn(&self.commands, caller, "too many commands at a time").await
    }

    /// A permit for an answer that reads a whole journal for this caller alone, as long as it is held.
    pub(crate) async fn audit(&self, caller: &Caller) -> Result<Place, Problem> {
        turn(
            &self.audits,
            caller,
            "too many journals are read whole at a time",
        )
        .await
    }

    /// A permit for an answer that reads or follows something, as long as it is held.
    pub(crate) async fn reader(&self, caller: &Caller) -> Result<Place, Problem> {
        turn(&self.followed, caller, "too much is read at a time").await
    }

    /// A permit for a request of the service, until its answer is known.
    pub(crate) async fn request(&self, caller: &Caller) -> Result<Place, Problem> {
        turn(&self.requests, caller, "too many requests at a time").await
    }

    /// A permit for a connection of the caller, as long as it is open.
    pub(crate) fn connection(&self, caller: &Caller) -> Result<Place, Problem> {
        let place = self.connections.try_take(caller);
        place.ok_or_else(|| Problem::busy("too many connections of a caller at a time"))
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

/// A place of the caller, or why there was none for a minute.
async fn turn(places: &Places, caller: &Caller, why: &str) -> Result<Place, Problem> {
    match timeout(TURN_TIMEOUT, places.take(caller)).await {
        Ok(Ok(place)) => Ok(place),
        _ => Err(Problem::busy(why)),
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use vsiflow_engine::model::{Actor, Who};

    use super::*;
    use crate::Rights;

    #[test]
    fn connections_of_callers_leave_places_to_others_and_to_those_not_yet_known() {
        let turns = Turns::default();
        let named = |name: &str, rights| Caller {
            actor: Actor::Token(Who::new(name)),
            rights,
        };
        let all_of = |holder: &Caller| {
            let places = std::iter::from_fn(|| turns.connection(holder).ok());
            places.collect::<Vec<_>>()
        };
        let viewers: Vec<_> = (0..8)
            .map(|number| all_of(&named(&format!("viewer-{number}"), Rights::Look)))
            .collect();
        assert_eq!(viewers[0].len(), 96);
        assert_eq!(viewers.iter().map(Vec::len).sum::<usize>(), 320);
        let operator = all_of(&named("operator", Rights::Operate));
        assert_eq!(operator.len(), 96);
        let admin = all_of(&named("admin", Rights::Everything));
        assert_eq!(admin.len(), 32);
        let known = 320 + operator.len() + admin.len();
        assert!(known + listen::REMOTE.unknown <= listen::REMOTE.connections);
        drop(viewers);
        assert!(turns.connection(&named("viewer-9", Rights::Look)).is_ok());
    }

    #[tokio::test]
    async fn requests_of_viewers_leave_places_to_those_who_operate() {
        let turns = Turns::default();
        let named = |name: &str, rights| Caller {
            actor: Actor::Token(Who::new(name)),
            rights,
        };
        let mut held = Vec::new();
        for number in 0..8 {
            let viewer = named(&format!("viewer-{number}"), Rights::Look);
            while let Some(place) = turns.request(&viewer).now_or_never() {
                held.push(place.unwrap());
            }
        }
        assert_eq!(held.len(), REQUESTS.looking);
        let operator = named("operator", Rights::Operate);
        assert!(turns.request(&operator).now_or_never().is_some());
    }
}
