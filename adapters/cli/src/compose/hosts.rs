//! The ports of every host: simulated or real, by its settings.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use super::bounds::ReadBounds;
use async_trait::async_trait;
use futures::future::join_all;
use tokio::{sync::Mutex, time::timeout};
use vsiflow_engine::lease::Lease;
use vsiflow_libvirt::{
    Endpoint, leased_host_ports,
    session::SOCKET,
    ssh::{HostKeys, Identity, SshConfig},
};
use vsiflow_steps::{
    ports::{HostPorts, Hosts, PortError, PortErrorKind, PortResult, UploadLimit},
    sim::SimHosts,
};
use vsiflow_workflows::{
    hosts::HostDirectory,
    spec::{HostConnection, HostSettings, SshHost},
};

/// How long connecting and logging in may take.
const CONNECT: Duration = Duration::from_secs(20);
/// How long taking leave may take, in all. Whoever interrupts a command waits for it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Hosts by their settings. Ports are made once a host, and anew when its settings change.
pub(super) struct AllHosts {
    directory: Arc<HostDirectory>,
    sims: SimHosts,
    known: Mutex<BTreeMap<String, (HostSettings, HostPorts)>>,
    lease: Arc<Lease>,
    bounds: ReadBounds,
}

impl AllHosts {
    /// Hosts of that directory; simulated ones keep their state below `sim`.
    pub(super) fn new(
        directory: Arc<HostDirectory>,
        sim: PathBuf,
        lease: Arc<Lease>,
        bounds: ReadBounds,
    ) -> Self {
        Self {
            directory,
            sims: SimHosts::in_folder(sim),
            known: Mutex::default(),
            lease,
            bounds,
        }
    }
}

#[async_trait]
impl Hosts for AllHosts {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        self.lease
            .check()
            .map_err(|lost| PortError::new(PortErrorKind::Unreachable, id, "", lost.to_string()))?;
        let settings = self.directory.get(id).ok_or_else(|| {
            let message = "the journal knows no settings of this host; apply its documents again";
            PortError::new(PortErrorKind::Denied, id, "", message)
        })?;
        let trusted = self.bounds.trusts(&settings);
        let settings = self.bounds.with_files_read(settings).await?;
        let mut all = self.known.lock().await;
        if let Some((known, ports)) = all.get(id)
            && known.same_as(&settings)
        {
            return Ok(ports.clone());
        }
        let mut ports = match &settings.record {
            HostConnection::Sim { .. } => self.sims.host(id).await?,
            HostConnection::Unix { socket, .. } => leased_host_ports(
                id,
                Endpoint::Unix(PathBuf::from(socket)),
                self.lease.clone(),
            ),
            HostConnection::Ssh(ssh) => {
                let endpoint = over_ssh(id, ssh, &settings, trusted)?;
                leased_host_ports(id, endpoint, self.lease.clone())
            }
        };
        let limit = settings.record.upload_limit();
        ports.upload_limit = limit.map(|limit| Arc::new(UploadLimit::new(limit)));
        all.insert(id.to_owned(), (settings, ports.clone()));
        Ok(ports)
    }

    async fn leave(&self) {
        let all = std::mem::take(&mut *self.known.lock().await);
        let leaving = all.into_values();
        let leaving = leaving.map(|(_, ports)| async move { ports.host.leave().await });
        let _ = timeout(FAREWELL, join_all(leaving)).await;
    }
}

fn over_ssh(
    id: &str,
    ssh: &SshHost,
    settings: &HostSettings,
    trusted: bool,
) -> PortResult<Endpoint> {
    let host_keys = match (&ssh.known_hosts, &ssh.known_hosts_file) {
        _ if ssh.insecure_skip_host_key => HostKeys::InsecureAcceptAny,
        (Some(text), _) => HostKeys::Known(text.clone()),
        (None, Some(file)) => HostKeys::KnownFile(PathBuf::from(file)),
        (None, None) => {
            let message = "no known hosts are given";
            return Err(PortError::new(
                PortErrorKind::HostKeyUnknown,
                id,
                "",
                message,
            ));
        }
    };
    let config = SshConfig {
        host: ssh.host.clone(),
        port: ssh.port,
        user: ssh.user.clone(),
        identity: identity(id, ssh, settings, trusted)?,
        host_keys,
        connect_timeout: CONNECT,
    };
    let socket = ssh.socket.clone().unwrap_or_else(|| SOCKET.to_owned());
    Ok(Endpoint::Ssh { config, socket })
}

/// The key as text, else its file, else the user's agent: that one is for whoever runs this, and not
/// for who names a host of their own.
fn identity(
    id: &str,
    ssh: &SshHost,
    settings: &HostSettings,
    trusted: bool,
) -> PortResult<Identity> {
    if let Some(text) = &settings.key {
        return Ok(Identity::Key {
            text: text.clone(),
            passphrase: settings.key_passphrase.clone(),
        });
    }
    if let Some(path) = &ssh.key_file {
        return Ok(Identity::KeyFile {
            path: PathBuf::from(path),
            passphrase: settings.key_passphrase.clone(),
        });
    }
    if !trusted {
        let message = "no SSH key is given (KEY, in a Secret)";
        return Err(PortError::new(PortErrorKind::AuthRefused, id, "", message));
    }
    let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    let socket = agent.map(PathBuf::from).ok_or_else(|| {
        let message = "no SSH key is given (KEY or KEY_FILE), and no agent runs (SSH_AUTH_SOCK)";
        PortError::new(PortErrorKind::AuthRefused, id, "", message)
    })?;
    Ok(Identity::Agent { socket })
}
