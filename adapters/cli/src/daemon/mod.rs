//! One state directory, several commands: who holds it answers for the others.
//!
//! A state directory has one process at a time. A command that stays (an `apply` that uploads for
//! an hour) answers HTTP on a socket in it; a second command finds the directory in use, sends its own
//! command line there (`POST /v1/commands`), and prints what comes back: the same output, the same
//! exit code. The typed resources of `/v1` are for programs.
//!
//! A daemon (`serve`) stays: it takes `apply`, too, with the documents that the caller read.
//!
//! What it never does: it reads none of the caller's files; a holder that does not stay takes no
//! command that would outlive its own work; only the directory's owner reaches the socket; and the
//! other one, for people who may look, takes nothing that does more ([`access`]).

mod access;
mod client;
mod commands;
mod consent;
mod server;

pub(crate) use access::{ApiAccess, refused};
pub(crate) use client::{Forwarded, ask, ask_at, console, forward_to, may_forward, show};
pub(crate) use commands::{command_line, given};
pub(crate) use consent::forward_asking;
pub(crate) use server::{DaemonServer, api};
use vsiflow_api::Place;

use std::path::{Path, PathBuf};

use crate::{
    args::{Common, Server},
    command::token,
    exit::ExitProblem,
};

/// Whether the holder of the state directory answers for others.
pub(crate) fn is_answering(state: &Path) -> bool {
    socket(state).exists()
}

/// Where the daemon is that a command line names; none where it names none.
///
/// # Errors
/// When there is no token for one on another machine.
pub(crate) fn place(common: &Common) -> Result<Option<Place>, ExitProblem> {
    match (&common.read_only, &common.server) {
        (Some(socket), _) | (None, Some(Server::Unix(socket))) => {
            Ok(Some(Place::Socket(socket.clone())))
        }
        (None, Some(Server::Https(address))) => {
            let token = token::of_caller(common.token_file.as_deref())?;
            Ok(Some(Place::Remote {
                address: address.clone(),
                token: Box::new(token),
            }))
        }
        (None, None) => Ok(None),
    }
}

/// The socket of a state directory.
pub(crate) fn socket(state: &Path) -> PathBuf {
    state.join("vsiflow.sock")
}
