//! Which daemon a command line names, and how long one may be silent.

use std::{path::Path, time::Duration};

use vsiflow_api::{DaemonAddress, Token};

use crate::{
    args::{Common, Server},
    exit::{Exit, ExitProblem},
};

/// How long a holder may take to answer, or to go away.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);
/// It is asked again that soon.
pub(crate) const AGAIN: Duration = Duration::from_millis(50);

/// Where the daemon is that a command line names; none where it names none.
///
/// # Errors
/// When there is no token for one on another machine.
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

/// The token of whoever asks another machine: of a file, or of the environment, never of an argument.
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

/// Nobody answers at `--server`.
pub(crate) const SILENT: &str = "VSI0025";

pub(crate) fn silent(place: &DaemonAddress) -> ExitProblem {
    let message = format!("the server at {} does not answer", place);
    let remedy = "see that `vsiflow serve` runs there and that this user may reach its socket, or that the \
                  token is of that daemon; what \
                  became of a command that was cut off is in `vsiflow history`";
    ExitProblem::new(Exit::Failed, SILENT, message, remedy)
}
