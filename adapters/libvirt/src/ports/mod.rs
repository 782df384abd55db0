//! The ports over libvirt: what steps ask, in calls of the native protocol.

mod console;
mod domain;
mod domain_state;
mod error;
mod host;
mod layers;
mod memory;
mod network;
mod network_changes;
mod screen;
mod serial;
mod storage;
mod upload;

#[cfg(test)]
mod hostile_tests;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::OnceCell;
use vsiflow_engine::lease::Lease;
use vsiflow_steps::ports::{HostPorts, PortResult, Transfer};

use crate::{
    connection::Calls,
    session::{Endpoint, HostSession, SessionOptions},
};
use error::ErrorContext;

/// How long a call that answers at once may take.
pub const QUICK: Duration = Duration::from_secs(20);
/// How long a start may take: QEMU's own start-up, and libvirt's look at a dying one.
const START: Duration = Duration::from_secs(60);
/// How long a copy on the host may take.
const COPY: Duration = Duration::from_secs(3_600);

/// A host reached through libvirt; clones are the same one.
#[derive(Clone)]
pub(crate) struct LibvirtHost {
    name: String,
    session: HostSession,
    shell: Arc<OnceCell<bool>>,
    /// Whether the host failed to unpack something.
    unpacks_badly: Arc<AtomicBool>,
}

/// The ports of the host behind `endpoint`, which `name` names in errors. Nothing is connected
/// until the first call.
#[must_use]
pub fn host_ports(name: &str, endpoint: Endpoint) -> HostPorts {
    leased_host_ports(name, endpoint, Lease::endless())
}

/// The same, where nothing is written to the host once the lease is past.
#[must_use]
pub fn leased_host_ports(name: &str, endpoint: Endpoint, lease: Arc<Lease>) -> HostPorts {
    let options = SessionOptions {
        lease,
        ..SessionOptions::default()
    };
    let host = Arc::new(LibvirtHost {
        name: name.to_owned(),
        session: HostSession::new(endpoint, options),
        shell: Arc::default(),
        unpacks_badly: Arc::default(),
    });
    HostPorts {
        host: host.clone(),
        storage: host.clone(),
        domains: host.clone(),
        networks: host.clone(),
        console: host,
        upload_limit: None,
        full_verification: false,
        transfer: Transfer::Auto,
    }
}

impl LibvirtHost {
    /// Calls that answer at once.
    async fn quick(&self) -> PortResult<Calls> {
        let connection = self
            .session
            .control()
            .await
            .map_err(|e| self.unconnected(&e))?;
        Ok(connection.within(QUICK))
    }

    /// Calls that take their time, on connections of their own.
    async fn long(&self, within: Duration) -> PortResult<Calls> {
        let connection = self
            .session
            .long()
            .await
            .map_err(|e| self.unconnected(&e))?;
        Ok(connection.within(within))
    }

    fn speaking<'a>(&'a self, object: &'a str) -> ErrorContext<'a> {
        ErrorContext {
            host: &self.name,
            object,
        }
    }
}
