//! The ports of every host: simulated or real, depending on its settings.

use std::{collections::BTreeMap, iter::repeat, path::PathBuf, sync::Arc, time::Duration};

use super::{bounds::ReadBounds, host_fence::HostFence};
use async_trait::async_trait;
use futures::future::join_all;
use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until, timeout},
};
use vsiflow_engine::{lease::Lease, secret::Secret};
use vsiflow_libvirt::{
    Endpoint, leased_host_ports,
    session::SOCKET,
    ssh::{HostKeys, Identity, SshConfig},
};
use vsiflow_steps::{
    ports::{HostPorts, Hosts, PortError, PortErrorKind, PortResult, UploadLimit},
    sim::SimHosts,
    turns::owner_of,
};
use vsiflow_workflows::{
    hosts::HostDirectory,
    spec::{HostConnection, HostSettings, SshHost, host::JumpSecrets},
};

/// How long connecting and logging in may take.
const CONNECT: Duration = Duration::from_secs(20);
/// How long closing all connections may take in total. A user who interrupts a command waits for it.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Hosts by their settings. Ports are made once for each host, and again if its settings change.
pub(super) struct AllHosts {
    directory: Arc<HostDirectory>,
    sims: SimHosts,
    known: Mutex<BTreeMap<String, (HostSettings, HostPorts)>>,
    lease: Arc<Lease>,
    /// Before this moment, calls of an engine that died may still be in progress.
    acts_from: Option<Instant>,
    bounds: ReadBounds,
    /// Refuses access to hosts that belong to other journals of a set.
    fence: Option<HostFence>,
}

impl AllHosts {
    /// The hosts in that directory; simulated hosts store their state below `sim`.
    pub(super) fn new(
        directory: Arc<HostDirectory>,
        sim: PathBuf,
        lease: Arc<Lease>,
        acts_from: Option<Instant>,
        bounds: ReadBounds,
        fence: Option<HostFence>,
    ) -> Self {
        Self {
            directory,
            sims: SimHosts::in_folder(sim),
            known: Mutex::default(),
            lease,
            acts_from,
            bounds,
            fence,
        }
    }
}

#[async_trait]
impl Hosts for AllHosts {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        if let Some(acts_from) = self.acts_from {
            sleep_until(acts_from).await;
        }
        self.lease
            .check()
            .map_err(|lost| PortError::new(PortErrorKind::Unreachable, id, "", lost.to_string()))?;
        if let Some(fence) = &self.fence {
            fence.check(id).await?;
        }
        let settings = self.directory.get(id).ok_or_else(|| {
            let message = "the journal knows no settings of this host; apply its documents again";
            PortError::new(PortErrorKind::Denied, id, "", message)
        })?;
        let trusted = self.bounds.trusts(&settings);
        let settings = self.bounds.with_files_read(settings).await?;
        let mut all = self.known.lock().await;
        if let Some((known, ports)) = all.get(id)
            && known.same_as(&settings)
            && known.namespace == settings.namespace
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
        ports.full_verification = settings.record.full_verification();
        ports.transfer = settings.record.transfer();
        all.insert(id.to_owned(), (settings, ports.clone()));
        Ok(ports)
    }

    async fn claim(&self, id: &str, machine: Option<&str>) -> PortResult<()> {
        match &self.fence {
            Some(fence) => fence.claim(id, machine).await,
            None => Ok(()),
        }
    }

    async fn leave(&self) {
        let all = std::mem::take(&mut *self.known.lock().await);
        let leaving = all.into_values();
        let leaving = leaving.map(|(_, ports)| async move { ports.host.leave().await });
        let _ = timeout(CLOSE_TIMEOUT, join_all(leaving)).await;
    }
}

/// The endpoint of a host behind its jump hosts. A jump host inherits the settings that it leaves out.
fn over_ssh(
    id: &str,
    ssh: &SshHost,
    settings: &HostSettings,
    trusted: bool,
) -> PortResult<Endpoint> {
    let none = JumpSecrets::default();
    let owner = owner_of(settings.namespace.as_deref().unwrap_or_default(), id);
    let secrets = settings.jump_secrets.iter().chain(repeat(&none));
    let jumps = ssh.jumps.iter().zip(secrets).map(|(jump, secrets)| {
        let (text, file) = (secrets.key.as_ref(), jump.key_file.as_deref());
        let own = known(&jump.known_hosts, &jump.known_hosts_file);
        Ok(SshConfig {
            host: jump.host.clone(),
            port: jump.port,
            user: jump.user.clone(),
            identity: match given_identity(text, file, secrets.key_passphrase.as_ref()) {
                Some(identity) => identity,
                None => identity(id, ssh, settings, trusted)?,
            },
            host_keys: match own {
                Some(own) => own,
                None => host_keys(id, ssh)?,
            },
            owner: Arc::clone(&owner),
            connect_timeout: CONNECT,
            jumps: Vec::new(),
        })
    });
    let config = SshConfig {
        jumps: jumps.collect::<PortResult<_>>()?,
        host: ssh.host.clone(),
        port: ssh.port,
        user: ssh.user.clone(),
        identity: identity(id, ssh, settings, trusted)?,
        host_keys: host_keys(id, ssh)?,
        owner,
        connect_timeout: CONNECT,
    };
    let socket = ssh.socket.clone().unwrap_or_else(|| SOCKET.to_owned());
    Ok(Endpoint::Ssh { config, socket })
}

fn host_keys(id: &str, ssh: &SshHost) -> PortResult<HostKeys> {
    if ssh.insecure_skip_host_key {
        return Ok(HostKeys::InsecureAcceptAny);
    }
    known(&ssh.known_hosts, &ssh.known_hosts_file).ok_or_else(|| {
        let message = "no known hosts are given";
        PortError::new(PortErrorKind::HostKeyUnknown, id, "", message)
    })
}

/// Known host keys as text in the settings, or else from the file.
fn known(text: &Option<String>, file: &Option<String>) -> Option<HostKeys> {
    match (text, file) {
        (Some(text), _) => Some(HostKeys::Known(text.clone())),
        (None, Some(file)) => Some(HostKeys::KnownFile(PathBuf::from(file))),
        (None, None) => None,
    }
}

/// The key as text, or else from the file.
fn given_identity(
    text: Option<&Secret>,
    file: Option<&str>,
    passphrase: Option<&Secret>,
) -> Option<Identity> {
    let passphrase = passphrase.cloned();
    match (text, file) {
        (Some(text), _) => Some(Identity::Key {
            text: text.clone(),
            passphrase,
        }),
        (None, Some(path)) => Some(Identity::KeyFile {
            path: PathBuf::from(path),
            passphrase,
        }),
        (None, None) => None,
    }
}

/// The key as text, or else from the file, or else the user's agent. The agent is for the operator of this
/// process only, not for other users' hosts.
fn identity(
    id: &str,
    ssh: &SshHost,
    settings: &HostSettings,
    trusted: bool,
) -> PortResult<Identity> {
    let (key, passphrase) = (settings.key.as_ref(), settings.key_passphrase.as_ref());
    if let Some(identity) = given_identity(key, ssh.key_file.as_deref(), passphrase) {
        return Ok(identity);
    }
    if !trusted {
        let message = "no SSH key is given (KEY, in a Secret)";
        return Err(PortError::new(PortErrorKind::KeyUnusable, id, "", message));
    }
    let agent = std::env::var_os("SSH_AUTH_SOCK").filter(|socket| !socket.is_empty());
    let socket = agent.map(PathBuf::from).ok_or_else(|| {
        let message = "no SSH key is given (KEY or KEY_FILE), and no agent runs (SSH_AUTH_SOCK)";
        PortError::new(PortErrorKind::KeyUnusable, id, "", message)
    })?;
    Ok(Identity::Agent { socket })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(uri: &str, trusted: bool) -> PortResult<SshConfig> {
        let mut settings: HostSettings = uri.parse().unwrap();
        let HostConnection::Ssh(ssh) = settings.record.clone() else {
            panic!("{uri}")
        };
        settings.jump_secrets = vec![JumpSecrets {
            key: Some(Secret::new("of-jump")),
            key_passphrase: None,
        }];
        match over_ssh("id", &ssh, &settings, trusted)? {
            Endpoint::Ssh { config, .. } => Ok(config),
            Endpoint::Unix(_) => panic!("{uri}"),
        }
    }

    fn file(config: &SshConfig) -> Option<&str> {
        match &config.identity {
            Identity::KeyFile { path, .. } => path.to_str(),
            Identity::Key { .. } => Some("text"),
            Identity::Agent { .. } => None,
        }
    }

    fn known(config: &SshConfig) -> Option<&str> {
        match &config.host_keys {
            HostKeys::KnownFile(path) => path.to_str(),
            HostKeys::Known(text) => Some(text),
            HostKeys::InsecureAcceptAny => None,
        }
    }

    #[test]
    fn all_hosts_and_jump_hosts_of_a_namespace_have_one_owner() {
        let owners = |id: &str, namespace: Option<&str>| {
            let uri = "ssh://h?keyfile=/k&known_hosts=/kh&jump=a&jump=b";
            let mut settings: HostSettings = uri.parse().unwrap();
            settings.namespace = namespace.map(str::to_owned);
            let HostConnection::Ssh(ssh) = settings.record.clone() else {
                panic!("{uri}")
            };
            let Ok(Endpoint::Ssh { config, .. }) = over_ssh(id, &ssh, &settings, true) else {
                panic!("{uri}")
            };
            let mut owners = vec![config.owner.to_string()];
            owners.extend(config.jumps.iter().map(|jump| jump.owner.to_string()));
            owners
        };
        let of_team = owners("host1", Some("team"));
        assert_eq!(of_team, ["namespace/team"; 3]);
        assert_eq!(owners("host2", Some("team")), of_team);
        assert_eq!(owners("host1", None), ["host/host1"; 3]);
    }

    #[test]
    fn a_jump_host_leaves_to_the_host_what_it_does_not_say_and_an_agent_to_nobody_else() {
        let uri = "ssh://h?keyfile=/k&known_hosts=/kh&jump=a&jump=b&jump_keyfile=/kb&jump_known_hosts=/khb&jump=c";
        let config = endpoint(uri, true).unwrap();
        let way: Vec<_> = config.jumps.iter().map(|j| (file(j), known(j))).collect();
        let expected = [
            (Some("text"), Some("/kh")),
            (Some("/kb"), Some("/khb")),
            (Some("/k"), Some("/kh")),
        ];
        assert_eq!(way, expected);
        assert_eq!((file(&config), known(&config)), (Some("/k"), Some("/kh")));
        // A jump host's own known keys count, whatever the host's are.
        let second_uri = "ssh://h?keyfile=/k&insecure=1&jump=a&jump_known_hosts=/kha&jump=b";
        let second_config = endpoint(second_uri, true).unwrap();
        let hosts: Vec<_> = second_config.jumps.iter().map(known).collect();
        assert_eq!(hosts, [Some("/kha"), None]);
        let refused = endpoint("ssh://h?known_hosts=/kh&jump=a&jump=b", false).unwrap_err();
        assert_eq!(refused.kind, PortErrorKind::KeyUnusable);
        assert!(refused.message.contains("no SSH key"), "{refused}");
    }
}
