//! How many consoles are open, and their common end.

use std::sync::Arc;

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use vsiflow_workflows::fleet::{ConsoleWay, FleetError};

use crate::{Problem, wire};

/// Consoles at a time.
const AT_A_TIME: u32 = 64;

/// The consoles that are open.
pub(crate) struct ConsoleRegistry {
    places: Arc<Semaphore>,
    end: CancellationToken,
}

impl Default for ConsoleRegistry {
    fn default() -> Self {
        let places = Semaphore::new(AT_A_TIME as usize);
        Self {
            places: Arc::new(places),
            end: CancellationToken::new(),
        }
    }
}

impl ConsoleRegistry {
    /// A place for one more, as long as it is held.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, NoConsole> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| NoConsole::Busy)
    }

    /// Cancelled once all of them are to close.
    pub(crate) fn ends(&self) -> CancellationToken {
        self.end.clone()
    }

    /// Closes all of them, and waits until each end is recorded.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        let _ = self.places.acquire_many(AT_A_TIME).await;
        self.places.close();
    }
}

/// Why there is no console.
#[derive(Debug)]
pub enum NoConsole {
    /// Too many are open.
    Busy,
    /// This process ends.
    Ends,
    /// The connection cannot change over.
    Connection,
    /// A journal cannot be looked at.
    Unread(Problem),
    /// The host, or the journal, says so.
    Failed(FleetError),
}

impl NoConsole {
    /// As whoever asked over HTTP is told.
    pub(crate) fn into_problem(self, way: ConsoleWay) -> Problem {
        match self {
            Self::Busy => Problem::busy("too many consoles are open"),
            Self::Ends => Problem::busy("this process ends"),
            Self::Connection => not_changing(wire::protocol(way)),
            Self::Unread(problem) => problem,
            Self::Failed(error) => error.into(),
        }
    }
}

/// The request does not ask for what its connection has to change to.
pub(crate) fn not_changing(protocol: &str) -> Problem {
    let detail = format!("the request has to ask for `Upgrade: {protocol}`");
    Problem::wrong(StatusCode::UPGRADE_REQUIRED, detail)
}
