//! HTTP, for whoever asks a process that holds a state directory.
//!
//! From the bottom up: `listen` takes connections over TCP and bounds them, `unix` does so on a
//! socket, `tls` and `certificate` are the door. `problem` is the form of an error (RFC 9457 with the
//! documented code), `caller` who asks and what they may do, `commands` the port that a command line is
//! done by, `wire` a console's bytes. `api` is what all answers share. Over it, `v1` are the typed
//! resources and `page` shows all of it to people; `routes` and `openapi` put the resources together with
//! their description, and `router` makes services of them. `client` asks a socket, and `browser` lets one
//! person's browser to one.
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

mod api;
mod body;
mod browser;
mod caller;
mod certificate;
pub mod client;
mod commands;
mod console_session;
mod described;
mod forwarded;
mod listen;
mod openapi;
mod page;
mod place;
mod problem;
mod router;
mod routes;
mod streamed;
mod tls;
mod token;
mod unix;
mod v1;
pub mod wire;

pub use api::{Api, JournalSet, consoles::NoConsole};
pub use browser::BrowserListener;
pub use caller::{Caller, Rights};
pub use certificate::{Certificate, CertificateError};
pub use commands::{
    CallerCommand, CommandEnd, CommandFile, CommandLine, CommandNeeds, CommandOutput,
    CommandRequest, Commands,
};
pub use forwarded::{ForwardedAnswer, ForwardedRequest};
pub use listen::{API, Limits, METRICS, Peer, REMOTE, Security, serve};
pub use openapi::document;
pub use place::DaemonAddress;
pub use problem::Problem;
pub use tls::{Clients, TlsAcceptor, TlsError, acceptor};
pub use token::{InvalidToken, Token};
pub use unix::{LOOKING, OWNER, UnixLimits, UnixPeer, serve_unix};
