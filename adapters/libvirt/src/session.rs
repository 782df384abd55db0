//! The session with one host: its SSH session and its libvirt connections, by purpose.
//!
//! Calls use separate connections, so that none waits for an unrelated one:
//!
//! - **control**: one connection for calls that libvirt answers immediately;
//! - **long**: up to two connections for calls that take long (clone, wipe), because libvirtd serves at most
//!   five calls of a connection at the same time;
//! - **bulk**: a connection for each stream;
//! - **console**: a connection for each open console, which may be idle for days and must not delay an
//!   upload.
//!
//! Over SSH all of them are channels of one session. sshd limits logins (`MaxStartups`) and channels
//! (`MaxSessions`, 10), so there are at most ten: one for control, two long, four bulk, two consoles, one for
//! commands. Commands that run as long as an upload are additional, because OpenSSH does not count channels
//! to sockets. They end if a channel for a command is refused: first those that read along, then those that
//! write.
//!
//! Everything is opened when it is first needed, and again when it has ended. An attempt has a deadline and
//! is shared by all callers that wait for it. Retries and their delays are left to the caller.

mod endpoint;
mod handshake;
mod machine;
mod options;
mod processes;
mod slot;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use uuid::Uuid;
use vsiflow_steps::ports::GuestStream;

pub use endpoint::{Endpoint, SOCKET};
pub use options::SessionOptions;
pub use processes::HostProcess;

use vsiflow_engine::lease::Lease;

use crate::connect_error::ConnectError;
use crate::connection::{Connection, KeepAlive};
use crate::leased::Leased;
use crate::ssh::{ExecError, ExecOutput, SshSession, run_locally};
use crate::time;
use processes::Processes;
use slot::SessionSlot;

/// How many connections there are for long calls.
const LONG: usize = 2;
/// How many streams may be open at the same time.
const BULK: u32 = 4;
/// How many consoles may be open at the same time.
const CONSOLES: u32 = 2;

/// A host and all connections to it; clones share them.
#[derive(Debug, Clone)]
pub struct HostSession {
    inner: Arc<SessionInner>,
}

#[derive(Debug)]
struct SessionInner {
    endpoint: Endpoint,
    options: SessionOptions,
    ssh: SessionSlot<Arc<SshSession>>,
    machine: machine::Pin,
    control: SessionSlot<Connection>,
    long: [SessionSlot<Connection>; LONG],
    bulk: Arc<Semaphore>,
    consoles: Arc<Semaphore>,
    commands: Arc<Semaphore>,
    readers: Processes,
    writers: Processes,
    closed: AtomicBool,
}

impl HostSession {
    /// Creates a session with a host without connecting to it.
    #[must_use]
    pub fn new(endpoint: Endpoint, options: SessionOptions) -> Self {
        let inner = SessionInner {
            endpoint,
            options,
            ssh: SessionSlot::default(),
            machine: machine::Pin::default(),
            control: SessionSlot::default(),
            long: [const { SessionSlot::new() }; LONG],
            bulk: Arc::new(Semaphore::new(BULK as usize)),
            consoles: Arc::new(Semaphore::new(CONSOLES as usize)),
            commands: Arc::new(Semaphore::new(1)),
            readers: Processes::new(BULK as usize),
            writers: Processes::new(BULK as usize),
            closed: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The host's name for messages.
    #[must_use]
    pub fn host(&self) -> String {
        self.inner.endpoint.host()
    }

    /// Who pays for what the host makes this process do.
    pub(crate) fn owner(&self) -> &Arc<str> {
        self.inner.owner()
    }

    /// The connection for calls that libvirt answers immediately. Opened again if it has ended.
    ///
    /// Cancel safe: the attempt continues and serves the next caller.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn control(&self) -> Result<Connection, ConnectError> {
        self.connection(&self.inner.control).await
    }

    /// A connection for calls that take long, preferably one with a free slot.
    ///
    /// Cancel safe, like [`control`](Self::control).
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn long(&self) -> Result<Connection, ConnectError> {
        let mut unopened = None;
        for slot in &self.inner.long {
            match slot.ready(is_alive) {
                Some(connection) if connection.free_places() > 0 => return Ok(connection),
                Some(_) => {}
                None => unopened = unopened.or(Some(slot)),
            }
        }
        match (unopened, self.inner.long.first()) {
            (Some(slot), _) | (None, Some(slot)) => self.connection(slot).await,
            (None, None) => self.control().await,
        }
    }

    /// A separate connection for one stream. It ends when the stream and this handle are dropped. There are
    /// at most four; further callers wait up to `wait`.
    ///
    /// When this is dropped, the attempt ends.
    ///
    /// # Errors
    /// See [`ConnectError`]; [`ConnectError::TimedOut`] if all four stay in use.
    pub async fn bulk(&self, wait: Duration) -> Result<Connection, ConnectError> {
        let permit = self
            .permit(&self.inner.bulk, "one of the streams to end", wait)
            .await?;
        SessionInner::open(Arc::clone(&self.inner), KeepAlive::BULK, Some(permit)).await
    }

    /// A separate connection for one console. There are at most two; further callers wait up to `wait`.
    ///
    /// When this is dropped, the attempt ends.
    ///
    /// # Errors
    /// See [`ConnectError`]; [`ConnectError::TimedOut`] if both stay in use.
    pub async fn console(&self, wait: Duration) -> Result<Connection, ConnectError> {
        let permit = self
            .permit(&self.inner.consoles, "one of the two consoles to end", wait)
            .await?;
        SessionInner::open(Arc::clone(&self.inner), KeepAlive::BULK, Some(permit)).await
    }

    /// Runs a command on the host: over SSH, or on this machine if libvirt is local. See
    /// [`SshSession::exec`]. One command runs at a time; waiting for another one counts towards `within`.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub async fn exec(
        &self,
        command: &str,
        limit: usize,
        within: Duration,
    ) -> Result<ExecOutput, ExecError> {
        let deadline = time::deadline(within);
        let _permit = self
            .permit(&self.inner.commands, "another command to end", within)
            .await?;
        let remaining = || deadline.saturating_duration_since(Instant::now());
        if self.inner.options.lease.check().is_err() {
            return Err(ConnectError::Closed { host: self.host() }.into());
        }
        let outcome = match &self.inner.endpoint {
            Endpoint::Unix(_) => run_locally(command, limit, remaining()).await,
            Endpoint::Ssh { .. } => {
                let ssh = SessionInner::ssh(&self.inner).await?;
                let run = || ssh.exec(command, limit, remaining());
                let beside_readers = || self.inner.readers.make_room_for(run);
                self.inner.writers.make_room_for(beside_readers).await
            }
        };
        match outcome {
            Err(ExecError::TimedOut(_)) => Err(ExecError::TimedOut(within)),
            outcome => outcome,
        }
    }

    /// Starts a long-running command with standard input on the host, to read what an upload writes. `None`
    /// if libvirt is local, if four already run, or if sshd has refused a channel before. Such a command ends
    /// as soon as another command needs its channel.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub async fn start(
        &self,
        command: &str,
        within: Duration,
    ) -> Result<Option<HostProcess>, ExecError> {
        self.start_in(&self.inner.readers, command, within).await
    }

    /// Like [`start`](Self::start), to write what an upload sends. It ends only if another command gets no
    /// channel although the reading commands have ended.
    ///
    /// # Errors
    /// See [`ExecError`].
    pub async fn start_writer(
        &self,
        command: &str,
        within: Duration,
    ) -> Result<Option<HostProcess>, ExecError> {
        self.start_in(&self.inner.writers, command, within).await
    }

    async fn start_in(
        &self,
        places: &Processes,
        command: &str,
        within: Duration,
    ) -> Result<Option<HostProcess>, ExecError> {
        let Endpoint::Ssh { .. } = &self.inner.endpoint else {
            return Ok(None);
        };
        if self.inner.options.lease.check().is_err() {
            return Err(ConnectError::Closed { host: self.host() }.into());
        }
        let Some(place) = places.place() else {
            return Ok(None);
        };
        let ssh = SessionInner::ssh(&self.inner).await?;
        Ok(Some(place.hold(ssh.start(command, within).await?)))
    }

    /// A TCP connection from the host to a port of a guest.
    ///
    /// # Errors
    /// See [`ConnectError`]; [`ConnectError::ChannelRefused`] if the connection is refused.
    pub async fn dial(
        &self,
        address: IpAddr,
        port: u16,
        within: Duration,
    ) -> Result<Box<dyn GuestStream>, ConnectError> {
        if self.inner.options.lease.check().is_err() {
            return Err(ConnectError::Closed { host: self.host() });
        }
        match &self.inner.endpoint {
            Endpoint::Unix(_) => Ok(Box::new(endpoint::dial_tcp(address, port, within).await?)),
            Endpoint::Ssh { .. } => {
                let ssh = SessionInner::ssh(&self.inner).await?;
                Ok(Box::new(ssh.open_tcp(address, port, within).await?))
            }
        }
    }

    /// The host's machine ID as read when connecting; `None` if the host does not report one.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub async fn machine(&self) -> Result<Option<String>, ConnectError> {
        match &self.inner.endpoint {
            Endpoint::Unix(_) => self.inner.local_machine().await,
            Endpoint::Ssh { .. } => {
                let ssh = SessionInner::ssh(&self.inner).await?;
                Ok(ssh.machine().map(str::to_owned))
            }
        }
    }

    /// The lease that permits writing to the host.
    #[must_use]
    pub fn lease(&self) -> Arc<Lease> {
        self.inner.lease()
    }

    /// Permits only this machine after this call, or any.
    pub fn pin(&self, machine: Option<&str>) {
        self.inner.machine.set(machine);
    }

    /// Permits only a host with this libvirt UUID after this call, or any.
    pub fn pin_uuid(&self, uuid: Option<Uuid>) {
        self.inner.machine.set_uuid(uuid);
    }

    /// Closes everything gracefully; the session cannot be used afterwards.
    pub async fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.commands.close();
        self.leave().await;
        self.inner.bulk.close();
        self.inner.consoles.close();
    }

    /// Closes everything that is open, gracefully; a later call opens it again. Streams must have been
    /// dropped before, because the end of their connections is awaited too.
    pub async fn leave(&self) {
        let slots = std::iter::once(&self.inner.control).chain(&self.inner.long);
        let connections = slots.filter_map(SessionSlot::take);
        let closing = connections.map(|connection| async move { connection.close().await });
        let streams = self.inner.bulk.acquire_many(BULK);
        let all_ended = async { tokio::join!(futures::future::join_all(closing), streams) };
        let _ = timeout(self.inner.options.open_timeout, all_ended).await;
        if let Some(ssh) = self.inner.ssh.take() {
            ssh.close().await;
        }
    }

    async fn connection(&self, slot: &SessionSlot<Connection>) -> Result<Connection, ConnectError> {
        let inner = Arc::clone(&self.inner);
        slot.get(is_alive, || {
            SessionInner::open(inner, KeepAlive::CONTROL, None)
        })
        .await
    }

    async fn permit(
        &self,
        semaphore: &Arc<Semaphore>,
        waiting_for: &'static str,
        wait: Duration,
    ) -> Result<OwnedSemaphorePermit, ConnectError> {
        match timeout(wait, Arc::clone(semaphore).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(ConnectError::Closed { host: self.host() }),
            Err(_) => {
                let address = self.host();
                Err(ConnectError::TimedOut {
                    address,
                    waiting_for,
                    after: wait,
                })
            }
        }
    }
}

/// Whether a connection can still be used for calls.
fn is_alive(connection: &Connection) -> bool {
    connection.is_open() && !connection.is_stuck()
}

impl SessionInner {
    /// Opens a connection; the permit is held until its socket is closed.
    async fn open(
        self: Arc<Self>,
        keep_alive: KeepAlive,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<Connection, ConnectError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(ConnectError::Closed {
                host: self.endpoint.host(),
            });
        }
        let connection = match &self.endpoint {
            Endpoint::Unix(path) => {
                self.local_machine().await?;
                let socket = endpoint::dial(path, self.options.open_timeout).await?;
                let socket = Leased::new(socket, self.lease());
                Connection::start(socket, permit, self.owner())
            }
            Endpoint::Ssh { socket, .. } => {
                let ssh = Self::ssh(&self).await?;
                let within = self.options.open_timeout;
                let channel = endpoint::open_channel(&ssh, socket, within).await?;
                Connection::start(channel, (permit, ssh), self.owner())
            }
        };
        handshake::open(
            &connection,
            &self.endpoint.host(),
            &self.options,
            keep_alive,
        )
        .await?;
        if self.machine.uuid().is_some() {
            let host = self.endpoint.host();
            let uuid =
                handshake::host_uuid(&connection, &host, &self.options, self.owner()).await?;
            self.machine.admits_uuid(&host, uuid)?;
        }
        Ok(connection)
    }

    /// The ID of the machine that this process runs on; an error if another machine is pinned.
    async fn local_machine(&self) -> Result<Option<String>, ConnectError> {
        let within = self.options.open_timeout;
        let machine = self
            .machine
            .here
            .get_or_try_init(|| async {
                machine::ask(run_locally(machine::WHICH, machine::LIMIT, within).await)
            })
            .await?;
        self.machine
            .admits(&self.endpoint.host(), machine.as_deref())?;
        Ok(machine.clone())
    }

    fn owner(&self) -> &Arc<str> {
        match &self.endpoint {
            Endpoint::Unix(_) => &self.options.owner,
            Endpoint::Ssh { config, .. } => &config.owner,
        }
    }

    fn lease(&self) -> Arc<Lease> {
        self.options.lease.clone()
    }

    /// The SSH session; opened again if it has ended.
    async fn ssh(self: &Arc<Self>) -> Result<Arc<SshSession>, ConnectError> {
        let Endpoint::Ssh { config, .. } = &self.endpoint else {
            return Err(ConnectError::Closed {
                host: self.endpoint.host(),
            });
        };
        let (config, lease, within) = (config.clone(), self.lease(), self.options.open_timeout);
        let connect = || async move {
            let ssh = SshSession::connect(&config, lease).await?;
            ssh.meet(machine::ask(
                ssh.exec(machine::WHICH, machine::LIMIT, within).await,
            )?);
            Ok(Arc::new(ssh))
        };
        let ssh = self.ssh.get(|ssh| !ssh.is_closed(), connect).await?;
        self.machine.admits(&self.endpoint.host(), ssh.machine())?;
        Ok(ssh)
    }
}
