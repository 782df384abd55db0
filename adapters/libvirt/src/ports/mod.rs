//! Implements the ports of the steps with calls of libvirt's native protocol.

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
#[cfg(test)]
mod odd_names_tests;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::OnceCell;
use vsiflow_engine::lease::Lease;
use vsiflow_steps::{
    ports::{HostPorts, PortResult, Transfer},
    turns::owner_of,
};

use crate::{
    connection::Calls,
    session::{Endpoint, HostSession, SessionOptions},
    xml::{self, XmlError},
};
use error::ErrorContext;

/// The timeout of a call that libvirt answers immediately.
pub const QUICK: Duration = Duration::from_secs(20);
/// The timeout of a start: it includes the start of QEMU, or libvirt's analysis of a failed one.
const START: Duration = Duration::from_secs(60);
/// The timeout of a copy on the host.
const COPY: Duration = Duration::from_secs(3_600);

/// A host reached through libvirt; clones share it.
#[derive(Clone)]
pub(crate) struct LibvirtHost {
    name: String,
    session: HostSession,
    shell: Arc<OnceCell<bool>>,
    /// Whether the host failed to unpack something.
    unpack_failed: Arc<AtomicBool>,
}

/// The ports of the host behind `endpoint`; errors show `name`. The first call opens the connection.
#[must_use]
pub fn host_ports(name: &str, endpoint: Endpoint) -> HostPorts {
    leased_host_ports(name, endpoint, Lease::endless())
}

/// Like [`host_ports`], but nothing is written to the host after the lease has ended.
#[must_use]
pub fn leased_host_ports(name: &str, endpoint: Endpoint, lease: Arc<Lease>) -> HostPorts {
    let options = SessionOptions {
        lease,
        owner: owner_of("", name),
        ..SessionOptions::default()
    };
    let host = Arc::new(LibvirtHost {
        name: name.to_owned(),
        session: HostSession::new(endpoint, options),
        shell: Arc::default(),
        unpack_failed: Arc::default(),
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
    /// Calls that libvirt answers immediately.
    async fn quick(&self) -> PortResult<Calls> {
        let connection = self
            .session
            .control()
            .await
            .map_err(|e| self.unconnected(&e))?;
        Ok(connection.within(QUICK))
    }

    /// Calls that take long, on separate connections.
    async fn long(&self, within: Duration) -> PortResult<Calls> {
        let connection = self
            .session
            .long()
            .await
            .map_err(|e| self.unconnected(&e))?;
        Ok(connection.within(within))
    }

    /// Parses a document of the host; a long one in a turn of the host's owner.
    async fn parsed<T: Send + 'static>(
        &self,
        document: String,
        parse: impl FnOnce(&str) -> Result<T, XmlError> + Send + 'static,
    ) -> Result<T, XmlError> {
        let length = document.len();
        self.parsed_in_turn(length, move || parse(&document)).await
    }

    /// The same for several documents, of this length together.
    async fn parsed_in_turn<T: Send + 'static>(
        &self,
        length: usize,
        parse: impl FnOnce() -> Result<T, XmlError> + Send + 'static,
    ) -> Result<T, XmlError> {
        xml::in_turn(self.session.owner(), length, parse).await
    }

    fn speaking<'a>(&'a self, object: &'a str) -> ErrorContext<'a> {
        ErrorContext {
            host: &self.name,
            object,
        }
    }
}
