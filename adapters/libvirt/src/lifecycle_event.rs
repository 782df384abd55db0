//! Lifecycle events of domains, which libvirt sends without a request.

use serde::Deserialize;

use crate::protocol::RemoteDomain;
use crate::xdr::{self, XdrError};

/// How many events may wait for a slow receiver. It then misses the oldest, and is informed.
pub(crate) const EVENTS: usize = 256;

/// A domain changed its state (`virConnectDomainEventCallback`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// The registration it was sent for.
    pub(crate) callback: i32,
    /// The domain.
    pub domain: RemoteDomain,
    /// One of [`lifecycle`].
    pub event: i32,
    /// Why; the meaning depends on the event (`virDomainEvent*DetailType`).
    pub detail: i32,
}

/// `virDomainEventType`.
pub mod lifecycle {
    /// Defined, or its definition changed.
    pub const DEFINED: i32 = 0;
    /// Its definition was removed.
    pub const UNDEFINED: i32 = 1;
    /// Started.
    pub const STARTED: i32 = 2;
    /// Suspended.
    pub const SUSPENDED: i32 = 3;
    /// Resumed.
    pub const RESUMED: i32 = 4;
    /// Stopped. Detail 0 is a shutdown, 1 destroyed, 2 crashed, 5 failed.
    pub const STOPPED: i32 = 5;
    /// Shutting down; [`STOPPED`] follows.
    pub const SHUTDOWN: i32 = 6;
    /// Suspended by the guest.
    pub const PMSUSPENDED: i32 = 7;
    /// The guest's kernel panicked; [`STOPPED`] follows.
    pub const CRASHED: i32 = 8;
}

/// `remote_domain_event_callback_lifecycle_msg`.
#[derive(Debug, Deserialize)]
struct Message {
    callback: i32,
    domain: RemoteDomain,
    event: i32,
    detail: i32,
}

/// Decodes the payload of an event.
pub(crate) fn decode(payload: &[u8]) -> Result<LifecycleEvent, XdrError> {
    let Message {
        callback,
        domain,
        event,
        detail,
    } = xdr::from_bytes(payload)?;
    Ok(LifecycleEvent {
        callback,
        domain,
        event,
        detail,
    })
}
