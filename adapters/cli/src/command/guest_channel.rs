//! `console` and `vnc`: opens a guest's console or screen, here or through the process that has the state
//! directory.
//!
//! Without a daemon the state directory is locked only to record the opening and the closing, so that an open
//! console does not block other commands. If a daemon has the state directory, the console goes through its
//! socket, and the daemon records both. In a set of journals the holder of the VSI's journal records both.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use vsiflow_api::DaemonAddress;
use vsiflow_workflows::fleet::{ConsoleAccess, ConsoleWay};

use super::{console, vnc};
use crate::{
    actor,
    args::{Common, ConsoleArgs, TargetArg, VncArgs},
    compose::{self, App, console_marks::OpenMark},
    daemon::{self, RETRY_DELAY, TIMEOUT},
    exit::{CommandOutcome, Exit, ExitProblem, IN_USE},
    membership::SetPlace,
    output,
    shards::consoles,
    terminal,
    user_file::unwritable,
    work,
};

/// How long to wait for the state directory before the closing remains unrecorded.
const RECORDING: Duration = Duration::from_secs(20);

/// Opens a VSI's serial console on the user's terminal.
pub(super) async fn console(common: &Common, args: &ConsoleArgs) -> CommandOutcome {
    if App::held().is_none() {
        terminal::check(args.stdin)?;
    }
    open(common, GuestChannel::Console(args)).await
}

/// Opens a VSI's screen at a port of this machine.
pub(super) async fn screen(common: &Common, args: &VncArgs) -> CommandOutcome {
    open(common, GuestChannel::Screen(args)).await
}

/// The kind of connection to a guest.
#[derive(Clone, Copy)]
enum GuestChannel<'a> {
    Console(&'a ConsoleArgs),
    Screen(&'a VncArgs),
}

impl<'a> GuestChannel<'a> {
    fn way(self) -> ConsoleWay {
        match self {
            Self::Console(_) => ConsoleWay::Serial,
            Self::Screen(_) => ConsoleWay::Vnc,
        }
    }

    fn target(self) -> &'a TargetArg {
        match self {
            Self::Console(args) => &args.target,
            Self::Screen(args) => &args.target,
        }
    }

    fn force(self) -> bool {
        matches!(self, Self::Console(args) if args.force)
    }

    /// Uses the recorded connection until it ends.
    async fn with(self, access: &ConsoleAccess) -> CommandOutcome {
        match self {
            Self::Console(args) => console::here(access, args).await,
            Self::Screen(args) => vnc::here(access, args).await,
        }
    }

    /// Opens it through a daemon; `None` if none answers at that address.
    async fn through(self, place: &DaemonAddress) -> Option<CommandOutcome> {
        match self {
            Self::Console(args) => console::through(place, args).await,
            Self::Screen(args) => vnc::through(place, args).await,
        }
    }
}

/// Opens a connection to a guest, here or through the process that has the state directory.
async fn open(common: &Common, channel: GuestChannel<'_>) -> CommandOutcome {
    if App::held().is_some() {
        let (message, word) = ("it needs a connection of its own", channel.way().as_str());
        let remedy =
            format!("ask for `POST …/virtualservers/NAME/{word}`; see docs/reference/daemon.md");
        return Err(ExitProblem::new(Exit::Usage, "VSI0022", message, &remedy));
    }
    if let Some(place) = &common.set {
        return of_set(common, place, channel).await;
    }
    if let Some(place) = daemon::place(common)? {
        return match channel.through(&place).await {
            Some(done) => done,
            None => Err(console::silent(&place, channel.way())),
        };
    }
    let until = Instant::now() + TIMEOUT;
    loop {
        let problem = match here(common, channel).await {
            Err(problem) if problem.code == IN_USE => problem,
            done => return done,
        };
        let place = DaemonAddress::Socket(daemon::socket(&compose::state_path(common)?));
        match channel.through(&place).await {
            Some(done) => return done,
            None if Instant::now() < until => sleep(RETRY_DELAY).await,
            None => return Err(problem),
        }
    }
}

async fn here(common: &Common, channel: GuestChannel<'_>) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let noted = note_opened(&app, channel).await;
    // Released here, so that an open console does not block other commands.
    app.close().await;
    let (access, mark) = noted?;
    let done = channel.with(&access).await;
    let why = done.as_ref().err().map_or("", |problem| &problem.message);
    note_closed(common, (&access, mark), channel.way(), why).await;
    done
}

/// Opens it in a set: the journal of the VSI records it, and this process contacts the host.
async fn of_set(common: &Common, place: &SetPlace, channel: GuestChannel<'_>) -> CommandOutcome {
    let target = channel.target();
    let (namespace, name) = (&target.namespace, target.name());
    let journal = consoles::journal(place, common, (namespace, &name)).await?;
    let app = App::open_to_read_at(&place.member(common, journal, None)).await?;
    let access = app.fleet.vsis().console(namespace, &name, channel.way());
    let access = access.await;
    app.close().await;
    let access = access?;
    let by = actor::by("");
    consoles::note(
        &place.set,
        journal,
        access.opened(channel.force()),
        by.clone(),
    )
    .await?;
    let done = channel.with(&access).await;
    let why = done.as_ref().err().map_or("", |problem| &problem.message);
    let closed = consoles::note(&place.set, journal, access.closed(why), by);
    if let Err(problem) = closed.await {
        unrecorded(channel.way(), &problem);
    }
    done
}

async fn note_opened(
    app: &App,
    channel: GuestChannel<'_>,
) -> Result<(ConsoleAccess, OpenMark), ExitProblem> {
    let (fleet, target, way) = (&app.fleet, channel.target(), channel.way());
    let name = target.name();
    let access = fleet.vsis().console(&target.namespace, &name, way).await?;
    let (state, vsi) = (app.state_path().to_owned(), access.uuid());
    // Before the record: an end without a beginning says less than a beginning without an end.
    let mark = work::off_runtime(move || OpenMark::make(&state, vsi, way)).await?;
    let mark = mark.map_err(|error| unwritable(app.state_path(), &error))?;
    let by = actor::by("");
    let note = access.opened(channel.force());
    match fleet.vsis().note_console(&note, by).await {
        Ok(()) => Ok((access, mark)),
        Err(error) => {
            mark.remove();
            Err(error.into())
        }
    }
}

/// Records the end, as soon as no other process has the state directory.
async fn note_closed(
    common: &Common,
    (access, mark): (&ConsoleAccess, OpenMark),
    way: ConsoleWay,
    why: &str,
) {
    let until = Instant::now() + RECORDING;
    let problem = loop {
        match App::open_to_record(common).await {
            Ok(app) => {
                let fleet = &app.fleet;
                let note = access.closed(why);
                match fleet.vsis().note_console(&note, actor::by("")).await {
                    Ok(()) => {
                        mark.remove();
                        app.close().await;
                        return;
                    }
                    Err(error) => {
                        app.close().await;
                        break error.into();
                    }
                }
            }
            Err(problem) if problem.code == IN_USE && Instant::now() < until => {
                sleep(RETRY_DELAY).await;
            }
            Err(problem) => break problem,
        }
    };
    unrecorded(way, &problem);
}

fn unrecorded(way: ConsoleWay, problem: &ExitProblem) {
    let ExitProblem { code, message, .. } = problem;
    let word = way.as_str();
    output::warning(&format!(
        "that the {word} is closed is not recorded: {message} ({code})"
    ));
}
