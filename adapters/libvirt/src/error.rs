//! What can go wrong with a call, told apart by what it says about the host.
//!
//! Three questions decide what a caller may do next. Did libvirt itself answer
//! ([`Error::Libvirt`])? If not, is it certain that nothing was asked of it ([`Error::NotSent`]), so
//! that asking again is harmless? Or may it have acted without our hearing of it
//! ([`Error::OutcomeUnknown`]), so that the next step is to look?

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::connect_error::ConnectError;
use crate::protocol::{Procedure, Uuid};
use crate::xdr::{self, XdrError};

/// The result of everything that speaks to a host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something asked of a host did not come back with a result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libvirt answered with an error of its own.
    #[error(transparent)]
    Libvirt(#[from] Box<LibvirtError>),
    /// Nothing reached libvirt: asking again is harmless.
    #[error("{procedure} was not sent: {cause}")]
    NotSent {
        /// What was to be called.
        procedure: Procedure,
        /// Why it was not.
        cause: Cause,
    },
    /// The call was written, or part of it, but no reply was seen: libvirt may have acted on it, or
    /// may still be doing so. Look before asking again.
    #[error("the outcome of {procedure} is unknown: {cause}")]
    OutcomeUnknown {
        /// What was called.
        procedure: Procedure,
        /// Why no reply was seen.
        cause: Cause,
    },
    /// libvirt replied, thus acted, but the reply is not what the protocol says.
    #[error("the reply to {procedure} is malformed: {error}")]
    BadReply {
        /// What was called.
        procedure: Procedure,
        /// What is wrong with the reply.
        error: XdrError,
    },
    /// The arguments have no form on the wire, e.g. XML of more than 4 MiB; nothing was sent.
    #[error("{procedure} cannot be sent: {error}")]
    BadArguments {
        /// What was to be called.
        procedure: Procedure,
        /// What is wrong with the arguments.
        error: XdrError,
    },
    /// There is no connection, and none could be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Why a call found no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// Its time was up.
    #[error("no reply within {0:?}")]
    TimedOut(Duration),
    /// The connection ended first.
    #[error("{0}")]
    Closed(CloseReason),
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// This side closed it.
    #[error("the connection was closed")]
    ByUs,
    /// The peer closed it, e.g. because libvirtd ended.
    #[error("libvirt closed the connection")]
    ByPeer,
    /// Reading or writing failed.
    #[error("the connection broke: {0}")]
    Io(String),
    /// The peer stopped answering.
    #[error("libvirt was silent for {0:?}")]
    Silent(Duration),
    /// The peer sent what the protocol does not allow.
    #[error("libvirt broke the protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// libvirt's own error, where it answered with one.
    #[must_use]
    pub fn libvirt(&self) -> Option<&LibvirtError> {
        match self {
            Self::Libvirt(error) => Some(error),
            _ => None,
        }
    }

    /// libvirt's error code, where it answered with an error.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.libvirt().map(|error| error.code)
    }

    /// Whether libvirt said that a thing does not exist. Every other failure, time-outs and broken
    /// connections among them, says nothing about existence.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.libvirt().is_some_and(|error| error.absent().is_some())
    }

    /// Whether the host may have acted although no reply was seen.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. } | Self::BadReply { .. })
    }
}

/// An error as libvirt reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibvirtError {
    /// What was called.
    pub procedure: Procedure,
    /// `virErrorNumber`; see [`code`].
    pub code: i32,
    /// `virErrorDomain`: the part of libvirt that reports it.
    pub domain: i32,
    /// `virErrorLevel`: 1 is a warning, 2 an error.
    pub level: i32,
    /// libvirt's message; may carry QEMU's standard error and paths on the host.
    pub message: String,
}

/// Which kind of thing libvirt says does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// No such domain ([`code::NO_DOMAIN`]).
    Domain,
    /// No such network ([`code::NO_NETWORK`]).
    Network,
    /// No such storage pool ([`code::NO_STORAGE_POOL`]).
    Pool,
    /// No such storage volume ([`code::NO_STORAGE_VOL`]).
    Volume,
}

impl LibvirtError {
    /// What, if anything, this error says does not exist.
    #[must_use]
    pub fn absent(&self) -> Option<Absent> {
        match self.code {
            code::NO_DOMAIN => Some(Absent::Domain),
            code::NO_NETWORK => Some(Absent::Network),
            code::NO_STORAGE_POOL => Some(Absent::Pool),
            code::NO_STORAGE_VOL => Some(Absent::Volume),
            _ => None,
        }
    }

    /// Reads an error reply's payload.
    pub(crate) fn decode(procedure: Procedure, payload: &[u8]) -> Result<Self, XdrError> {
        let wire: WireError = xdr::from_bytes(payload)?;
        Ok(Self {
            procedure,
            code: wire.code,
            domain: wire.domain,
            level: wire.level,
            message: wire.message.unwrap_or_default(),
        })
    }
}

impl fmt::Display for LibvirtError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} (libvirt error {})",
            self.procedure, self.message, self.code
        )
    }
}

impl std::error::Error for LibvirtError {}

/// `virNetMessageError` in libvirt's `src/rpc/virnetprotocol.x`.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[allow(
    dead_code,
    reason = "the fields after the level are on the wire, but never used by libvirt"
)]
pub(crate) struct WireError {
    pub(crate) code: i32,
    pub(crate) domain: i32,
    pub(crate) message: Option<String>,
    pub(crate) level: i32,
    pub(crate) dom: Option<(String, Uuid, i32)>,
    pub(crate) strings: [Option<String>; 3],
    pub(crate) ints: [i32; 2],
    pub(crate) net: Option<(String, Uuid)>,
}

/// The error codes that callers act upon (`virErrorNumber` in libvirt's
/// `include/libvirt/virterror.h`).
pub mod code {
    /// Anything without a code of its own, QEMU's failures to start among them.
    pub const INTERNAL_ERROR: i32 = 1;
    /// The daemon knows no such procedure, or no driver for it.
    pub const NO_SUPPORT: i32 = 3;
    /// An argument is not acceptable.
    pub const INVALID_ARG: i32 = 8;
    /// The operation failed, e.g. a definition that contradicts an existing one.
    pub const OPERATION_FAILED: i32 = 9;
    /// The connection is read-only, or the operation is forbidden.
    pub const OPERATION_DENIED: i32 = 29;
    /// XML that is well formed and not a definition.
    pub const XML_ERROR: i32 = 27;
    /// Malformed XML.
    pub const XML_DETAIL: i32 = 35;
    /// A system call failed; the message ends with its text.
    pub const SYSTEM_ERROR: i32 = 38;
    /// The daemon's own dispatching failed.
    pub const RPC: i32 = 39;
    /// No such domain.
    pub const NO_DOMAIN: i32 = 42;
    /// No such network.
    pub const NO_NETWORK: i32 = 43;
    /// The client did not authenticate as it must.
    pub const AUTH_FAILED: i32 = 45;
    /// No such storage pool.
    pub const NO_STORAGE_POOL: i32 = 49;
    /// No such storage volume.
    pub const NO_STORAGE_VOL: i32 = 50;
    /// Not in this state: already running, not active, in use.
    pub const OPERATION_INVALID: i32 = 55;
    /// This QEMU or this driver cannot do it.
    pub const CONFIG_UNSUPPORTED: i32 = 67;
    /// A lock or a job was not to be had in time.
    pub const OPERATION_TIMEOUT: i32 = 68;
    /// No metadata of that kind.
    pub const NO_DOMAIN_METADATA: i32 = 80;
    /// The guest has no channel to an agent.
    pub const ARGUMENT_UNSUPPORTED: i32 = 74;
    /// No agent answers in the guest.
    pub const AGENT_UNRESPONSIVE: i32 = 86;
    /// A volume of that name exists.
    pub const STORAGE_VOL_EXIST: i32 = 90;
    /// XML against its schema.
    pub const XML_INVALID_SCHEMA: i32 = 92;
    /// Polkit has no agent to ask, or no session to ask for.
    pub const AUTH_UNAVAILABLE: i32 = 94;
}
