//! A native client for libvirt. It implements libvirt's wire protocol over a local socket or an SSH channel,
//! without libvirt's own library.
//!
//! From the bottom up: [`xdr`] encodes values, `packet` frames them, [`Connection`] transports calls and
//! their replies, [`protocol`] has the calls by object, [`stream`] transfers bulk data and [`events`] reports
//! changes on the host. [`ssh`], [`known_hosts`] and [`session`] open the connection.
//!
//! ```
//! use vsiflow_libvirt::xdr;
//!
//! // A string is preceded by its length and padded with zeros to four bytes.
//! let bytes = xdr::to_bytes("vsi")?;
//! assert_eq!(bytes, [0, 0, 0, 3, b'v', b's', b'i', 0]);
//! assert_eq!(xdr::from_bytes::<String>(&bytes)?, "vsi");
//! # Ok::<(), xdr::XdrError>(())
//! ```
#![forbid(unsafe_code)]

pub mod connect_error;
pub mod connection;
pub mod error;
pub mod events;
pub mod known_hosts;
mod leased;
mod lifecycle_event;
mod packet;
pub mod ports;
pub mod protocol;
pub mod session;
pub mod ssh;
pub mod stream;
mod time;
pub mod xdr;
mod xml;

#[cfg(test)]
mod lab_tests;

pub use connect_error::{ConnectError, KeyProblem};
pub use connection::{Calls, Connection, KeepAlive};
pub use error::{Absent, Cause, CloseReason, Error, LibvirtError, Result, code};
pub use packet::STREAM_PAYLOAD_MAX;
pub use ports::{QUICK as CONTROL_CALL, host_ports, leased_host_ports};
pub use session::{Endpoint, HostSession, SessionOptions};
