//! What calls on domains take and give: values, states, flags.

use serde::{Deserialize, Serialize};

use super::Uuid;

/// A domain (`remote_nonnull_domain`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RemoteDomain {
    /// Its name, unique on the host.
    pub name: String,
    /// Its UUID, unique on the host; libvirt finds it by this.
    pub uuid: Uuid,
    /// The number of its present run, or -1 while it does not run.
    pub id: i32,
}

/// A domain's state and why it is in it (`virDomainState`, `virDomain*Reason`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub struct RemoteDomainState {
    /// One of [`domain_state`].
    pub state: i32,
    /// Meaning depends on the state; for [`domain_state::SHUTOFF`] see [`shutoff_reason`].
    pub reason: i32,
}

/// What a domain uses (`virDomainInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct RemoteDomainInfo {
    /// One of [`domain_state`].
    pub state: u8,
    /// Memory it may have, KiB.
    pub max_memory: u64,
    /// Memory it has, KiB.
    pub memory: u64,
    /// Virtual processors.
    pub vcpus: u16,
    /// Processor time used, nanoseconds.
    pub cpu_time: u64,
}

/// A network interface of a domain, and its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DomainInterface {
    /// Its name: on the host, or in the guest when the guest's agent tells.
    pub name: String,
    /// Its MAC address.
    pub hwaddr: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddress>,
}

/// An address with its prefix.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct IpAddress {
    /// 0 is IPv4, 1 is IPv6 (`virIPAddrType`).
    pub kind: i32,
    /// The address in its usual form.
    pub address: String,
    /// Its prefix length, bits.
    pub prefix: u32,
}

/// Where a domain's addresses are looked up (`virDomainInterfaceAddressesSource`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum AddressSource {
    /// The DHCP leases of libvirt's own networks.
    Lease,
    /// The guest's agent.
    Agent,
    /// The host's ARP table.
    Arp,
}

/// Which part of a domain's description is meant (`virDomainMetadataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum MetadataKind {
    /// `<description>`.
    Description,
    /// `<title>`.
    Title,
    /// An element of `<metadata>`, told apart by its namespace.
    Element,
}

/// `virDomainState`.
pub mod domain_state {
    /// Runs.
    pub const RUNNING: i32 = 1;
    /// Waits for a resource.
    pub const BLOCKED: i32 = 2;
    /// Suspended.
    pub const PAUSED: i32 = 3;
    /// On its way down.
    pub const SHUTDOWN: i32 = 4;
    /// Does not run.
    pub const SHUTOFF: i32 = 5;
    /// Crashed, and kept as it was.
    pub const CRASHED: i32 = 6;
    /// Suspended by the guest itself.
    pub const PMSUSPENDED: i32 = 7;
}

/// `virDomainPausedReason`; 0 is unknown, 1 somebody's request.
pub mod paused_reason {
    /// It is being moved to another host.
    pub const MIGRATION: i32 = 2;
    /// It is being saved.
    pub const SAVE: i32 = 3;
    /// Its memory is being dumped.
    pub const DUMP: i32 = 4;
    /// A disk did not take what the guest wrote, or did not give what it read.
    pub const IOERROR: i32 = 5;
    /// Its watchdog went off.
    pub const WATCHDOG: i32 = 6;
    /// It went back to a snapshot.
    pub const FROM_SNAPSHOT: i32 = 7;
    /// It is on its way down.
    pub const SHUTTING_DOWN: i32 = 8;
    /// A snapshot is being made.
    pub const SNAPSHOT: i32 = 9;
    /// The guest crashed and is kept so.
    pub const CRASHED: i32 = 10;
    /// libvirt is starting it, or was when its daemon ended.
    pub const STARTING_UP: i32 = 11;
    /// It is being moved, and runs elsewhere already.
    pub const POSTCOPY: i32 = 12;
    /// Moving it so has failed.
    pub const POSTCOPY_FAILED: i32 = 13;
    /// libvirt suspended it for a call of its own and could not let it go on.
    pub const API_ERROR: i32 = 14;
}

/// `virDomainShutoffReason`.
pub mod shutoff_reason {
    /// Not known, e.g. never started since the daemon did.
    pub const UNKNOWN: i32 = 0;
    /// An orderly shutdown, or the guest switched itself off.
    pub const SHUTDOWN: i32 = 1;
    /// Destroyed by somebody.
    pub const DESTROYED: i32 = 2;
    /// QEMU died, or the guest's kernel panicked.
    pub const CRASHED: i32 = 3;
    /// Moved to another host.
    pub const MIGRATED: i32 = 4;
    /// Saved to a file.
    pub const SAVED: i32 = 5;
    /// Failed to start.
    pub const FAILED: i32 = 6;
    /// Went back to a snapshot that does not run.
    pub const FROM_SNAPSHOT: i32 = 7;
    /// The daemon ended it.
    pub const DAEMON: i32 = 8;
}

/// Flags of domain calls; combine with `|`.
pub mod domain_flags {
    /// `VIR_DOMAIN_CONSOLE_FORCE`: close the console of whoever has it open.
    pub const CONSOLE_FORCE: u32 = 1;
    /// `VIR_DOMAIN_AFFECT_LIVE`: change the running domain.
    pub const AFFECT_LIVE: u32 = 1;
    /// `VIR_DOMAIN_AFFECT_CONFIG`: change the stored definition.
    pub const AFFECT_CONFIG: u32 = 2;
    /// `VIR_DOMAIN_DEFINE_VALIDATE`: refuse XML against the schema.
    pub const DEFINE_VALIDATE: u32 = 1;
    /// `VIR_DOMAIN_UNDEFINE_MANAGED_SAVE`: drop saved memory too.
    pub const UNDEFINE_MANAGED_SAVE: u32 = 1;
    /// `VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA`: drop what is known of snapshots too.
    pub const UNDEFINE_SNAPSHOTS_METADATA: u32 = 2;
    /// `VIR_DOMAIN_UNDEFINE_NVRAM`: drop the firmware's variables too.
    pub const UNDEFINE_NVRAM: u32 = 4;
    /// `VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA`: drop what is known of checkpoints too.
    pub const UNDEFINE_CHECKPOINTS_METADATA: u32 = 16;
    /// `VIR_DOMAIN_START_PAUSED`: start, but do not run.
    pub const START_PAUSED: u32 = 1;
    /// `VIR_DOMAIN_SAVE_RUNNING`: run after the memory is taken up.
    pub const SAVE_RUNNING: u32 = 2;
    /// `VIR_DOMAIN_DESTROY_GRACEFUL`: ask QEMU to end, but never kill it.
    pub const DESTROY_GRACEFUL: u32 = 1;
    /// `VIR_DOMAIN_XML_SECURE`: with secrets; `VIR_DOMAIN_SAVE_IMAGE_XML_SECURE` is the same.
    pub const XML_SECURE: u32 = 1;
    /// `VIR_DOMAIN_XML_INACTIVE`: the stored definition, not the running one.
    pub const XML_INACTIVE: u32 = 2;
    /// `VIR_DOMAIN_BLOCK_RESIZE_BYTES`: the size is in bytes, not KiB.
    pub const BLOCK_RESIZE_BYTES: u32 = 1;
    /// `VIR_CONNECT_LIST_DOMAINS_ACTIVE`: list those that run.
    pub const LIST_ACTIVE: u32 = 1;
    /// `VIR_CONNECT_LIST_DOMAINS_INACTIVE`: list those that do not.
    pub const LIST_INACTIVE: u32 = 2;
}
