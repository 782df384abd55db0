//! An open console or screen: a task that runs from the record of its opening to the record of its end.
//!
//! Its bytes go over an upgraded HTTP connection, or over two queues for a client that types and reads
//! with separate requests. Its end is always recorded; `Api::end_consoles` closes all of them.
//!
//! **Limits.** A few pieces of bytes wait in each direction, so a side that does not read blocks the
//! other. A console without activity stays open, for an hour at most, and as long as its caller's right lasts.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use http::Extensions;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use vsiflow_engine::executor::By;
use vsiflow_workflows::fleet::{
    ConsoleAccess, ConsoleNote, ConsoleWay, Fleet, FleetError, OpenConsole,
};

use crate::{
    Caller, JournalSet, NoConsole, Problem, Rights,
    api::{Api, places::Place},
    session_right::SessionRight,
    wire,
};

/// How long the caller may take to upgrade the connection.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Who opens a console, and how.
pub(crate) struct ConsoleOpening {
    pub(crate) way: ConsoleWay,
    /// Whether to close the console of whoever has it open.
    force: bool,
    caller: Caller,
    by: By,
    right: SessionRight,
}

impl ConsoleOpening {
    pub(crate) fn of(way: ConsoleWay, force: bool, caller: &Caller, right: SessionRight) -> Self {
        Self {
            way,
            force,
            by: caller.by(""),
            caller: caller.clone(),
            right,
        }
    }
}

/// The destination of a console's bytes.
pub(crate) enum ConsoleLine {
    /// A connection that is upgraded.
    Connection(OnUpgrade),
    /// Queues whose other ends a client uses.
    Queues(mpsc::Receiver<Bytes>, mpsc::Sender<Bytes>),
}

impl Api {
    /// Opens a VSI's console for another front end, which knows the caller and sends the upgrade
    /// response itself; `connection` are the extensions of the request.
    ///
    /// # Errors
    /// If it cannot be opened; the attempt is recorded then, if that is possible.
    pub async fn open_console(
        &self,
        target: (&str, &str),
        (force, by): (bool, By),
        mut connection: Extensions,
    ) -> Result<(), NoConsole> {
        let upgrade = connection.remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or(NoConsole::Connection)?;
        let opening = ConsoleOpening {
            way: ConsoleWay::Serial,
            force,
            caller: Caller {
                actor: by.actor.clone(),
                rights: Rights::Operate,
            },
            by,
            right: connection.remove().unwrap_or_default(),
        };
        begin(self, target, opening, ConsoleLine::Connection(upgrade)).await
    }
}

/// Opens the serial console for a client that types and reads with separate requests: what is sent to
/// the first channel is typed, and the second one receives the output. It is closed once either is
/// dropped.
pub(crate) async fn open_queued(
    api: &Api,
    target: (&str, &str),
    opening: ConsoleOpening,
) -> Result<(mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>), Problem> {
    let way = opening.way;
    stays(api, way, target)?;
    let (typed, keys) = wire::queue();
    let (shown, show) = wire::queue();
    let line = ConsoleLine::Queues(keys, shown);
    let opened = begin(api, target, opening, line).await;
    opened.map_err(|why| why.into_problem(way))?;
    Ok((typed, show))
}

/// Refuses a console if this process does not stay: it would cut the console off.
pub(crate) fn stays(api: &Api, way: ConsoleWay, (_, name): (&str, &str)) -> Result<(), Problem> {
    let words = ["vsiflow", way.as_str(), name].map(str::to_owned);
    api.commands().check(&words)
}

/// Returns once the console is open; a separate task carries its bytes.
pub(crate) async fn begin(
    api: &Api,
    (namespace, name): (&str, &str),
    opening: ConsoleOpening,
    line: ConsoleLine,
) -> Result<(), NoConsole> {
    let place = api.consoles().place(&opening.caller)?;
    let fleets = api.fleets().await.map_err(NoConsole::Unread)?;
    let fleet = fleets.that_has(namespace, name).await;
    let fleet = fleet.map_err(NoConsole::Failed)?;
    let access = fleet.vsis().console(namespace, name, opening.way).await;
    let journal = match (api.set(), fleets.number_of(fleet)) {
        (Some(set), Some(number)) => ConsoleJournal::OfSet(set.clone(), number),
        _ => ConsoleJournal::Own(Box::new(fleet.clone())),
    };
    let session = ConsoleSession {
        journal,
        access: access.map_err(NoConsole::Failed)?,
        by: opening.by,
        right: opening.right,
        end: api.consoles().ends(),
        _place: place,
    };
    let (opened, answer) = oneshot::channel();
    api.tasks().spawn(session.run(opening.force, line, opened));
    match answer.await {
        Ok(begun) => begun.map_err(NoConsole::Failed),
        Err(_) => Err(NoConsole::Ends),
    }
}

/// The journal that records the opening and closing of a console.
enum ConsoleJournal {
    Own(Box<Fleet>),
    /// The journal with that number of a set; the process that has it records.
    OfSet(Arc<dyn JournalSet>, u16),
}

impl ConsoleJournal {
    async fn note(&self, note: ConsoleNote, by: By) -> Result<(), FleetError> {
        match self {
            Self::Own(fleet) => fleet.vsis().note_console(&note, by).await,
            Self::OfSet(set, number) => set.note_console(*number, note, by).await,
        }
    }
}

/// One console, from the record of its opening to that of its end.
struct ConsoleSession {
    journal: ConsoleJournal,
    access: ConsoleAccess,
    by: By,
    right: SessionRight,
    end: CancellationToken,
    _place: Place,
}

impl ConsoleSession {
    async fn run(
        self,
        force: bool,
        line: ConsoleLine,
        opened: oneshot::Sender<Result<(), FleetError>>,
    ) {
        let noted = self
            .journal
            .note(self.access.opened(force), self.by.clone());
        if let Err(error) = noted.await {
            drop(opened.send(Err(error)));
            return;
        }
        let why = match self.access.open(force).await {
            Ok(console) => match opened.send(Ok(())) {
                Ok(()) => self.carry(console, line).await,
                Err(_) => "its caller went away".to_owned(),
            },
            Err(error) => {
                let why = error.to_string();
                drop(opened.send(Err(error)));
                why
            }
        };
        let closed = self.journal.note(self.access.closed(&why), self.by);
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the end of a console is not recorded");
        }
    }

    /// Carries bytes to the end. Returns why it ended, empty if a side closed it.
    async fn carry(&self, console: OpenConsole, line: ConsoleLine) -> String {
        let carried = async {
            match line {
                ConsoleLine::Connection(upgrade) => changed_over(console, upgrade).await,
                ConsoleLine::Queues(keys, shown) => queued(console, keys, shown).await,
            }
        };
        tokio::select! {
            why = carried => why,
            why = self.right.ended() => why,
            () = self.end.cancelled() => "the daemon ended".to_owned(),
        }
    }
}

async fn changed_over(console: OpenConsole, upgrade: OnUpgrade) -> String {
    let stream = match timeout(UPGRADE_TIMEOUT, upgrade).await {
        Ok(Ok(stream)) => TokioIo::new(stream),
        _ => return "its caller did not change over".to_owned(),
    };
    let (typed, keys) = wire::queue();
    let (shown, show) = wire::queue();
    let (carried, ()) = tokio::join!(
        console.carry(keys, shown),
        wire::both_ways(stream, typed, show)
    );
    why(carried)
}

async fn queued(
    console: OpenConsole,
    keys: mpsc::Receiver<Bytes>,
    shown: mpsc::Sender<Bytes>,
) -> String {
    // A reader that dropped its queue has left; this notices it even if the guest writes nothing.
    let left = shown.clone();
    tokio::select! {
        carried = console.carry(keys, shown) => why(carried),
        () = left.closed() => String::new(),
    }
}

fn why(carried: Result<(), FleetError>) -> String {
    carried
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}
