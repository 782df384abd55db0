//! What libvirt tells by itself: domains that change their state.

use serde::Deserialize;
use tokio::sync::broadcast;

use crate::connection::{Calls, Connection};
use crate::error::{CloseReason, Result};
use crate::protocol::{Procedure, RemoteDomain};
use crate::xdr::{self, XdrError};

/// Events that may wait for a slow receiver; it then misses the oldest, and is told so.
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
    /// Why; meaning depends on the event (`virDomainEvent*DetailType`).
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
    /// Continues.
    pub const RESUMED: i32 = 4;
    /// Stopped; details 0 shut down, 1 destroyed, 2 crashed, 5 failed.
    pub const STOPPED: i32 = 5;
    /// On its way down; [`STOPPED`] follows.
    pub const SHUTDOWN: i32 = 6;
    /// Suspended by the guest.
    pub const PMSUSPENDED: i32 = 7;
    /// The guest's kernel panicked; [`STOPPED`] follows.
    pub const CRASHED: i32 = 8;
}

/// What a receiver of events gets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventReceived {
    /// An event.
    Event(LifecycleEvent),
    /// So many events were missed: look at everything anew.
    Missed(u64),
    /// The connection ended: subscribe on a new one, then look at everything anew.
    Ended(CloseReason),
}

/// A subscription; a part of its connection, which it keeps open.
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

    /// The next event, as long as it takes. Cancel safe.
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
    /// Subscribes to the lifecycle events of all domains. libvirt takes one registration of a
    /// connection (`virObjectEventStateRegisterID` in its `src/conf/object_event.c` refuses a
    /// second): all subscriptions share it, and it ends with the connection.
    ///
    /// # Errors
    /// As of every call, see [`Error`](crate::Error).
    pub async fn domain_events(&self) -> Result<DomainEvents> {
        // Before the call, so that an event that overtakes its reply is not missed.
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

/// Reads an event's payload.
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
