//! Lets several commands use one state directory: the process that has it answers for the others.
//!
//! A state directory belongs to one process at a time. A long command (an `apply` that uploads for an hour)
//! answers HTTP on a socket in the directory. A second command finds the directory in use. It sends typed requests to the
//! socket, with the documents that it has read, and prints their answers ([`crate::service`]). The few commands that are
//! no requests yet send their own command line (`POST /v1/commands`), and print the answer: the same output, the same exit code.
//!
//! The process reads none of the caller's files. If it is not a daemon, it accepts no command line that would
//! outlive its own work. Only the directory's owner can reach the socket; the read-only socket for other
//! users accepts reading commands only ([`access`]).

mod access;
mod client;
mod commands;
mod place;
mod server;
pub(crate) mod socket;
mod words;

pub(crate) use access::{ApiAccess, refused};
pub(crate) use client::{
    Forwarded, Silence, ask, ask_at, console, forward_printing, may_forward, show,
};
pub(crate) use commands::{api_problem, command_line, documents_of};
pub(crate) use place::{
    RETRY_DELAY, SILENT, TIMEOUT, VIEW_SILENT, place, silent, unanswered_view_socket,
};
pub(crate) use server::{DaemonServer, api, api_of_set, api_with};
pub(crate) use socket::{is_answering, socket};
pub(crate) use words::words;
