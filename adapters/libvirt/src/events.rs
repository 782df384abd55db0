//! Lifecycle events of domains, which libvirt sends without a request.

use serde::Deserialize;
use tokio::sync::broadcast;

use crate::connection::{Calls, Connection};
use crate::error::{CloseReason, Result};
use crate::protocol::{Procedure, RemoteDomain};
use crate::xdr::{self, XdrError};

/// How many events may wait for a slow receiver. It then misses the oldest, and is informed.
pub(crate) const EVENTS: usize = 256;

/// `VIR_DOMAIN_EVENT_ID_LIFECYCLE`.
const LIFECYCLE: i32 = 0;

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

/// The next thing that a receiver of events gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventReceived {
    /// An event.
    Event(LifecycleEvent),
    /// This many events were missed: read the state of all domains again.
    Missed(u64),
    /// The connection ended: subscribe on a new one, then read the state of all domains again.
    Ended(CloseReason),
}

/// A subscription to events. It holds a handle of its connection, so that stays open.
#[derive(Debug)]
pub struct DomainEvents {
    connection: Connection,
    events: broadcast::Receiver<LifecycleEvent>,
    callback: i32,
}

impl DomainEvents {
    pub(crate) fn new(connection: Connection, events: broadcast::Receiver<LifecycleEvent>) -> Self {
        Self {
            connection,
            events,
            callback: 0,
        }
    }

    /// Waits for the next event, without a timeout. Cancel safe.
    pub async fn next(&mut self) -> EventReceived {
        loop {
            let received = tokio::select! {
                biased;
                received = self.events.recv() => received,
                reason = self.connection.closed() => return EventReceived::Ended(reason),
            };
            match received {
                Ok(event) if event.callback == self.callback => {
                    return EventReceived::Event(event);
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    return EventReceived::Missed(count);
                }
                Err(broadcast::error::RecvError::Closed) => {
                    return EventReceived::Ended(self.connection.closed().await);
                }
            }
        }
    }
}

impl Calls {
    /// Subscribes to the lifecycle events of all domains. libvirt accepts one registration for each
    /// connection (`virObjectEventStateRegisterID` in its `src/conf/object_event.c` refuses a second one). So
    /// all subscriptions of a connection share it, and it ends with the connection.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn domain_events(&self) -> Result<DomainEvents> {
        // Subscribed before the call, because an event may arrive before its reply.
        let mut events = self.connection().receive_events();
        let every_domain: Option<RemoteDomain> = None;
        let procedure = Procedure::ConnectDomainEventCallbackRegisterAny;
        let arguments = (LIFECYCLE, every_domain);
        let registration = &self.connection().shared().registration;
        let register = || self.call(procedure, &arguments);
        events.callback = *registration.get_or_try_init(register).await?;
        Ok(events)
    }
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
