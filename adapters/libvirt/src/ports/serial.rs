//! A guest's serial console in both directions: a stream on a separate connection, so that a slow reader does
//! not delay anything else on the host.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;
use vsiflow_steps::ports::{GuestConsole, PortResult};

use super::{LibvirtHost, QUICK, error::ErrorContext};
use crate::{
    connection::Connection,
    protocol::{RemoteDomain, domain_flags},
    stream::ConsoleStream,
};

/// How long libvirt may accept no input. A guest that does not read its input does not cause this, because
/// QEMU and libvirt buffer it.
const STALL: Duration = Duration::from_secs(60);
/// How long to wait for a free console connection of the host.
const PLACE: Duration = Duration::from_secs(5);

/// An open console.
struct LibvirtConsole {
    host: String,
    object: String,
    stream: ConsoleStream,
    /// Held while the console is open: the connection closes with it.
    _connection: Connection,
}

impl LibvirtHost {
    /// Opens the console of this domain.
    pub(super) async fn serial_console(
        &self,
        uuid: Uuid,
        domain: &RemoteDomain,
        force: bool,
    ) -> PortResult<Box<dyn GuestConsole>> {
        let connected = self.session.console(PLACE).await;
        let connection = connected.map_err(|error| self.unconnected(&error))?;
        let flags = if force {
            domain_flags::CONSOLE_FORCE
        } else {
            0
        };
        let calls = connection.within(QUICK);
        let object = format!("domain {uuid}");
        let opened = calls.domain_open_console(domain, flags, STALL).await;
        let stream = opened.map_err(|error| self.speaking(&object).of(&error))?;
        Ok(Box::new(LibvirtConsole {
            host: self.name.clone(),
            object,
            stream,
            _connection: connection,
        }))
    }
}

#[async_trait]
impl GuestConsole for LibvirtConsole {
    async fn carry(
        self: Box<Self>,
        keys: mpsc::Receiver<Bytes>,
        shown: mpsc::Sender<Bytes>,
    ) -> PortResult<()> {
        let Self {
            host,
            object,
            stream,
            _connection,
        } = *self;
        let (host, object) = (host.as_str(), object.as_str());
        let carried = stream.carry(keys, shown).await;
        carried.map_err(|error| ErrorContext { host, object }.of(&error))
    }
}
