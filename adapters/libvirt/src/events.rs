//! Subscriptions to the lifecycle events of domains.

use tokio::sync::broadcast;

use crate::connection::{Calls, Connection};
use crate::error::{CloseReason, Result};
pub use crate::lifecycle_event::{LifecycleEvent, lifecycle};
use crate::protocol::{Procedure, RemoteDomain};

/// `VIR_DOMAIN_EVENT_ID_LIFECYCLE`.
const LIFECYCLE: i32 = 0;

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
    /// The events of all domains, after this call.
    pub(crate) fn of(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            events: connection.shared().subscribe(),
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
        let mut events = DomainEvents::of(self.connection());
        let every_domain: Option<RemoteDomain> = None;
        let procedure = Procedure::ConnectDomainEventCallbackRegisterAny;
        let arguments = (LIFECYCLE, every_domain);
        let registration = &self.connection().shared().registration;
        let register = || self.call(procedure, &arguments);
        events.callback = *registration.get_or_try_init(register).await?;
        Ok(events)
    }
}
