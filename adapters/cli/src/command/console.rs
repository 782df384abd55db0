//! `console`: a VSI's serial console on the caller's terminal.
//!
//! Without a daemon the state directory is held only to record the opening and the closing, so that
//! an open console keeps nobody out. Where a daemon holds it, the console goes through its socket,
//! and the daemon records both.

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use vsiflow_api::{Place, wire};
use vsiflow_workflows::fleet::{ConsoleAccess, OpenConsole};

use super::{AGAIN, CommandOutcome, IN_USE, PATIENCE};
use crate::{
    actor,
    args::{Common, ConsoleArgs},
    compose::{self, App},
    daemon,
    exit::{Exit, ExitProblem},
    output,
    terminal::{self, RawTerminal},
};

/// How long others may hold the state directory before the closing stays unrecorded.
const RECORDING: Duration = Duration::from_secs(20);

pub(super) async fn run(common: &Common, args: &ConsoleArgs) -> CommandOutcome {
    if App::held().is_some() {
        let message = "a console needs a connection of its own";
        let remedy = "ask for `POST …/virtualservers/NAME/console`; see docs/reference/daemon.md";
        return Err(ExitProblem::new(Exit::Usage, "VSI0022", message, remedy));
    }
    terminal::check(args.stdin)?;
    if let Some(place) = daemon::place(common)? {
        return match through(&place, args).await {
            Some(done) => done,
            None => Err(silent(&place)),
        };
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let problem = match here(common, args).await {
            Err(problem) if problem.code == IN_USE => problem,
            done => return done,
        };
        let place = Place::Socket(daemon::socket(&compose::state_path(common)?));
        match through(&place, args).await {
            Some(done) => return done,
            None if Instant::now() < until => sleep(AGAIN).await,
            None => return Err(problem),
        }
    }
}

/// By a daemon, which answers there; none where nobody does.
async fn through(place: &Place, args: &ConsoleArgs) -> Option<CommandOutcome> {
    let name = args.target.name();
    let target = (args.target.namespace.as_str(), name.as_str());
    let stream = match daemon::console(place, target, args.force).await? {
        Ok(stream) => stream,
        Err(problem) => return Some(Err(problem)),
    };
    let carry = async |keys, said| {
        wire::both_ways(stream, said, keys).await;
        Ok(())
    };
    Some(converse(&name, carry).await)
}

async fn here(common: &Common, args: &ConsoleArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let noted = note_opened(&app, args).await;
    // Whoever has a console open keeps nobody from the state directory.
    app.close().await;
    let access = noted?;
    let done = match access.open(args.force).await {
        Ok(console) => talk(console, args).await,
        Err(error) => Err(error.into()),
    };
    let why = done.as_ref().err().map_or("", |problem| &problem.message);
    note_closed(common, &access, why).await;
    done
}

async fn talk(console: OpenConsole, args: &ConsoleArgs) -> CommandOutcome {
    let carry = async |keys, said| console.carry(keys, said).await.map_err(ExitProblem::from);
    converse(&args.target.name(), carry).await
}

async fn note_opened(app: &App, args: &ConsoleArgs) -> Result<ConsoleAccess, ExitProblem> {
    let fleet = &app.fleet;
    let name = args.target.name();
    let access = fleet.console(&args.target.namespace, &name).await?;
    let by = actor::by("");
    fleet.note_console_opened(&access, args.force, by).await?;
    Ok(access)
}

/// Records the end, as soon as others let go of the state directory.
async fn note_closed(common: &Common, access: &ConsoleAccess, why: &str) {
    let until = Instant::now() + RECORDING;
    let problem = loop {
        match App::open_to_record(common).await {
            Ok(app) => {
                let fleet = &app.fleet;
                let noted = fleet.note_console_closed(access, why, actor::by("")).await;
                app.close().await;
                match noted {
                    Ok(()) => return,
                    Err(error) => break error.into(),
                }
            }
            Err(problem) if problem.code == IN_USE && Instant::now() < until => sleep(AGAIN).await,
            Err(problem) => break problem,
        }
    };
    let ExitProblem { code, message, .. } = problem;
    output::warning(&format!(
        "that the console is closed is not recorded: {message} ({code})"
    ));
}

/// Lends the terminal to a guest, until one of them ends it.
async fn converse(
    name: &str,
    carry: impl AsyncFnOnce(mpsc::Receiver<Bytes>, mpsc::Sender<Bytes>) -> Result<(), ExitProblem>,
) -> CommandOutcome {
    let (typed, keys) = wire::queue();
    let (said, show) = wire::queue();
    let raw = RawTerminal::begin().map_err(ExitProblem::defect)?;
    if raw.is_some() {
        output::raw_note(format!("console of {name}: ^] leaves it\r\n").as_bytes());
    }
    terminal::keys(typed);
    let talk = async {
        let (carried, ()) = tokio::join!(carry(keys, said), terminal::show(show));
        carried
    };
    let done = tokio::select! {
        carried = talk => carried.map(|()| Exit::Done),
        () = terminal::ended() => Ok(Exit::Interrupted),
    };
    let was_raw = raw.is_some();
    drop(raw);
    if was_raw {
        output::raw_note(b"\r\n");
        output::note(&format!("the console of {name} is closed"));
    }
    done
}

fn silent(place: &Place) -> ExitProblem {
    let message = format!("no daemon at {} opens a console", place);
    let remedy = "see that `vsiflow serve` runs there and that this user may reach its socket";
    ExitProblem::new(Exit::Failed, "VSI0025", message, remedy)
}
