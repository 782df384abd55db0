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
mod place;
mod server;
pub(crate) mod socket;
mod words;

pub(crate) use access::{ApiAccess, refused};
pub(crate) use client::{Forwarded, ask, ask_at, console, file, forward_to, may_forward, show};
pub(crate) use commands::{api_problem, command_line, documents_of};
pub(crate) use consent::forward_asking;
pub(crate) use place::{AGAIN, PATIENCE, SILENT, place, silent};
pub(crate) use server::{DaemonServer, api, api_of_set};
pub(crate) use socket::{is_answering, socket};
pub(crate) use words::{add_option, words};
