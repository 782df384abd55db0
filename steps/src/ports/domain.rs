//! Domains: guests as libvirt knows them.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;
use vsiflow_engine::model::RunId;

use super::{DhcpLease, PortResult, Removed, VolumeFormat};

/// Who made a domain; kept in the domain's own metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerMark {
    /// The identity of the journal that owns it.
    pub journal: String,
    /// The VSI's UID.
    pub uid: String,
    /// The generation it was made from.
    pub generation: u64,
    /// The sequence of the run that last touched it.
    pub sequence: u64,
    /// That run; none where an older version wrote the mark.
    #[serde(default)]
    pub run: Option<RunId>,
}

/// The state of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DomainState {
    /// It runs.
    Running,
    /// It was suspended.
    Paused,
    /// It is on its way down.
    ShuttingDown,
    /// It is off, after an orderly end or never started.
    ShutOff,
    /// It is off because it crashed.
    Crashed,
    /// It is being started and holds its disks: a moment later it runs, or is off after all.
    Starting,
    /// The host holds it for work of its own, a snapshot or a move, and lets it go afterwards.
    Held,
}

impl DomainState {
    /// Whether the guest holds its disks (runs, is paused, is on its way up or down).
    pub fn is_active(self) -> bool {
        !matches!(self, Self::ShutOff | Self::Crashed)
    }
}

/// Where a disk's bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DiskSource {
    /// A path on the host.
    Path(String),
    /// A volume named by pool and name.
    Volume {
        /// The pool.
        pool: String,
        /// The volume.
        volume: String,
    },
    /// Anything else (network disks …), in words.
    Other(String),
}

/// A domain as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// What its definition calls it for people, if anything.
    pub title: Option<String>,
    /// The architecture, as the host names it; empty where the definition does not say.
    pub arch: String,
    /// Its state.
    pub state: DomainState,
    /// Why it is in that state, in the host's words, where they say more than the state.
    pub reason: Option<String>,
    /// Whether it is off here because it was moved to another host.
    pub moved: bool,
    /// Whether its memory was saved when it went off: its next start takes that up and boots
    /// nothing.
    pub saved: bool,
    /// Whether a definition stays when it stops.
    pub persistent: bool,
    /// Whether libvirt starts it with the host.
    pub autostart: bool,
    /// Every file it names in its live and its stored definition: disks, backing chains, logs.
    pub files: Vec<DiskSource>,
    /// Who made it, where its metadata says so.
    pub mark: Option<OwnerMark>,
    /// The machine that its stored definition describes.
    pub stored: DomainShape,
    /// The machine that runs now; none while it is off.
    pub live: Option<DomainShape>,
    /// Its definition, as the host prints it.
    pub xml: String,
}

/// What of a definition people may change by hand: a machine with its disks and cards, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainShape {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Its disks.
    pub disks: Vec<DiskShape>,
    /// Its network cards.
    pub nics: Vec<NicSpec>,
    /// Its screens; none where an older version looked, which saw none of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screens: Option<Vec<ScreenShape>>,
}

/// A screen of a definition. Its port changes with each start, and is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenShape {
    /// The protocol, `vnc` and so on.
    pub protocol: String,
    /// The address that it listens on; empty where the definition names none.
    pub listen: String,
}

impl ScreenShape {
    /// The protocol that [`Graphics::Vnc`] asks for.
    pub const VNC: &str = "vnc";
    /// The only address that a screen of ours listens on.
    pub const LOOPBACK: &str = "127.0.0.1";

    /// A screen of our own.
    #[must_use]
    pub fn ours() -> Self {
        Self {
            protocol: Self::VNC.to_owned(),
            listen: Self::LOOPBACK.to_owned(),
        }
    }
}

/// A disk of a definition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskShape {
    /// The name in the definition, `vda` and so on.
    pub target: String,
    /// The file or device; `POOL/VOLUME` or words for anything else.
    pub source: String,
    /// The format, in the host's word.
    pub format: String,
    /// Read-only for the guest.
    pub readonly: bool,
    /// The serial by which the guest can find it.
    pub serial: String,
}

/// The machine a guest gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// `s390x` and so on.
    pub arch: String,
    /// `kvm` or `qemu`.
    pub domain_type: String,
    /// The canonical machine name.
    pub machine: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Ask for secure execution.
    pub secure_execution: bool,
    /// What a machine of today has; none for Hyper Protect guests of their own kind, whose
    /// definitions stay as they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// What a machine has that fits its architecture: features, a processor, firmware, random
/// numbers, a serial console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor: `host-model`, `host-passthrough`, `maximum`, or the name of a model; what
    /// fits the host where absent.
    #[serde(default)]
    pub cpu: Option<String>,
    /// The firmware.
    #[serde(default)]
    pub firmware: Firmware,
    /// Whether there is a channel to the guest's agent.
    #[serde(default)]
    pub agent: bool,
    /// The path on the host of the configuration that Ignition finds by the firmware.
    #[serde(default)]
    pub ignition: Option<String>,
    /// Whether it has a screen.
    #[serde(default, skip_serializing_if = "Graphics::is_none")]
    pub graphics: Graphics,
}

/// The screen of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Graphics {
    /// There is none.
    #[default]
    None,
    /// One that VNC shows, on the loopback of its host alone.
    Vnc,
}

impl Graphics {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// What a machine boots by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Firmware {
    /// What its architecture has by itself.
    #[default]
    Default,
    /// A PC's BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// A disk of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// The name in the definition, `vda` and so on.
    pub target: String,
    /// The serial by which the guest can find it.
    pub serial: String,
    /// The path on the host.
    pub path: String,
    /// The format.
    pub format: VolumeFormat,
    /// Whether it was made as a layer that reads through to another file. Of any other nobody is to
    /// look for one.
    #[serde(default)]
    pub overlay: bool,
    /// Read-only for the guest.
    pub readonly: bool,
    /// Its place in the boot order, from 1.
    pub boot_order: Option<u32>,
}

/// A network card of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicSpec {
    /// The network's name.
    pub network: String,
    /// The MAC address, `aa:bb:cc:dd:ee:ff`.
    pub mac: String,
}

/// A domain to be defined. How it looks in XML is the adapter's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DomainSpec {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its name: the UUID in text.
    pub name: String,
    /// `namespace/name`, for people.
    pub title: String,
    /// The machine.
    pub machine: MachineSpec,
    /// The disks, in order.
    pub disks: Vec<DiskSpec>,
    /// The network cards, in order.
    pub nics: Vec<NicSpec>,
    /// The path of the console's log file on the host.
    pub console_log: String,
    /// Whether libvirt starts it with the host.
    pub autostart: bool,
    /// Who makes it.
    pub mark: OwnerMark,
}

/// A layer that is to be laid over a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSpec {
    /// The disk's name in the definition, `vda` and so on.
    pub target: String,
    /// The path of the layer on the host; nothing is there yet.
    pub path: String,
}

/// A machine whose memory was saved into a file, as the file itself describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMachine {
    /// Its UUID.
    pub uuid: Uuid,
    /// The machine.
    pub shape: DomainShape,
}

/// How far a merge is, in units of the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeProgress {
    /// Done so far.
    pub done: u64,
    /// In all. It grows while the guest writes.
    pub total: u64,
}

/// An open serial console of a guest. Dropped, it is closed.
#[async_trait]
pub trait GuestConsole: Send {
    /// Carries bytes both ways until one side ends: the guest's, by its end or because somebody
    /// took the console over, or the caller's, by dropping `keys` or `shown`. Whoever takes
    /// nothing out of `shown` holds the guest's output up, and nothing else.
    ///
    /// # Errors
    /// What the host has against it; the console is closed then, too.
    async fn carry(
        self: Box<Self>,
        keys: mpsc::Receiver<Bytes>,
        shown: mpsc::Sender<Bytes>,
    ) -> PortResult<()>;
}

/// Domains of a host.
#[async_trait]
pub trait DomainPort: Send + Sync {
    /// The domain of that UUID; `None` where the host says that there is none.
    async fn domain(&self, uuid: Uuid) -> PortResult<Option<DomainInfo>>;

    /// All domains, running or not, anybody's.
    async fn domains(&self) -> PortResult<Vec<DomainInfo>>;

    /// Defines the domain, or changes the definition of the one with its UUID and name.
    async fn define(&self, spec: &DomainSpec) -> PortResult<DomainInfo>;

    /// Starts a domain that is off. `WrongState` where it runs.
    async fn start(&self, uuid: Uuid) -> PortResult<()>;

    /// Asks the guest to shut down. Returns when it was asked.
    async fn shutdown(&self, uuid: Uuid) -> PortResult<()>;

    /// Suspends the guest; its memory stays. `WrongState` where it is off.
    async fn suspend(&self, uuid: Uuid) -> PortResult<()>;

    /// Lets a suspended guest continue. `WrongState` where it is off.
    async fn resume(&self, uuid: Uuid) -> PortResult<()>;

    /// Makes a disk of a running guest larger, with the file behind it; `path` names it as the
    /// definition does. `WrongState` where it is off.
    async fn grow_disk(&self, uuid: Uuid, path: &str, capacity: u64) -> PortResult<()>;

    /// Lays an empty layer over each of these disks of a running guest, over all of them or none:
    /// from one moment on the guest writes into the layers, and the files below stay as they are.
    /// With `quiesce` the guest's agent holds its file systems still for that moment; `Rejected`
    /// where none does. The stored definition names the layers as well. `WrongState` where it is off.
    async fn add_layers(&self, uuid: Uuid, layers: &[LayerSpec], quiesce: bool) -> PortResult<()>;

    /// Lays layers as [`Self::add_layers`] does, and saves the guest's memory of the same moment into the
    /// file at `memory`, in place of whatever is there. The guest stands still until all of it is
    /// written. Nothing is synced by that. `WrongState` where it is off or suspended: the disks of a
    /// suspended guest could not be merged before it continues (QEMU leaves them inactive).
    async fn save_with_layers(
        &self,
        uuid: Uuid,
        layers: &[LayerSpec],
        memory: &str,
    ) -> PortResult<()>;

    /// The machine whose memory is in the file. An error where it was not saved to its end, as far as
    /// the host sees that: a file that lost its tail may pass.
    async fn saved_machine(&self, memory: &str) -> PortResult<SavedMachine>;

    /// Starts a domain that is off with the memory in the file in place of a boot: its guest continues
    /// where it was. Its disks are taken as files that read through to no other. The file stays as it
    /// is. `WrongState` where the domain runs.
    async fn start_saved(&self, uuid: Uuid, memory: &str) -> PortResult<()>;

    /// Begins to merge the layer that a disk's guest writes into down into the file right below it,
    /// while the guest runs on. `WrongState` where it is off.
    async fn begin_merge(&self, uuid: Uuid, target: &str) -> PortResult<()>;

    /// How far the merge of a disk's layer is; `None` where none is under way.
    async fn merging(&self, uuid: Uuid, target: &str) -> PortResult<Option<MergeProgress>>;

    /// Ends a merge that is done: the guest continues with the file that was below. The layer's file
    /// stays, and nobody needs it. `Busy` where it is not done.
    async fn end_merge(&self, uuid: Uuid, target: &str) -> PortResult<()>;

    /// Starts a domain that is off, suspended: its guest carries out nothing. `WrongState` where it
    /// runs.
    async fn start_paused(&self, uuid: Uuid) -> PortResult<()>;

    /// Says whether libvirt starts the domain with the host.
    async fn set_autostart(&self, uuid: Uuid, on: bool) -> PortResult<()>;

    /// The addresses of a running guest's cards, from what the host has beside DHCP leases: the
    /// guest's own agent, or the host's ARP table. Empty where none of them tells.
    async fn addresses(&self, uuid: Uuid) -> PortResult<Vec<DhcpLease>>;

    /// Has the guest's agent carry out a command, both in the agent's own JSON, and waits no
    /// longer than `within` for its answer. `WrongState` where the guest is off or no agent
    /// answers; `Rejected` where there is no channel to one or it refuses.
    async fn agent(&self, uuid: Uuid, command: &str, within: Duration) -> PortResult<String>;

    /// Opens the serial console of a running guest. `Busy` where somebody has it open, unless
    /// `force` closes theirs; `WrongState` where the guest is off.
    async fn open_console(&self, uuid: Uuid, force: bool) -> PortResult<Box<dyn GuestConsole>>;

    /// Connects to the VNC screen of a running guest, on the loopback of its host and nowhere else.
    /// `WrongState` where the guest is off; `Missing` where it has no such screen; `Rejected` where
    /// the host reports one that is none of ours: another address, or a port below those of
    /// screens; `Denied` where the host makes no connections for us.
    async fn open_screen(&self, uuid: Uuid) -> PortResult<Box<dyn GuestConsole>>;

    /// Writes whose the domain is into its metadata; nothing else changes, and a guest that runs
    /// notices nothing.
    async fn set_mark(&self, uuid: Uuid, mark: &OwnerMark) -> PortResult<()>;

    /// Ends the guest at once. `WrongState` where it is off.
    async fn destroy(&self, uuid: Uuid) -> PortResult<()>;

    /// Removes the definition of a domain that is off. `WrongState` where it runs.
    async fn undefine(&self, uuid: Uuid) -> PortResult<Removed>;
}
