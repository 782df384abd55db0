//! Registry of open consoles: limits their number and ends them together.

use http::StatusCode;
use tokio_util::sync::CancellationToken;
use vsiflow_workflows::fleet::{ConsoleWay, FleetError};

use super::places::{Place, PlaceLimits, Places};
use crate::{Caller, Problem, wire};

/// The number of consoles that may be open at the same time.
const CONSOLES: PlaceLimits = PlaceLimits {
    all: 64,
    looking: 0,
    each: 32,
};

/// The open consoles.
pub(crate) struct ConsoleRegistry {
    places: Places,
    end: CancellationToken,
}

impl Default for ConsoleRegistry {
    fn default() -> Self {
        Self {
            places: Places::new(CONSOLES),
            end: CancellationToken::new(),
        }
    }
}

impl ConsoleRegistry {
    /// A permit for one more console, as long as it is held.
    pub(crate) fn place(&self, caller: &Caller) -> Result<Place, NoConsole> {
        self.places.try_take(caller).ok_or(NoConsole::Busy)
    }

    /// A token that is cancelled once all consoles must close.
    pub(crate) fn ends(&self) -> CancellationToken {
        self.end.clone()
    }

    /// Closes all consoles, and waits until the end of each is recorded.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        self.places.close().await;
    }
}

/// Error: the console was not opened.
#[derive(Debug)]
pub enum NoConsole {
    /// Too many consoles are open.
    Busy,
    /// This process is ending.
    Ends,
    /// The connection cannot be upgraded.
    Connection,
    /// A journal cannot be read.
    Unread(Problem),
    /// The error of the host or the journal.
    Failed(FleetError),
}

impl NoConsole {
    /// The problem for HTTP clients.
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

/// The problem of a request without the required `Upgrade` header.
pub(crate) fn not_changing(protocol: &str) -> Problem {
    let detail = format!("the request has to ask for `Upgrade: {protocol}`");
    Problem::wrong(StatusCode::UPGRADE_REQUIRED, detail)
}
