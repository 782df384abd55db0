//! Arguments and results of calls on domains: values, states, flags.

use serde::{Deserialize, Serialize};

use super::Uuid;

/// A domain (`remote_nonnull_domain`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteDomain {
    /// Its name, unique on the host.
    pub name: String,
    /// Its UUID, unique on the host; libvirt finds the domain by it.
    pub uuid: Uuid,
    /// The ID of its current run, or -1 if it does not run.
    pub id: i32,
}

/// A domain's state and the reason for it (`virDomainState`, `virDomain*Reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub struct RemoteDomainState {
    /// One of [`domain_state`].
    pub state: i32,
    /// The meaning depends on the state; for [`domain_state::SHUTOFF`] see [`shutoff_reason`].
    pub reason: i32,
}

/// A domain's resource usage (`virDomainInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RemoteDomainInfo {
    /// One of [`domain_state`].
    pub state: u8,
    /// The maximum memory in KiB.
    pub max_memory: u64,
    /// The current memory in KiB.
    pub memory: u64,
    /// The number of virtual processors.
    pub vcpus: u16,
    /// The used processor time in nanoseconds.
    pub cpu_time: u64,
}

/// A network interface of a domain and its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DomainInterface {
    /// Its name on the host, or in the guest if the guest's agent reports it.
    pub name: String,
    /// Its MAC address.
    pub hwaddr: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddress>,
}

/// An address with its prefix length.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IpAddress {
    /// 0 is IPv4, 1 is IPv6 (`virIPAddrType`).
    pub kind: i32,
    /// The address in its usual notation.
    pub address: String,
    /// Its prefix length in bits.
    pub prefix: u32,
}

/// The source of a domain's addresses (`virDomainInterfaceAddressesSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum AddressSource {
    /// The DHCP leases of libvirt's own networks.
    Lease,
    /// The guest's agent.
    Agent,
    /// The host's ARP table.
    Arp,
}

/// The kind of a domain's metadata (`virDomainMetadataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MetadataKind {
    /// `<description>`.
    Description,
    /// `<title>`.
    Title,
    /// An element of `<metadata>`, identified by its namespace.
    Element,
}

/// `virDomainState`.
pub mod domain_state {
    /// Running.
    pub const RUNNING: i32 = 1;
    /// Blocked on a resource.
    pub const BLOCKED: i32 = 2;
    /// Suspended.
    pub const PAUSED: i32 = 3;
    /// Shutting down.
    pub const SHUTDOWN: i32 = 4;
    /// Not running.
    pub const SHUTOFF: i32 = 5;
    /// Crashed, with its memory preserved.
    pub const CRASHED: i32 = 6;
    /// Suspended by the guest itself.
    pub const PMSUSPENDED: i32 = 7;
}

/// `virDomainPausedReason`; 0 is unknown, 1 a user's request.
pub mod paused_reason {
    /// It is being migrated to another host.
    pub const MIGRATION: i32 = 2;
    /// It is being saved.
    pub const SAVE: i32 = 3;
    /// Its memory is being dumped.
    pub const DUMP: i32 = 4;
    /// A disk failed to write or read.
    pub const IOERROR: i32 = 5;
    /// Its watchdog fired.
    pub const WATCHDOG: i32 = 6;
    /// It was restored from a snapshot.
    pub const FROM_SNAPSHOT: i32 = 7;
    /// It is shutting down.
    pub const SHUTTING_DOWN: i32 = 8;
    /// A snapshot is being made.
    pub const SNAPSHOT: i32 = 9;
    /// The guest crashed and stays paused.
    pub const CRASHED: i32 = 10;
    /// libvirt is starting it, or was when its daemon ended.
    pub const STARTING_UP: i32 = 11;
    /// It is being migrated with post-copy, and already runs on the other host.
    pub const POSTCOPY: i32 = 12;
    /// A post-copy migration has failed.
    pub const POSTCOPY_FAILED: i32 = 13;
    /// libvirt suspended it for one of its own calls and could not resume it.
    pub const API_ERROR: i32 = 14;
}

/// `virDomainShutoffReason`.
pub mod shutoff_reason {
    /// Unknown, for example not started since the daemon was.
    pub const UNKNOWN: i32 = 0;
    /// An orderly shutdown, or the guest powered itself off.
    pub const SHUTDOWN: i32 = 1;
    /// Destroyed on request.
    pub const DESTROYED: i32 = 2;
    /// QEMU died, or the guest's kernel panicked.
    pub const CRASHED: i32 = 3;
    /// Migrated to another host.
    pub const MIGRATED: i32 = 4;
    /// Saved to a file.
    pub const SAVED: i32 = 5;
    /// Failed to start.
    pub const FAILED: i32 = 6;
    /// Restored from a snapshot of a domain that was off.
    pub const FROM_SNAPSHOT: i32 = 7;
    /// The daemon ended it.
    pub const DAEMON: i32 = 8;
}

/// Flags of domain calls; combine with `|`.
pub mod domain_flags {
    /// `VIR_DOMAIN_CONSOLE_FORCE`: disconnect a client that has the console open.
    pub const CONSOLE_FORCE: u32 = 1;
    /// `VIR_DOMAIN_AFFECT_LIVE`: change the running domain.
    pub const AFFECT_LIVE: u32 = 1;
    /// `VIR_DOMAIN_AFFECT_CONFIG`: change the stored definition.
    pub const AFFECT_CONFIG: u32 = 2;
    /// `VIR_DOMAIN_DEFINE_VALIDATE`: refuse XML that does not match the schema.
    pub const DEFINE_VALIDATE: u32 = 1;
    /// `VIR_DOMAIN_UNDEFINE_MANAGED_SAVE`: delete saved memory too.
    pub const UNDEFINE_MANAGED_SAVE: u32 = 1;
    /// `VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA`: delete the metadata of snapshots too.
    pub const UNDEFINE_SNAPSHOTS_METADATA: u32 = 2;
    /// `VIR_DOMAIN_UNDEFINE_NVRAM`: delete the firmware's variables too.
    pub const UNDEFINE_NVRAM: u32 = 4;
    /// `VIR_DOMAIN_UNDEFINE_KEEP_NVRAM`: the firmware's variables remain.
    pub const UNDEFINE_KEEP_NVRAM: u32 = 8;
    /// `VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA`: delete the metadata of checkpoints too.
    pub const UNDEFINE_CHECKPOINTS_METADATA: u32 = 16;
    /// `VIR_DOMAIN_START_PAUSED`: start with paused processors.
    pub const START_PAUSED: u32 = 1;
    /// `VIR_DOMAIN_SAVE_RUNNING`: run after the memory is restored.
    pub const SAVE_RUNNING: u32 = 2;
    /// `VIR_DOMAIN_DESTROY_GRACEFUL`: ask QEMU to end, but never kill it.
    pub const DESTROY_GRACEFUL: u32 = 1;
    /// `VIR_DOMAIN_XML_SECURE`: with secrets; `VIR_DOMAIN_SAVE_IMAGE_XML_SECURE` is the same.
    pub const XML_SECURE: u32 = 1;
    /// `VIR_DOMAIN_XML_INACTIVE`: the stored definition, not the running one.
    pub const XML_INACTIVE: u32 = 2;
    /// `VIR_DOMAIN_BLOCK_RESIZE_BYTES`: the size is in bytes, not KiB.
    pub const BLOCK_RESIZE_BYTES: u32 = 1;
    /// `VIR_CONNECT_LIST_DOMAINS_ACTIVE`: list running domains.
    pub const LIST_ACTIVE: u32 = 1;
    /// `VIR_CONNECT_LIST_DOMAINS_INACTIVE`: list domains that do not run.
    pub const LIST_INACTIVE: u32 = 2;
}
