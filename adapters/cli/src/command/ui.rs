//! `ui`: opens the page of a running daemon in a browser on this machine.

use std::io;

use vsiflow_api::{BrowserListener, DaemonAddress};

use crate::{
    args::{Common, UiArgs},
    compose, daemon,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, work,
};

pub(super) async fn run(common: &Common, args: &UiArgs) -> CommandOutcome {
    let place = match daemon::place(common)? {
        Some(place) => place,
        None => DaemonAddress::Socket(daemon::socket(&compose::state_path(common)?)),
    };
    if let Err(error) = place.check().await {
        return Err(silent(&place, &error));
    }
    let listener = BrowserListener::open(args.port, place).await;
    let listener = listener.map_err(|error| deaf(args.port, &error))?;
    output::line(&listener.link());
    output::note("the link works once; the session lasts until this command is interrupted");
    tokio::select! {
        never = listener.serve() => match never {},
        () = work::interrupted() => Ok(Exit::Done),
    }
}

fn silent(place: &DaemonAddress, error: &io::Error) -> ExitProblem {
    let message = format!("the server at {place} does not answer: {error}");
    let remedy = "start `vsiflow serve`, and see that this user may reach its socket";
    ExitProblem::new(Exit::Failed, "VSI0025", message, remedy)
}

fn deaf(port: u16, error: &io::Error) -> ExitProblem {
    let message = format!("nothing can be answered at 127.0.0.1:{port}: {error}");
    let remedy = "name another --port, or end the process that uses it";
    ExitProblem::new(Exit::Failed, "VSI0807", message, remedy)
}
