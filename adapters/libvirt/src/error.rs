//! Errors of calls. They differ in what the caller knows about the host.
//!
//! Three cases decide what a caller may do next. libvirt itself replied with an error ([`Error::Libvirt`]).
//! Or nothing was sent ([`Error::NotSent`]), so a retry is harmless. Or libvirt may have acted although no
//! reply was received ([`Error::OutcomeUnknown`]), so the caller must check the host first.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::connect_error::ConnectError;
use crate::protocol::{Procedure, Uuid};
use crate::xdr::{self, XdrError};

/// The result of a request to a host.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request to a host returned no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// libvirt replied with an error.
    #[error(transparent)]
    Libvirt(#[from] Box<LibvirtError>),
    /// Nothing was sent to libvirt: a retry is harmless.
    #[error("{procedure} was not sent: {cause}")]
    NotSent {
        /// The procedure to be called.
        procedure: Procedure,
        /// Why it was not sent.
        cause: Cause,
    },
    /// The call, or a part of it, was written, but no reply was received. libvirt may have acted, or may
    /// still be acting. Check the host before a retry.
    #[error("the outcome of {procedure} is unknown: {cause}")]
    OutcomeUnknown {
        /// The called procedure.
        procedure: Procedure,
        /// Why no reply was received.
        cause: Cause,
    },
    /// libvirt replied, so it has acted, but the reply does not match the protocol.
    #[error("the reply to {procedure} is malformed: {error}")]
    BadReply {
        /// The called procedure.
        procedure: Procedure,
        /// What is wrong with the reply.
        error: XdrError,
    },
    /// The arguments cannot be encoded, for example XML of more than 4 MiB. Nothing was sent.
    #[error("{procedure} cannot be sent: {error}")]
    BadArguments {
        /// The procedure to be called.
        procedure: Procedure,
        /// What is wrong with the arguments.
        error: XdrError,
    },
    /// There is no connection, and none could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

/// Why a call has no reply.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    /// Its timeout has expired.
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
    /// The peer closed it, for example because libvirtd ended.
    #[error("libvirt closed the connection")]
    ByPeer,
    /// Reading or writing failed.
    #[error("the connection broke: {0}")]
    Io(String),
    /// The peer stopped sending.
    #[error("libvirt was silent for {0:?}")]
    Silent(Duration),
    /// A large packet of the peer did not arrive in time, or there was no memory for it.
    #[error("libvirt announced a packet of {0}")]
    Late(String),
    /// The peer violated the protocol.
    #[error("libvirt broke the protocol: {0}")]
    Protocol(String),
}

impl Error {
    /// libvirt's error, if libvirt replied with one.
    #[must_use]
    pub fn libvirt(&self) -> Option<&LibvirtError> {
        match self {
            Self::Libvirt(error) => Some(error),
            _ => None,
        }
    }

    /// libvirt's error code, if libvirt replied with an error.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        self.libvirt().map(|error| error.code)
    }

    /// Whether libvirt reported that an object does not exist. Every other failure, including timeouts and
    /// broken connections, says nothing about existence.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.libvirt().is_some_and(|error| error.absent().is_some())
    }

    /// Whether the host may have acted although no reply was received.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown { .. } | Self::BadReply { .. })
    }
}

/// An error as libvirt reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LibvirtError {
    /// The called procedure.
    pub procedure: Procedure,
    /// `virErrorNumber`; see [`code`].
    pub code: i32,
    /// `virErrorDomain`: the part of libvirt that reported it.
    pub domain: i32,
    /// `virErrorLevel`: 1 is a warning, 2 an error.
    pub level: i32,
    /// libvirt's message. It may contain QEMU's standard error and paths on the host.
    pub message: String,
}

/// Which kind of object libvirt reports as absent.
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
    /// The kind of object that this error reports as absent, if any.
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

    /// Decodes the payload of an error reply.
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
    /// Any error without a code of its own, for example when QEMU fails to start.
    pub const INTERNAL_ERROR: i32 = 1;
    /// The daemon does not have this procedure, or has no driver for it.
    pub const NO_SUPPORT: i32 = 3;
    /// An argument is not valid.
    pub const INVALID_ARG: i32 = 8;
    /// The operation failed, for example because a definition conflicts with an existing one.
    pub const OPERATION_FAILED: i32 = 9;
    /// The connection is read-only, or the operation is forbidden.
    pub const OPERATION_DENIED: i32 = 29;
    /// Well-formed XML that is not a valid definition.
    pub const XML_ERROR: i32 = 27;
    /// Malformed XML.
    pub const XML_DETAIL: i32 = 35;
    /// A system call failed; the message ends with its text.
    pub const SYSTEM_ERROR: i32 = 38;
    /// The daemon's RPC layer failed.
    pub const RPC: i32 = 39;
    /// No such domain.
    pub const NO_DOMAIN: i32 = 42;
    /// No such network.
    pub const NO_NETWORK: i32 = 43;
    /// The client is not authenticated.
    pub const AUTH_FAILED: i32 = 45;
    /// No such storage pool.
    pub const NO_STORAGE_POOL: i32 = 49;
    /// No such storage volume.
    pub const NO_STORAGE_VOL: i32 = 50;
    /// The object is in the wrong state: already running, not active, in use.
    pub const OPERATION_INVALID: i32 = 55;
    /// This QEMU or this driver does not support it.
    pub const CONFIG_UNSUPPORTED: i32 = 67;
    /// A lock or a job was not acquired in time.
    pub const OPERATION_TIMEOUT: i32 = 68;
    /// There is no metadata of this kind.
    pub const NO_DOMAIN_METADATA: i32 = 80;
    /// The guest has no channel for an agent.
    pub const ARGUMENT_UNSUPPORTED: i32 = 74;
    /// No agent responds in the guest.
    pub const AGENT_UNRESPONSIVE: i32 = 86;
    /// A volume with this name exists.
    pub const STORAGE_VOL_EXIST: i32 = 90;
    /// The XML does not match its schema.
    pub const XML_INVALID_SCHEMA: i32 = 92;
    /// Polkit has no agent or no session for the authentication.
    pub const AUTH_UNAVAILABLE: i32 = 94;
}
