//! The host itself, and how the ports of a host are had.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use super::{ConsolePort, DomainPort, NetworkPort, PortResult, StoragePort, UploadLimit};

/// What is known of a host after a look at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The host's own name.
    pub hostname: String,
    /// libvirt's version, such as `9.0.0`.
    pub libvirt_version: String,
    /// `/proc/sys/kernel/random/boot_id`; changes when the host restarts. None where no shell is
    /// permitted.
    pub boot_id: Option<String>,
    /// Whether commands may be run there (`sync`, `sha256sum`).
    pub shell: bool,
}

/// What guests of an architecture get on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSupport {
    /// The architecture, as libvirt names it (`s390x`).
    pub arch: String,
    /// `kvm`, or `qemu` where the host has no KVM for the architecture.
    pub domain_type: String,
    /// The canonical machine, such as `s390-ccw-virtio-9.2`.
    pub machine: String,
    /// Whether `<launchSecurity type='s390-pv'/>` can be asked for.
    pub secure_execution: bool,
}

/// The host as a machine.
#[async_trait]
pub trait HostPort: Send + Sync {
    /// The host's name in its settings; the word people know it by.
    fn name(&self) -> &str;

    /// Looks at the host.
    async fn facts(&self) -> PortResult<HostFacts>;

    /// What a guest of `arch` gets here; `None` where the host cannot run one.
    async fn guest_support(&self, arch: &str) -> PortResult<Option<GuestSupport>>;
}

/// All ports of one host. Cheap to clone.
#[derive(Clone)]
pub struct HostPorts {
    /// The machine.
    pub host: Arc<dyn HostPort>,
    /// Pools and volumes.
    pub storage: Arc<dyn StoragePort>,
    /// Domains.
    pub domains: Arc<dyn DomainPort>,
    /// Networks.
    pub networks: Arc<dyn NetworkPort>,
    /// Console logs.
    pub console: Arc<dyn ConsolePort>,
    /// How fast images may be sent there; as fast as it goes where there is none.
    pub upload_limit: Option<Arc<UploadLimit>>,
}

impl HostPorts {
    /// Waits until so many bytes more of an image may be sent.
    pub async fn may_send(&self, bytes: usize) {
        if let Some(limit) = &self.upload_limit {
            limit.pass(bytes).await;
        }
    }
}

/// Gives the ports of a host by its id.
#[async_trait]
pub trait Hosts: Send + Sync + 'static {
    /// The ports of the host `id`; connections are made when they are needed.
    ///
    /// # Errors
    /// When the host's settings are not known or cannot be read.
    async fn host(&self, id: &str) -> PortResult<HostPorts>;
}
