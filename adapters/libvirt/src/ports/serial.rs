//! A guest's serial console, both ways: a stream on a connection of its own, so that whoever reads
//! slowly holds up nothing else of the host.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use uuid::Uuid;
use vsiflow_steps::ports::{GuestConsole, PortError, PortErrorKind, PortResult};

use super::{LibvirtHost, QUICK, error::ErrorContext};
use crate::{
    connection::Connection,
    error::{Error, code},
    protocol::{RemoteDomain, domain_flags},
    stream::ConsoleStream,
};

/// How long libvirt may take nothing of what is typed. A guest that reads nothing is no reason: QEMU
/// and libvirt hold what is typed meanwhile.
const STALL: Duration = Duration::from_secs(60);
/// How long all places for consoles of a host may be taken.
const PLACE: Duration = Duration::from_secs(5);

/// An open console.
struct LibvirtConsole {
    host: String,
    object: String,
    stream: ConsoleStream,
    /// Held as long as the console is open: the connection closes with it.
    _connection: Connection,
}

impl LibvirtHost {
    /// Opens the console of a domain that was found.
    pub(super) async fn serial_console(
        &self,
        uuid: Uuid,
        domain: &RemoteDomain,
        force: bool,
    ) -> PortResult<Box<dyn GuestConsole>> {
        let connection = self.session.console(PLACE).await;
        let connection = connection.map_err(|error| self.unconnected(&error))?;
        let flags = if force {
            domain_flags::CONSOLE_FORCE
        } else {
            0
        };
        let calls = connection.within(QUICK);
        let object = format!("domain {uuid}");
        let opened = calls.domain_open_console(domain, flags, STALL).await;
        let stream = opened.map_err(|error| of_opening(&self.speaking(&object), &error))?;
        Ok(Box::new(LibvirtConsole {
            host: self.name.clone(),
            object,
            stream,
            _connection: connection,
        }))
    }
}

/// Somebody else's console is told apart by libvirt's words alone.
fn of_opening(at: &ErrorContext<'_>, error: &Error) -> PortError {
    let busy = error.libvirt().is_some_and(|error| {
        error.code == code::OPERATION_FAILED && error.message.contains("Active console session")
    });
    let mut failure = at.of(error);
    if busy {
        failure.kind = PortErrorKind::Busy;
    }
    failure
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
