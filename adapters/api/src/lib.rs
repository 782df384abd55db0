//! HTTP API of a process that holds a state directory.
//!
//! From the bottom up: `listen` accepts connections over TCP and limits them, `unix` does so on a
//! socket, `tls` and `certificate` secure them. `problem` is the form of an error (RFC 9457 with the
//! documented code), `caller` the caller and the caller's rights, `commands` the port that runs command
//! lines, `wire` a console's bytes. `api` is the state that all answers share. On top of it, `service` has
//! the typed requests, `v1` the resources and `page` the HTML pages; `routes` and `openapi` combine the resources
//! with their description, and `router` makes services of them. `client` sends requests to a socket, and
//! `browser` connects one person's browser to it.
//!
//! ```text
//! a connection → Peer → Caller (and the caller's rights) → a route → the fleet, or the command
//! ```
//!
//! **Limits.** Connections in total and per user, the head of a request in bytes and seconds, its body
//! in bytes and seconds, bodies of all requests together, concurrent commands. A request beyond a limit
//! is answered with a problem. An answer that follows something is pulled by its reader: a slow reader
//! has no queue here, and one that reads nothing is cut off.
//!
//! What this crate never does: decide anything about a VSI, read a file that a request names, or run a
//! command itself: that is behind the port [`Commands`].

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
mod json_body;
mod listen;
mod openapi;
mod page;
mod place;
mod placed;
mod problem;
mod refused_tokens;
mod router;
mod routes;
mod service;
mod session_right;
mod socket_path;
mod streamed;
mod tls;
mod token;
mod unix;
mod unread;
mod unread_body;
mod v1;
pub mod wire;

pub use api::{
    Api, ApiPorts, JournalSet,
    consoles::NoConsole,
    moments::{MomentError, Moments},
    places::{Place, PlaceLimits, Places},
};
pub use browser::BrowserListener;
pub use caller::{Caller, Rights};
pub use certificate::{Certificate, CertificateError};
pub use commands::{
    CallerCommand, CommandEnd, CommandLine, CommandOutput, CommandRequest, Commands, NoCommands,
};
pub use forwarded::{ForwardedAnswer, ForwardedRequest};
pub use listen::{API, Limits, METRICS, Peer, REMOTE, Security, serve};
pub use openapi::document;
pub use place::DaemonAddress;
pub use problem::Problem;
pub use refused_tokens::refused_tokens;
pub use routes::RequestLimits;
pub use service::{
    Act, ActAnswer, ActEffect, ActRequest, ActedObject, AnchorRequest, ApplyRequest, AsOf,
    AwaitedObject, AwaitedOutcome, BootEvidence, BootEvidenceRequest, BundleFile, ConsoleLogPiece,
    ConsoleLogRequest, CordonMembersRequest, DaemonError, DeleteRequest, DeletionTarget,
    DescribeRequest, DescribedObject, DiffRequest, Differences, DocumentNotes, DocumentUse,
    DocumentWork, DocumentedChange, DrawnObject, EarlierState, EventsRequest, Foreseen,
    ForeseenWork, GraphRequest, HostAct, JournalAnchor, JournalAnchors, JournalAudits, JournalPart,
    JournalUse, ListedObjects, MaintainHostRequest, NoAudits, NoDocuments, ObjectOutcome,
    ObjectOutcomes, Operation, OutcomesRequest, OverviewRequest, PlanRequest,
    PlanRestorationRequest, PlannedDocuments, PlannedRestoration, Preparation, PrunedObject,
    ReadDocuments, RebuildRequest, RebuildTarget, RefreshRequest, RefreshedHosts, RemovedEvents,
    ReplayRequest, ReplaySummary, ReplayedJournal, ReplayedJournals, Restoration,
    RestoreSnapshotRequest, RetainedOnHost, RollbackPoolRequest, ScaleRequest, SentDocuments,
    SentFile, ServiceRequest, SetAnswer, SetWork, SnapshotCopies, StoredEvidence, TableRequest,
    UnreachableHost, UnusedNetwork, VerifiedJournal, VerifiedJournals, VerifyRequest, call_daemon,
};
pub use session_right::{RightCheck, SessionRight};
pub use socket_path::SocketPath;
pub use tls::{Clients, TlsAcceptor, TlsError, acceptor};
pub use token::{InvalidToken, Token};
pub use unix::{LOOKING, OWNER, UnixLimits, UnixPeer, serve_unix};
pub use unread::UnreadBytes;
