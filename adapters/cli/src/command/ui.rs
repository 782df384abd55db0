//! `ui`: the page of a running daemon, for a browser on this machine.

use std::{io, path::PathBuf};

use tokio::net::UnixStream;
use vsiflow_api::BrowserDoor;

use super::CommandOutcome;
use crate::{
    args::{Common, Server, UiArgs},
    compose, daemon,
    exit::{Exit, ExitProblem},
    output, work,
};

pub(super) async fn run(common: &Common, args: &UiArgs) -> CommandOutcome {
    let socket = socket(common)?;
    if let Err(error) = UnixStream::connect(&socket).await {
        return Err(silent(&socket, &error));
    }
    let door = BrowserDoor::open(args.port, socket).await;
    let door = door.map_err(|error| deaf(args.port, &error))?;
    output::line(&door.link());
    output::note("the link works once; the session lasts until this command is interrupted");
    tokio::select! {
        never = door.serve() => match never {},
        () = work::interrupted() => Ok(Exit::Done),
    }
}

/// The socket whose rights the page has.
fn socket(common: &Common) -> Result<PathBuf, ExitProblem> {
    match (&common.read_only, &common.server) {
        (Some(socket), _) | (None, Some(Server::Unix(socket))) => Ok(socket.clone()),
        (None, None) => Ok(daemon::socket(&compose::state_path(common)?)),
    }
}

fn silent(socket: &std::path::Path, error: &io::Error) -> ExitProblem {
    let message = format!(
        "the server at {} does not answer: {error}",
        socket.display()
    );
    let remedy = "start `vsiflow serve`, and see that this user may reach its socket";
    ExitProblem::new(Exit::Failed, "VSI0025", message, remedy)
}

fn deaf(port: u16, error: &io::Error) -> ExitProblem {
    let message = format!("nothing can be answered at 127.0.0.1:{port}: {error}");
    let remedy = "name another --port, or end the process that uses it";
    ExitProblem::new(Exit::Failed, "VSI0807", message, remedy)
}
