//! HTTP, for whoever asks a process that holds a state directory.
//!
//! From the bottom up: `listen` takes connections over TCP and bounds them, `unix` does so on a
//! socket, `tls` and `certificate` are the door. `problem` is how an error is told (RFC 9457 with the
//! documented code), `caller` who asks and what they may do. `v1` are the typed resources over the
//! fleet, `commands` the one resource that runs a command line with its output as it comes, and
//! `openapi` their description, made from the routes themselves. `page` shows all of it to people. `wire` carries a
//! console's bytes. `client` asks a socket, and `browser` lets
//! one person's browser to one.
//!
//! ```text
//! a connection → Peer → Caller (who, and what they may do) → a route → the fleet, or the command
//! ```
//!
//! **Bounds.** Connections in all and of each user, the head of a request in bytes and seconds, its
//! body in bytes and seconds, bodies of all requests together, commands at a time. Whoever finds no
//! place is told so by a problem. An answer that follows something is pulled by its reader: one that
//! reads slowly has no queue here, and one that reads nothing is cut off.
//!
//! What this crate never does: decide anything of a VSI, read a file that a request names, or run a
//! command itself: what that comes to is behind the port [`Commands`].

mod browser;
mod caller;
mod certificate;
pub mod client;
mod commands;
mod described;
mod listen;
mod moments;
mod openapi;
mod page;
mod place;
mod problem;
mod router;
mod tls;
mod token;
mod unix;
mod v1;
pub mod wire;

pub use browser::BrowserDoor;
pub use caller::{Caller, Rights};
pub use certificate::{Certificate, CertificateError};
pub use commands::{
    About, CallerCommand, CommandEnd, CommandFile, CommandLine, CommandOutput, CommandRequest,
    Commands,
};
pub use listen::{API, Limits, METRICS, Peer, REMOTE, Security, serve};
pub use openapi::document;
pub use place::Place;
pub use problem::Problem;
pub use router::Api;
pub use tls::{Clients, TlsAcceptor, TlsError, acceptor};
pub use token::{InvalidToken, Token};
pub use unix::{LOOKING, OWNER, UnixLimits, UnixPeer, serve_unix};
pub use v1::NoConsole;
