//! The port to the host itself, and the trait that returns a host's ports.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ConsolePort, DomainPort, NetworkPort, PortResult, StoragePort, Transfer, UploadLimit};

/// The facts that an inspection of a host returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The host's own name.
    pub hostname: String,
    /// libvirt's version, such as `9.0.0`.
    pub libvirt_version: String,
    /// `/proc/sys/kernel/random/boot_id`; changes when the host restarts. `None` if the host permits no
    /// commands.
    pub boot_id: Option<String>,
    /// Whether commands may be run there (`sync`, `sha256sum`).
    pub shell: bool,
}

/// libvirt's UUID of its host. A UUID from the hardware never changes; if libvirt finds none, it
/// generates another one at each start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostUuid {
    /// The UUID.
    pub uuid: Uuid,
    /// The start of libvirt's daemon that reported it; `None` if that is unknown.
    pub daemon: Option<String>,
}

/// The support for guests of an architecture on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSupport {
    /// The architecture, as libvirt names it (`s390x`).
    pub arch: String,
    /// `kvm`, or `qemu` if the host has no KVM for the architecture.
    pub domain_type: String,
    /// The canonical machine, such as `s390-ccw-virtio-9.2`.
    pub machine: String,
    /// Whether `<launchSecurity type='s390-pv'/>` is supported.
    pub secure_execution: bool,
}

/// The host's resources for guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCapacity {
    /// Processors that are online.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
}

/// The resources that a domain has used since it was started. A value is `None` if the host does not
/// report it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestStats {
    /// The domain.
    pub uuid: Uuid,
    /// Processor time, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Memory that it has now, bytes.
    pub memory: Option<u64>,
    /// Memory of the host that it uses, bytes.
    pub memory_resident: Option<u64>,
    /// Bytes that it read from its disks.
    pub disk_read: Option<u64>,
    /// Bytes that it wrote to them.
    pub disk_written: Option<u64>,
    /// Number of read requests.
    pub disk_reads: Option<u64>,
    /// Number of write requests.
    pub disk_writes: Option<u64>,
    /// Bytes that its network cards received.
    pub net_received: Option<u64>,
    /// Bytes that they sent.
    pub net_sent: Option<u64>,
}

/// How a host writes and rotates the guests' console logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCare {
    /// Who writes them: `logd` (virtlogd), or `file` (QEMU itself); `stdio_handler` of qemu.conf.
    pub log_handler: String,
    /// Size in bytes at which virtlogd rotates a log; `max_size` of virtlogd.conf.
    pub log_bytes: u64,
}

impl Default for HostCare {
    /// libvirt's defaults (its `src/logging/virtlogd.conf` and `src/qemu/qemu.conf.in`).
    fn default() -> Self {
        Self {
            log_handler: "logd".to_owned(),
            log_bytes: 2 << 20,
        }
    }
}

/// A subscription to a host's notifications about its domains.
#[async_trait]
pub trait HostChanges: Send {
    /// Waits for the next change; returns the domain whose state or definition changed. `None` if changes
    /// may have been missed and everything has to be read again. Cancel safe.
    ///
    /// # Errors
    /// Once the subscription has ended: subscribe again, then read everything.
    async fn next(&mut self) -> PortResult<Option<Uuid>>;
}

/// The host as a machine.
#[async_trait]
pub trait HostPort: Send + Sync {
    /// The host's name in its settings, which users know.
    fn name(&self) -> &str;

    /// Inspects the host.
    async fn facts(&self) -> PortResult<HostFacts>;

    /// The identity of the machine, which does not depend on how it is reached; `None` if the host does
    /// not report it. Read again with each connection.
    async fn machine(&self) -> PortResult<Option<String>> {
        Ok(None)
    }

    /// Accepts only that machine after this call, or any if `None`: another one that answers under this
    /// host's name and key is [`PortErrorKind::OtherMachine`](super::PortErrorKind::OtherMachine).
    fn pin(&self, _machine: Option<&str>) {}

    /// libvirt's UUID of the host; `None` if the host does not report it.
    async fn uuid(&self) -> PortResult<Option<HostUuid>> {
        Ok(None)
    }

    /// Accepts only a host with that libvirt UUID after this call, or any if `None`: another one is
    /// [`PortErrorKind::OtherMachine`](super::PortErrorKind::OtherMachine).
    fn pin_uuid(&self, _uuid: Option<Uuid>) {}

    /// The support for guests of `arch`; `None` if the host cannot run one.
    async fn guest_support(&self, arch: &str) -> PortResult<Option<GuestSupport>>;

    /// Its resources for guests; `None` if it does not report them.
    async fn capacity(&self) -> PortResult<Option<HostCapacity>> {
        Ok(None)
    }

    /// The resources that the running domains have used, in one call that waits for no guest; `None` if
    /// the host does not report them.
    async fn guest_stats(&self) -> PortResult<Option<Vec<GuestStats>>> {
        Ok(None)
    }

    /// How it handles console logs; `None` if that cannot be read.
    async fn care(&self) -> PortResult<Option<HostCare>> {
        Ok(None)
    }

    /// Subscribes to its notifications about domains; `None` if it sends none.
    async fn changes(&self) -> PortResult<Option<Box<dyn HostChanges>>> {
        Ok(None)
    }

    /// Disconnects from the host, as far as it answers. A later call connects again.
    async fn leave(&self) {}
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
    /// The rate at which images may be sent to it; `None` for no limit.
    pub upload_limit: Option<Arc<UploadLimit>>,
    /// Whether images are read on the host after the upload, even if it could hash them during the
    /// upload.
    pub full_verification: bool,
    /// How images are transferred to it.
    pub transfer: Transfer,
}

impl HostPorts {
    /// Waits until `bytes` more of an image may be sent.
    pub async fn may_send(&self, bytes: usize) {
        if let Some(limit) = &self.upload_limit {
            limit.pass(bytes).await;
        }
    }
}

/// Returns the ports of a host by its ID.
#[async_trait]
pub trait Hosts: Send + Sync + 'static {
    /// The ports of the host `id`; connections are made when they are needed.
    ///
    /// # Errors
    /// When the host's settings are not known or cannot be read.
    async fn host(&self, id: &str) -> PortResult<HostPorts>;

    /// Claims the machine that answers as this host for the caller's journal, if several journals share
    /// the hosts.
    ///
    /// # Errors
    /// If the machine belongs to another journal.
    async fn claim(&self, _id: &str, _machine: Option<&str>) -> PortResult<()> {
        Ok(())
    }

    /// Disconnects from all hosts, as far as they answer soon. A later call connects again.
    async fn leave(&self) {}

    /// The IDs of the other hosts that are known and whose owner is that of the host `id`: what belongs to a namespace
    /// that does not trust this one is neither asked nor named.
    async fn others(&self, _id: &str) -> Vec<String> {
        Vec::new()
    }

    /// Whether something of the caller's journal may exist that the journal does not know, because it is a copy that
    /// was restored from a backup.
    fn has_forgotten(&self) -> bool {
        false
    }

    /// Why the host is cordoned; `None` if it is not.
    fn cordoned(&self, _id: &str) -> Option<String> {
        None
    }
}
