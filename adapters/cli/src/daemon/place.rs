//! Finds the daemon that a command line names, and sets time limits for its answer.

use std::{path::Path, time::Duration};

use vsiflow_api::{DaemonAddress, Token};

use crate::{
    args::{Common, Server},
    exit::{Exit, ExitProblem},
};

/// How long the process with the state directory may take to answer, or to end.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);
/// The delay before the next request.
pub(crate) const RETRY_DELAY: Duration = Duration::from_millis(50);

/// The address of the daemon that a command line names; `None` if it names none.
///
/// # Errors
/// When the daemon is remote and there is no token.
pub(crate) fn place(common: &Common) -> Result<Option<DaemonAddress>, ExitProblem> {
    match (&common.read_only, &common.server) {
        (Some(socket), _) | (None, Some(Server::Unix(socket))) => {
            Ok(Some(DaemonAddress::Socket(socket.clone())))
        }
        (None, Some(Server::Https(address))) => {
            let token = token_of_caller(common.token_file.as_deref())?;
            Ok(Some(DaemonAddress::Remote {
                address: address.clone(),
                token: Box::new(token),
            }))
        }
        (None, None) => Ok(None),
    }
}

/// The token for a remote daemon: from a file or the environment, never from an argument.
fn token_of_caller(file: Option<&Path>) -> Result<Token, ExitProblem> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| unusable(&format!("{} cannot be read: {error}", file.display())))?,
        None => std::env::var("VSIFLOW_TOKEN").map_err(|_| unusable("there is none"))?,
    };
    text.parse().map_err(|error| unusable(&format!("{error}")))
}

fn unusable(why: &str) -> ExitProblem {
    let message = format!("the token cannot be used: {why}");
    let remedy = "put a token of `vsiflow token create` into VSIFLOW_TOKEN, or into the file of --token-file";
    ExitProblem::new(Exit::Usage, "VSI0028", message, remedy)
}

/// The code if nothing answers at `--server`.
pub(crate) const SILENT: &str = "VSI0025";

pub(crate) fn silent(place: &DaemonAddress) -> ExitProblem {
    let message = format!("the server at {} does not answer", place);
    let remedy = "see that `vsiflow serve` runs there and that this user may reach its socket, or that the \
                  token is of that daemon; what \
                  became of a command that was cut off is in `vsiflow history`";
    ExitProblem::new(Exit::Failed, SILENT, message, remedy)
}

/// The code if nothing answers at a read-only socket.
pub(crate) const VIEW_SILENT: &str = "VSI0021";

/// The error if no process answers at a read-only socket.
pub(crate) fn unanswered_view_socket(socket: &Path) -> ExitProblem {
    let message = format!("no process answers at {}", socket.display());
    let remedy =
        "see that `vsiflow serve --read-only` runs, and that you are of the group of its folder";
    ExitProblem::new(Exit::Failed, VIEW_SILENT, message, remedy)
}
