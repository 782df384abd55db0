//! The port to domains: guests as libvirt knows them.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;
use vsiflow_engine::model::RunId;

use super::{DhcpLease, PortResult, Removed, VolumeFormat};
use crate::guards::permit::Permit;

/// Who owns a domain; stored in the domain's own metadata.
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
    /// That run; `None` if an older version wrote the mark.
    #[serde(default)]
    pub run: Option<RunId>,
    /// The snapshot whose layers were put over its disks last. Written before the layers, so that a
    /// definition from before them does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Uuid>,
}

/// The state of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DomainState {
    /// It runs.
    Running,
    /// It was suspended.
    Paused,
    /// It is shutting down.
    ShuttingDown,
    /// It is off, after an orderly end, or was never started.
    ShutOff,
    /// It is off because it crashed.
    Crashed,
    /// It is being started and holds its disks: a moment later it runs, or is off if the start failed.
    Starting,
    /// The host holds it for its own work, a snapshot or a migration, and releases it afterwards.
    Held,
}

impl DomainState {
    /// Whether the guest holds its disks (it runs, is paused, starting or shutting down).
    pub fn is_active(self) -> bool {
        !matches!(self, Self::ShutOff | Self::Crashed)
    }
}

/// The location of a disk's bytes.
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

/// The [`reason`](DomainInfo::reason) of a guest that is paused because a disk failed to write or read.
pub const IO_ERROR: &str = "I/O error";

/// A domain as the host knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainInfo {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its name.
    pub name: String,
    /// The title in its definition, for people.
    pub title: Option<String>,
    /// The architecture, in the host's word; empty if the definition does not say.
    pub arch: String,
    /// Its state.
    pub state: DomainState,
    /// Why it is in that state, in the host's words, if they say more than the state.
    pub reason: Option<String>,
    /// Whether it is off here because it was moved to another host.
    pub moved: bool,
    /// Whether its memory was saved when it was stopped: its next start resumes that memory and does not
    /// boot.
    pub saved: bool,
    /// Whether its definition remains when it stops.
    pub persistent: bool,
    /// Whether libvirt starts it with the host.
    pub autostart: bool,
    /// Every file it names in its live and its stored definition: disks, backing chains, logs.
    pub files: Vec<DiskSource>,
    /// While it runs: the complete backing chain of each of its disks, from the disk down, as the host has
    /// read it. Empty while it is off, and without disks whose chain the host does not show to its end.
    pub chains: Vec<Vec<String>>,
    /// Its mark, if its metadata has one.
    pub mark: Option<OwnerMark>,
    /// The machine that its stored definition describes.
    pub stored: DomainShape,
    /// The machine that runs now; `None` while it is off.
    pub live: Option<DomainShape>,
    /// Its definition, as the host prints it.
    pub xml: String,
}

impl DomainInfo {
    /// The machine of its stored definition, and the one that runs.
    pub fn shapes(&self) -> impl Iterator<Item = &DomainShape> {
        std::iter::once(&self.stored).chain(&self.live)
    }

    /// Whether the guest is paused because a disk failed, most often because its pool is full. It can neither
    /// continue nor shut down until the cause is removed.
    pub fn is_held_by_io_error(&self) -> bool {
        self.state == DomainState::Paused && self.reason.as_deref() == Some(IO_ERROR)
    }
}

/// The part of a definition that people may change by hand: a machine with its disks and cards, in order.
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
    /// Its screens; `None` if an older version, which did not read them, stored this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screens: Option<Vec<ScreenShape>>,
}

/// A screen of a definition. Its port changes with each start, and is not compared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScreenShape {
    /// The protocol, `vnc` and so on.
    pub protocol: String,
    /// The address that it listens on; empty if the definition has none.
    pub listen: String,
}

impl ScreenShape {
    /// The protocol for [`Graphics::Vnc`].
    pub const VNC: &str = "vnc";
    /// The only address that a screen of ours listens on.
    pub const LOOPBACK: &str = "127.0.0.1";

    /// The screen that vsiflow defines.
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
    /// Whether it is read-only for the guest.
    pub readonly: bool,
    /// The serial by which the guest can find it.
    pub serial: String,
}

impl DiskShape {
    /// Whether its file has this name, in whichever folder.
    pub fn is_called(&self, name: &str) -> bool {
        self.source.rsplit('/').next() == Some(name)
    }
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
    /// Whether to request secure execution.
    pub secure_execution: bool,
    /// The devices of a modern machine; `None` for guests of type Hyper Protect, so that their
    /// definitions do not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// Devices that fit the machine's architecture: features, a processor, firmware, a random number
/// generator, a serial console.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The processor: `host-model`, `host-passthrough`, `maximum`, or the name of a model; `None` for the
    /// best fit for the host.
    #[serde(default)]
    pub cpu: Option<String>,
    /// The firmware.
    #[serde(default)]
    pub firmware: Firmware,
    /// Whether there is a channel to the guest's agent.
    #[serde(default)]
    pub agent: bool,
    /// The path on the host of the configuration that Ignition reads through the firmware.
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
    /// The machine has no screen.
    #[default]
    None,
    /// A VNC screen that listens only on the loopback address of the host.
    Vnc,
}

impl Graphics {
    /// Whether the machine has no screen.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The firmware of a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Firmware {
    /// The default of its architecture.
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
    /// Whether it was made as a layer over another file. No backing file may be probed for any other
    /// disk.
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

/// A domain to define. The adapter writes its XML.
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
    /// The mark of its owner.
    pub mark: OwnerMark,
}

/// What a host has of a domain besides its definition and its disks: its memory, if it was saved with it,
/// and the settings of its firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leftovers {
    /// They remain; a definition of the same name finds the settings again.
    Keep,
    /// They are deleted.
    Delete,
}

/// A layer to add over a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerSpec {
    /// The disk's name in the definition, `vda` and so on.
    pub target: String,
    /// The path of the layer on the host; no file exists there yet.
    pub path: String,
}

/// A machine whose memory was saved into a file, as described in that file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedMachine {
    /// Its UUID.
    pub uuid: Uuid,
    /// The machine.
    pub shape: DomainShape,
}

/// The progress of a merge, in units of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MergeProgress {
    /// Done so far.
    pub done: u64,
    /// The total. It grows while the guest writes.
    pub total: u64,
}

/// A job that a host does on a disk of a running guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskJob {
    /// The file into which the job merges the file that the guest writes to, after which the guest can
    /// continue with that file; `None` for any other job.
    pub merges_into: Option<String>,
    /// Its type, in words.
    pub kind: String,
    /// Its progress.
    pub progress: MergeProgress,
}

/// An open serial console of a guest. Dropping it closes it.
#[async_trait]
pub trait GuestConsole: Send {
    /// Carries bytes both ways until one side ends. The guest's side ends when the guest ends or another
    /// client takes the console over; the caller's side ends by dropping `keys` or `shown`. A caller that
    /// does not read from `shown` stops the guest's output, and nothing else.
    ///
    /// # Errors
    /// The host's error; the console is then closed, too.
    async fn carry(
        self: Box<Self>,
        keys: mpsc::Receiver<Bytes>,
        shown: mpsc::Sender<Bytes>,
    ) -> PortResult<()>;
}

/// A domain to start.
#[derive(Clone, Copy, Debug)]
pub struct DomainStart {
    /// The domain.
    pub uuid: Uuid,
}

/// A domain to start suspended.
#[derive(Clone, Copy, Debug)]
pub struct PausedStart {
    /// The domain.
    pub uuid: Uuid,
}

/// A domain whose definition is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct Undefinition {
    /// The domain.
    pub uuid: Uuid,
    /// What becomes of its saved memory and of the settings of its firmware.
    pub leftovers: Leftovers,
}

/// Domains of a host.
#[async_trait]
pub trait DomainPort: Send + Sync {
    /// The domain of that UUID; `None` if the host reports that there is none.
    async fn domain(&self, uuid: Uuid) -> PortResult<Option<DomainInfo>>;

    /// All domains, running or not, ours and foreign.
    async fn domains(&self) -> PortResult<Vec<DomainInfo>>;

    /// Defines the domain, or changes the definition of the one with its UUID and name.
    async fn define(&self, permit: &Permit<DomainSpec>) -> PortResult<DomainInfo>;

    /// Starts a domain that is off. `WrongState` if it runs.
    async fn start(&self, permit: &Permit<DomainStart>) -> PortResult<()>;

    /// Asks the guest to shut down. Returns when it has been asked.
    async fn shutdown(&self, uuid: Uuid) -> PortResult<()>;

    /// Suspends the guest; its memory is preserved. `WrongState` if it is off.
    async fn suspend(&self, uuid: Uuid) -> PortResult<()>;

    /// Resumes a suspended guest. `WrongState` if it is off.
    async fn resume(&self, uuid: Uuid) -> PortResult<()>;

    /// Makes a disk of a running guest larger, with the file behind it; `path` is the disk's path in the
    /// definition. `WrongState` if it is off.
    async fn grow_disk(&self, uuid: Uuid, path: &str, capacity: u64) -> PortResult<()>;

    /// Adds an empty layer over each of these disks of a running guest, over all of them or none. From
    /// one moment the guest writes into the layers, and the files below do not change. With `quiesce` the
    /// guest's agent freezes its file systems for that moment; `Rejected` if no agent does. The stored
    /// definition also names the layers. `WrongState` if the guest is off.
    async fn add_layers(&self, uuid: Uuid, layers: &[LayerSpec], quiesce: bool) -> PortResult<()>;

    /// Adds layers like [`Self::add_layers`], and saves the guest's memory of the same moment into the
    /// file at `memory`, replacing any content. The guest is stopped until all of it is written. Nothing
    /// is synced. `WrongState` if it is off or suspended: the disks of a suspended guest could not be
    /// merged before it resumes (QEMU leaves them inactive).
    async fn save_with_layers(
        &self,
        uuid: Uuid,
        layers: &[LayerSpec],
        memory: &str,
    ) -> PortResult<()>;

    /// The machine whose memory is in the file. An error if the save did not complete, as far as the host
    /// can detect that: a truncated file may pass.
    async fn saved_machine(&self, memory: &str) -> PortResult<SavedMachine>;

    /// Starts a domain that is off from the memory in the file instead of a boot: its guest continues
    /// where it was. Its disks are opened as files without backing files. The memory file is not changed.
    /// `WrongState` if the domain runs.
    async fn start_saved(&self, permit: &Permit<DomainStart>, memory: &str) -> PortResult<()>;

    /// Begins to merge a disk's active layer into the file directly below it, while the guest runs.
    /// `WrongState` if it is off.
    async fn begin_merge(&self, uuid: Uuid, target: &str) -> PortResult<()>;

    /// The job on a disk, whoever began it; `None` if there is none.
    async fn disk_job(&self, uuid: Uuid, target: &str) -> PortResult<Option<DiskJob>>;

    /// Ends a merge that is done: the guest continues with the file below. The layer's file remains, and
    /// is no longer used. `Busy` if the merge is not done.
    async fn end_merge(&self, uuid: Uuid, target: &str) -> PortResult<()>;

    /// Starts a domain that is off in the suspended state: its guest executes nothing. `WrongState` if it
    /// runs.
    async fn start_paused(&self, permit: &Permit<PausedStart>) -> PortResult<()>;

    /// Sets whether libvirt starts the domain with the host.
    async fn set_autostart(&self, uuid: Uuid, on: bool) -> PortResult<()>;

    /// The addresses of a running guest's cards, from the host's sources other than DHCP leases: the
    /// guest's agent or the host's ARP table. Empty if none of them has any.
    async fn addresses(&self, uuid: Uuid) -> PortResult<Vec<DhcpLease>>;

    /// Sends a command to the guest's agent, in the agent's own JSON, and waits at most `within` for its
    /// answer. `WrongState` if the guest is off or no agent answers; `Rejected` if there is no channel to
    /// one or it refuses.
    async fn agent(&self, uuid: Uuid, command: &str, within: Duration) -> PortResult<String>;

    /// Opens the serial console of a running guest. `Busy` if another client has it open, unless `force`
    /// disconnects that one; `WrongState` if the guest is off.
    async fn open_console(&self, uuid: Uuid, force: bool) -> PortResult<Box<dyn GuestConsole>>;

    /// Connects to the VNC screen of a running guest, only on the loopback address of its host.
    /// `WrongState` if the guest is off; `Missing` if it has no such screen; `Rejected` if the host
    /// reports one that is not ours: another address, or a port below the range of screens; `Denied` if
    /// the host makes no connections for us.
    async fn open_screen(&self, uuid: Uuid) -> PortResult<Box<dyn GuestConsole>>;

    /// Writes the owner's mark into the domain's metadata; nothing else changes, and a running guest is
    /// not affected.
    async fn set_mark(&self, uuid: Uuid, mark: &OwnerMark) -> PortResult<()>;

    /// Ends the guest immediately. `WrongState` if it is off.
    async fn destroy(&self, uuid: Uuid) -> PortResult<()>;

    /// Removes the definition of a domain that is off. `WrongState` if it runs, or if it was saved with its
    /// memory and that is kept.
    async fn undefine(&self, permit: &Permit<Undefinition>) -> PortResult<Removed>;
}
