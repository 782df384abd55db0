//! The host itself, and how the ports of a host are had.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{ConsolePort, DomainPort, NetworkPort, PortResult, StoragePort, Transfer, UploadLimit};

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

/// How libvirt names its host. That of the hardware stays; where libvirt finds none it draws another
/// one at each start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostUuid {
    /// The UUID.
    pub uuid: Uuid,
    /// Which start of libvirt's daemon says so; none where that cannot be told.
    pub daemon: Option<String>,
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

/// What a host has for guests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCapacity {
    /// Processors that are on.
    pub cpus: u32,
    /// Memory in bytes.
    pub memory: u64,
}

/// What a domain has used since it was started, as its host counts it. What a host does not tell is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GuestStats {
    /// The domain.
    pub uuid: Uuid,
    /// Processor time, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Memory that it has now, bytes.
    pub memory: Option<u64>,
    /// Memory of the host that it takes, bytes.
    pub memory_resident: Option<u64>,
    /// Bytes that it read from its disks.
    pub disk_read: Option<u64>,
    /// Bytes that it wrote to them.
    pub disk_written: Option<u64>,
    /// Requests of these readings.
    pub disk_reads: Option<u64>,
    /// Requests of these writings.
    pub disk_writes: Option<u64>,
    /// Bytes that its network cards received.
    pub net_received: Option<u64>,
    /// Bytes that they sent.
    pub net_sent: Option<u64>,
}

/// How a host looks after the guests' console logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCare {
    /// Who writes them: `logd` (virtlogd), or `file` (QEMU itself); `stdio_handler` of qemu.conf.
    pub log_handler: String,
    /// Bytes after which virtlogd turns one over; `max_size` of virtlogd.conf.
    pub log_bytes: u64,
}

impl Default for HostCare {
    /// What libvirt does where nothing is configured (its `src/logging/virtlogd.conf` and
    /// `src/qemu/qemu.conf.in`).
    fn default() -> Self {
        Self {
            log_handler: "logd".to_owned(),
            log_bytes: 2 << 20,
        }
    }
}

/// What a host tells by itself of its domains, from a subscription on.
#[async_trait]
pub trait HostChanges: Send {
    /// The domain that changed its state or definition, as long as it takes until one does; `None`
    /// where changes may have been missed and everything is to be looked at. Cancel safe.
    ///
    /// # Errors
    /// Once the subscription has ended: subscribe anew, then look at everything.
    async fn next(&mut self) -> PortResult<Option<Uuid>>;
}

/// The host as a machine.
#[async_trait]
pub trait HostPort: Send + Sync {
    /// The host's name in its settings; the word people know it by.
    fn name(&self) -> &str;

    /// Looks at the host.
    async fn facts(&self) -> PortResult<HostFacts>;

    /// Which machine it is, by what stays the same however it is reached; `None` where it does not
    /// tell. Read anew with each connection.
    async fn machine(&self) -> PortResult<Option<String>> {
        Ok(None)
    }

    /// From now on only that machine is spoken to, or any: another one that answers under this
    /// host's name and key is [`PortErrorKind::OtherMachine`](super::PortErrorKind::OtherMachine).
    fn pin(&self, _machine: Option<&str>) {}

    /// What libvirt calls the host; `None` where it does not tell.
    async fn uuid(&self) -> PortResult<Option<HostUuid>> {
        Ok(None)
    }

    /// From now on only a host that libvirt calls so is spoken to, or any: another one is
    /// [`PortErrorKind::OtherMachine`](super::PortErrorKind::OtherMachine).
    fn pin_uuid(&self, _uuid: Option<Uuid>) {}

    /// What a guest of `arch` gets here; `None` where the host cannot run one.
    async fn guest_support(&self, arch: &str) -> PortResult<Option<GuestSupport>>;

    /// What it has for guests; `None` where it does not tell.
    async fn capacity(&self) -> PortResult<Option<HostCapacity>> {
        Ok(None)
    }

    /// What the domains that run have used, all of them in one call that waits for no guest; `None` where it does not tell.
    async fn guest_stats(&self) -> PortResult<Option<Vec<GuestStats>>> {
        Ok(None)
    }

    /// How it looks after console logs; `None` where that cannot be read.
    async fn care(&self) -> PortResult<Option<HostCare>> {
        Ok(None)
    }

    /// What it tells of its domains from now on; `None` where it tells nothing by itself.
    async fn changes(&self) -> PortResult<Option<Box<dyn HostChanges>>> {
        Ok(None)
    }

    /// Takes leave of it, as far as it answers. Asked again, it is met anew.
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
    /// How fast images may be sent there; as fast as it goes where there is none.
    pub upload_limit: Option<Arc<UploadLimit>>,
    /// Whether images are read on the host after they were sent, also where it could read them
    /// along.
    pub full_verification: bool,
    /// How images go there.
    pub transfer: Transfer,
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

    /// Takes the machine that answers as the host for whoever asks, where several share the hosts.
    ///
    /// # Errors
    /// When it is another's.
    async fn claim(&self, _id: &str, _machine: Option<&str>) -> PortResult<()> {
        Ok(())
    }

    /// Takes leave of all of them, as far as they answer soon. Asked again, they are met anew.
    async fn leave(&self) {}

    /// Why the host takes no new VSI; none where it does.
    fn cordoned(&self, _id: &str) -> Option<String> {
        None
    }
}
