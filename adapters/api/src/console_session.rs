//! An open console or screen: a task of its own from the record of its opening to that of its end.
//!
//! Its bytes go over a connection that changes from HTTP to them, or to and from two queues, for whoever
//! types and reads by requests of their own. Whatever ended it, its end is recorded;
//! `Api::end_consoles` closes all of them.
//!
//! **Bounds.** A few pieces of bytes each way, so that a side that reads nothing holds up the other. A
//! console at which nothing happens stays open.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use http::Extensions;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use vsiflow_engine::executor::By;
use vsiflow_workflows::fleet::{
    ConsoleAccess, ConsoleNote, ConsoleWay, Fleet, FleetError, OpenConsole,
};

use crate::{JournalSet, NoConsole, Problem, api::Api, wire};

/// How long the caller may take to change over.
const CHANGING: Duration = Duration::from_secs(10);

/// Where the bytes of a console go.
pub(crate) enum ConsoleLine {
    /// To a connection that changes over.
    Connection(OnUpgrade),
    /// To whoever is at the other ends.
    Queues(mpsc::Receiver<Bytes>, mpsc::Sender<Bytes>),
}

impl Api {
    /// Opens a VSI's console for a front end of its own, which knows who asks and answers that the
    /// connection changes over; `connection` are the extensions of the request.
    ///
    /// # Errors
    /// When there is none; that it was asked for is recorded then, where it could be.
    pub async fn open_console(
        &self,
        target: (&str, &str),
        how: (bool, By),
        mut connection: Extensions,
    ) -> Result<(), NoConsole> {
        let upgrade = connection.remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or(NoConsole::Connection)?;
        let how = (ConsoleWay::Serial, how.0, how.1);
        begin(self, target, how, ConsoleLine::Connection(upgrade)).await
    }
}

/// Opens the serial console for whoever types and reads by requests of their own: what is sent is
/// typed, and what is received is shown. It is closed once either is dropped.
pub(crate) async fn open_queued(
    api: &Api,
    target: (&str, &str),
    force: bool,
    by: By,
) -> Result<(mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>), Problem> {
    let way = ConsoleWay::Serial;
    stays(api, way, target)?;
    let (typed, keys) = wire::queue();
    let (shown, show) = wire::queue();
    let line = ConsoleLine::Queues(keys, shown);
    let opened = begin(api, target, (way, force, by), line).await;
    opened.map_err(|why| why.into_problem(way))?;
    Ok((typed, show))
}

/// A holder that does not stay would cut a console off.
pub(crate) fn stays(api: &Api, way: ConsoleWay, (_, name): (&str, &str)) -> Result<(), Problem> {
    let words = ["vsiflow", way.as_str(), name].map(str::to_owned);
    api.commands().about(&words).map(drop)
}

/// Returns once the console is open; its bytes are carried by a task of its own.
pub(crate) async fn begin(
    api: &Api,
    (namespace, name): (&str, &str),
    (way, force, by): (ConsoleWay, bool, By),
    line: ConsoleLine,
) -> Result<(), NoConsole> {
    let place = api.consoles().place()?;
    let fleets = api.fleets().await.map_err(NoConsole::Unread)?;
    let fleet = fleets.that_has(namespace, name).await;
    let fleet = fleet.map_err(NoConsole::Failed)?;
    let access = fleet.vsis().console(namespace, name, way).await;
    let journal = match (api.set(), fleets.number_of(fleet)) {
        (Some(set), Some(number)) => ConsoleJournal::OfSet(set.clone(), number),
        _ => ConsoleJournal::Own(Box::new(fleet.clone())),
    };
    let session = ConsoleSession {
        journal,
        access: access.map_err(NoConsole::Failed)?,
        by,
        end: api.consoles().ends(),
        _place: place,
    };
    let (opened, answer) = oneshot::channel();
    api.tasks().spawn(session.run(force, line, opened));
    match answer.await {
        Ok(begun) => begun.map_err(NoConsole::Failed),
        Err(_) => Err(NoConsole::Ends),
    }
}

/// Who records that a console is opened and closed.
enum ConsoleJournal {
    Own(Box<Fleet>),
    /// The process of a set that has the journal of that number.
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
    end: CancellationToken,
    _place: OwnedSemaphorePermit,
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

    /// Carries bytes to the end; why it ended, where nobody left.
    async fn carry(&self, console: OpenConsole, line: ConsoleLine) -> String {
        let carried = async {
            match line {
                ConsoleLine::Connection(upgrade) => changed_over(console, upgrade).await,
                ConsoleLine::Queues(keys, shown) => queued(console, keys, shown).await,
            }
        };
        tokio::select! {
            why = carried => why,
            () = self.end.cancelled() => "the daemon ended".to_owned(),
        }
    }
}

async fn changed_over(console: OpenConsole, upgrade: OnUpgrade) -> String {
    let stream = match timeout(CHANGING, upgrade).await {
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
    // Whoever does not read any more has left, also where the guest says nothing.
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
