//! Settings of a host: how it is reached.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use vsiflow_engine::secret::Secret;
pub use vsiflow_steps::ports::Transfer;

pub use super::host_keys::{HostKeyError, Layer, exposed, files, is_simulated, secrets_in};
pub use super::host_limits::{HostLimits, Overcommit, Ratio};
pub use super::host_uri::HostUriError;
pub use super::image_access::{
    ImageAccess, ImageSecrets, S3Access, of_basic_auth, opens_images_only,
};
use super::image_policy::ImagePolicy;
pub use super::jump::{JumpHost, JumpSecrets, MAX_JUMPS};
pub use super::jump_keys::jump_keys;

/// The default socket of a libvirt daemon.
pub const DEFAULT_SOCKET: &str = "/var/run/libvirt/libvirt-sock";

/// The default port of an SSH daemon.
pub const DEFAULT_PORT: u16 = 22;

/// The default user.
pub const DEFAULT_USER: &str = "root";

/// How a host is reached, with the secrets for it.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Everything that is not secret.
    pub record: HostConnection,
    /// The private SSH key, if it was given as text.
    pub key: Option<Secret>,
    /// The passphrase of the private key, if it is encrypted; also for a key in a file.
    pub key_passphrase: Option<Secret>,
    /// The password or token for the image server, if there is one.
    pub image_secret: Option<Secret>,
    /// The secrets of the jump hosts, in their order; a missing entry has none.
    pub jump_secrets: Vec<JumpSecrets>,
    /// The namespace that they are from, if namespaces do not trust one another. For each host only the
    /// settings of one namespace count.
    pub namespace: Option<String>,
    /// The labels that selectors match; empty if no document describes the host.
    pub labels: BTreeMap<String, String>,
    /// Its overcommit limits and devices; `None` if no document describes it.
    pub limits: Option<HostLimits>,
}

/// Settings without secrets, and without what only documents give.
impl From<HostConnection> for HostSettings {
    fn from(record: HostConnection) -> Self {
        Self {
            record,
            key: None,
            key_passphrase: None,
            image_secret: None,
            jump_secrets: Vec::new(),
            namespace: None,
            labels: BTreeMap::new(),
            limits: None,
        }
    }
}

impl HostSettings {
    /// The host's id; see [`HostConnection::id`].
    pub fn id(&self) -> String {
        self.record.id()
    }

    /// Whether both connections are equal, secrets included. Namespace, labels and limits are not
    /// compared.
    pub fn same_as(&self, other: &Self) -> bool {
        let bytes = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_vec());
        self.record == other.record
            && bytes(&self.key) == bytes(&other.key)
            && bytes(&self.key_passphrase) == bytes(&other.key_passphrase)
            && bytes(&self.image_secret) == bytes(&other.image_secret)
            && self.same_jump_secrets(other)
    }

    fn same_jump_secrets(&self, other: &Self) -> bool {
        let count = self.record.jumps().len();
        let of = |one: &Self, at| one.jump_secrets.get(at).cloned().unwrap_or_default();
        (0..count).all(|at| of(self, at).same_as(&of(other, at)))
    }

    /// Every secret in the settings.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let all = [&self.key, &self.key_passphrase, &self.image_secret];
        let jumps = self.jump_secrets.iter().flat_map(JumpSecrets::iter);
        all.into_iter().flatten().chain(jumps)
    }
}

/// How a host is reached, without secrets; may be stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "transport", rename_all = "camelCase", deny_unknown_fields)]
pub enum HostConnection {
    /// Over SSH.
    Ssh(SshHost),
    /// Over a socket on this machine.
    #[serde(rename_all = "camelCase")]
    Unix {
        /// The socket's path.
        socket: String,
        /// The upload limit, in bytes a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upload_limit: Option<u64>,
        /// The policy for deleting unused images.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_policy: Option<ImagePolicy>,
    },
    /// The simulated host.
    #[serde(rename_all = "camelCase")]
    Sim {
        /// Its name, if there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// The upload limit, in bytes a second.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        upload_limit: Option<u64>,
        /// The policy for deleting unused images.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        image_policy: Option<ImagePolicy>,
    },
}

/// How a host is reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SshHost {
    /// Name or address.
    pub host: String,
    /// The SSH daemon's port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// A file with the private key, on the machine vsiflow runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Lines of known hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<String>,
    /// A file with known hosts, on the machine vsiflow runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts_file: Option<String>,
    /// Whether any host key is accepted. A warning is shown with the host.
    #[serde(default)]
    pub insecure_skip_host_key: bool,
    /// The libvirt socket on the host, if it is not the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The upload limit, in bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_limit: Option<u64>,
    /// The policy for deleting unused images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_policy: Option<ImagePolicy>,
    /// How images are verified on the host.
    #[serde(default, skip_serializing_if = "Verification::is_along")]
    pub verify: Verification,
    /// How images are transferred to the host.
    #[serde(default, skip_serializing_if = "Transfer::is_auto")]
    pub transfer: Transfer,
    /// Access to images for the host, if they are not public.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Box<ImageAccess>>,
    /// The jump hosts, in order; the first is reached directly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jumps: Vec<JumpHost>,
}

/// How a host verifies images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verification {
    /// It reads an image while it is being uploaded, if possible.
    #[default]
    Along,
    /// It reads an image after the whole upload.
    Full,
}

impl Verification {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_along(&self) -> bool {
        *self == Self::Along
    }
}

impl HostConnection {
    /// The host's ID, stable as long as it is the same host: `root@127.0.0.1:2222`, `unix:/path`, `sim`
    /// or `sim:NAME`.
    pub fn id(&self) -> String {
        self.to_string()
    }

    /// The short name of the host.
    pub fn name(&self) -> &str {
        match self {
            Self::Ssh(ssh) => &ssh.host,
            Self::Unix { .. } => "localhost",
            Self::Sim { name, .. } => name.as_deref().unwrap_or("sim"),
        }
    }

    /// Whether it is the simulated host.
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Sim { .. })
    }

    /// The upload limit, in bytes a second.
    pub fn upload_limit(&self) -> Option<u64> {
        match self {
            Self::Ssh(ssh) => ssh.upload_limit,
            Self::Unix { upload_limit, .. } | Self::Sim { upload_limit, .. } => *upload_limit,
        }
    }

    /// The policy for deleting unused images; `None` if there is none.
    pub fn image_policy(&self) -> Option<ImagePolicy> {
        match self {
            Self::Ssh(ssh) => ssh.image_policy,
            Self::Unix { image_policy, .. } | Self::Sim { image_policy, .. } => *image_policy,
        }
    }

    /// Whether an image is read on the host only after the whole upload.
    pub fn full_verification(&self) -> bool {
        matches!(self, Self::Ssh(ssh) if ssh.verify == Verification::Full)
    }

    /// How images are transferred to the host.
    pub fn transfer(&self) -> Transfer {
        match self {
            Self::Ssh(ssh) => ssh.transfer,
            Self::Unix { .. } | Self::Sim { .. } => Transfer::Auto,
        }
    }

    /// Sets the upload limit, in bytes a second; 0 means no limit.
    pub fn limit_uploads(&mut self, bytes: u64) {
        let limit = match self {
            Self::Ssh(ssh) => &mut ssh.upload_limit,
            Self::Unix { upload_limit, .. } | Self::Sim { upload_limit, .. } => upload_limit,
        };
        *limit = (bytes > 0).then_some(bytes);
    }

    /// Access to images for the host, if they are not public.
    pub fn image_access(&self) -> Option<&ImageAccess> {
        match self {
            Self::Ssh(ssh) => ssh.images.as_deref(),
            Self::Unix { .. } | Self::Sim { .. } => None,
        }
    }

    /// The known hosts lines, if the settings contain them.
    pub fn known_hosts(&self) -> Option<&str> {
        match self {
            Self::Ssh(ssh) => ssh.known_hosts.as_deref(),
            Self::Unix { .. } | Self::Sim { .. } => None,
        }
    }

    /// The jump hosts, in order.
    pub fn jumps(&self) -> &[JumpHost] {
        match self {
            Self::Ssh(ssh) => &ssh.jumps,
            Self::Unix { .. } | Self::Sim { .. } => &[],
        }
    }

    /// The path of the libvirt socket on the host, if it is not the default.
    pub fn socket(&self) -> Option<&str> {
        match self {
            Self::Ssh(ssh) => ssh.socket.as_deref(),
            Self::Unix { socket, .. } => Some(socket),
            Self::Sim { .. } => None,
        }
    }

    /// Whether any host key is accepted.
    pub fn is_insecure(&self) -> bool {
        matches!(self, Self::Ssh(ssh) if ssh.insecure_skip_host_key)
    }
}

impl fmt::Display for HostConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssh(SshHost {
                host, port, user, ..
            }) if host.contains(':') => {
                write!(f, "{user}@[{host}]:{port}")
            }
            Self::Ssh(SshHost {
                host, port, user, ..
            }) => write!(f, "{user}@{host}:{port}"),
            Self::Unix { socket, .. } => write!(f, "unix:{socket}"),
            Self::Sim { name: None, .. } => f.write_str("sim"),
            Self::Sim {
                name: Some(name), ..
            } => write!(f, "sim:{name}"),
        }
    }
}

impl SshHost {
    /// Checks the rules that all forms of host settings have in common.
    ///
    /// # Errors
    /// The key with the problem, and the problem.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        if !is_host(&self.host) {
            return Err(("HOSTNAME", "this is not a host name or address"));
        }
        if !is_word(&self.user) {
            return Err(("USER", "this is not a user name"));
        }
        if self.port == 0 {
            return Err(("PORT", "a port is between 1 and 65535"));
        }
        if self
            .socket
            .as_ref()
            .is_some_and(|socket| !socket.starts_with('/'))
        {
            return Err(("SOCKET", "the socket is an absolute path on the host"));
        }
        let known = self.known_hosts.is_some() || self.known_hosts_file.is_some();
        if !known && !self.insecure_skip_host_key {
            return Err((
                "KNOWN_HOSTS",
                "without known hosts vsiflow cannot verify which host answers",
            ));
        }
        Ok(())
    }
}

pub(super) fn is_host(host: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    !host.is_empty() && host.len() <= 253 && !host.starts_with('-') && host.chars().all(allowed)
}

pub(super) fn is_word(user: &str) -> bool {
    let odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '@' | '/' | ':');
    !user.is_empty() && !user.starts_with('-') && !user.contains(odd)
}

#[cfg(test)]
#[path = "host_tests.rs"]
mod tests;
