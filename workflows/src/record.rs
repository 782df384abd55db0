//! What is wanted of entities, as it stands in the journal: JSON without any secret. Fields are
//! only ever added, with a default.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Failure, FailureClass, Hash, InvalidId, Name};

use vsiflow_steps::{
    ports::{HostUuid, OwnerMark, VolumeFormat, VolumeKey},
    snapshot::{DiskCopy, restore_disks::DiskToRestore},
    vsi::require_references::UnresolvedRef,
};

use crate::{
    adopt_vsi::Adopted,
    placement::Decision,
    spec::{
        DesiredDataDisk, DesiredVsi, Directory, HostConnection, PowerState, desired::DiskOrigin,
        host::HostLimits,
    },
    vsi_graph,
};

/// The kinds of entities.
pub mod kind {
    /// A virtual server instance; its id is its UID.
    pub const VSI: &str = "vsi";
    /// A base image on a pool of a host.
    pub const IMAGE: &str = "image";
    /// A host.
    pub const HOST: &str = "host";
    /// A data disk; its id is its UID.
    pub const DISK: &str = "disk";
    /// Which machine a host is; its id is the host's.
    pub const MACHINE: &str = "machine";
    /// What a host has; its id is the host's.
    pub const CAPACITY: &str = "capacity";
    /// A pool of virtual servers; its id is its UID.
    pub const POOL: &str = "pool";
    /// A group of members and pools in waves; its id is its UID.
    pub const GROUP: &str = "group";
    /// A directory of documents; its id is made of its place.
    pub const DIRECTORY: &str = "directory";
    /// Who may ask a daemon from another machine; its id is the token's name.
    pub const TOKEN: &str = "token";
    /// A snapshot of a VSI's disks; its id is its UID.
    pub const SNAPSHOT: &str = "snapshot";
    /// When snapshots of a VSI are due; its id is the VSI's UID.
    pub const SCHEDULE: &str = "schedule";
    /// A size of virtual servers; its id is its name.
    pub const TYPE: &str = "type";
    /// Limits of a namespace.
    pub const QUOTA: &str = "quota";
    /// A network that is made on a host; its id is made of both.
    pub const NETWORK: &str = "network";
    /// A VSI or a data disk that nobody can read and that somebody let go; its id is that one's.
    pub const ORPHAN: &str = "orphan";
}

/// A VSI as wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VsiRecord {
    /// Its UID, drawn before anything is done for it.
    pub uid: Uuid,
    /// The secret that holds its contract.
    pub contract: Name,
    /// The secret that holds the image's URL with its credentials, where it has any.
    #[serde(default)]
    pub image_credentials: Option<Name>,
    /// Secrets of earlier generations; erased when a newer one took their place, and again with
    /// the VSI, should a crash have come in between.
    #[serde(default)]
    pub retired: Vec<Name>,
    /// The UIDs of the data disks that are made, by the names of their documents.
    #[serde(default)]
    pub disks: BTreeMap<String, Uuid>,
    /// Everything else.
    pub vsi: DesiredVsi,
    /// What a power command asked for since its document last said something new of it.
    #[serde(default)]
    pub power: Option<Power>,
    /// What it was asked to be before this: what it is now was made from one of these.
    #[serde(default)]
    pub before: Vec<PreviousInputs>,
    /// What it is to be once somebody approves.
    #[serde(default)]
    pub proposed: Option<Box<VsiRecord>>,
    /// Whose turn comes before, where one change concerns many.
    #[serde(default)]
    pub turn: Option<RolloutPredecessor>,
    /// References whose documents were away: what they gave stays as it was.
    #[serde(default)]
    pub retained_refs: Vec<String>,
    /// What documents lack: nothing is begun before they say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved_refs: Vec<UnresolvedRef>,
    /// What was written to the host is to be written again: somebody changed it there.
    #[serde(default)]
    pub restore: bool,
    /// Names the newest command that asked for its boot disk to be made anew; none where nobody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Uuid>,
    /// The MAC addresses of its cards, in the order of its networks, where they do not follow from
    /// its UID and their places: a card keeps its address when one before it goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// How it was when it was adopted, where it was.
    #[serde(default)]
    pub adopted: Option<Adopted>,
    /// The mark on its domain when somebody asked to adopt it.
    #[serde(default)]
    pub previous_owner: Option<OwnerMark>,
    /// The fields of which nobody can tell how it was made; see [`crate::adopt_vsi::UNKNOWN`].
    #[serde(default)]
    pub unknown: BTreeSet<String>,
    /// The formats that data disks had when they were attached first: they are attached in no other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<DiskFormat>,
    /// What is to be done with its disks once, or was done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotOrder>,
    /// Which host was chosen for it and why, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<Decision>,
}

impl VsiRecord {
    /// One of which nothing is known but what it is to be.
    pub(crate) fn new(uid: Uuid, contract: Name, vsi: DesiredVsi) -> Self {
        Self {
            uid,
            contract,
            image_credentials: None,
            retired: Vec::new(),
            disks: BTreeMap::new(),
            vsi,
            power: None,
            before: Vec::new(),
            proposed: None,
            turn: None,
            retained_refs: Vec::new(),
            unresolved_refs: Vec::new(),
            restore: false,
            rebuilt: None,
            macs: Vec::new(),
            adopted: None,
            previous_owner: None,
            unknown: BTreeSet::new(),
            formats: Vec::new(),
            snapshot: None,
            placed: None,
        }
    }
}

/// What is done once with the disks of a VSI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotOrder {
    /// Names the command that asked for it.
    pub id: Uuid,
    /// What.
    pub action: SnapshotAction,
}

/// What is done with the disks of a VSI and a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SnapshotAction {
    /// The snapshot is taken.
    Take {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// The snapshot.
        record: Box<SnapshotRecord>,
    },
    /// The snapshot, which was being taken, is given up: what it left on the disks goes.
    Drop {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// The snapshot.
        record: Box<SnapshotRecord>,
    },
    /// The disks are put back as the snapshot has them.
    Restore {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// What people call it.
        name: String,
        /// The disks.
        disks: Vec<DiskToRestore>,
    },
}

impl SnapshotOrder {
    /// The snapshot's UID.
    pub fn snapshot(&self) -> Uuid {
        match &self.action {
            SnapshotAction::Take { snapshot, .. }
            | SnapshotAction::Drop { snapshot, .. }
            | SnapshotAction::Restore { snapshot, .. } => *snapshot,
        }
    }

    /// What people call the snapshot.
    pub fn name(&self) -> &str {
        match &self.action {
            SnapshotAction::Take { record, .. } | SnapshotAction::Drop { record, .. } => {
                &record.name
            }
            SnapshotAction::Restore { name, .. } => name,
        }
    }
}

/// A snapshot as wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The namespace, that of its VSI.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID of the VSI.
    pub vsi: Uuid,
    /// What people call the VSI.
    pub vsi_name: String,
    /// The host's id.
    pub host: String,
    /// The disks, and their copies.
    pub disks: Vec<DiskCopy>,
    /// Whether the guest's agent holds its file systems still for the moment of the snapshot.
    #[serde(default)]
    pub quiesce: bool,
    /// Why the guest must be off; none where it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_because: Option<String>,
    /// What was asked of the VSI then, but for its secrets.
    pub inputs: DesiredVsi,
    /// When it was due, in milliseconds since the epoch; none of one that somebody asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

/// How far a VSI's schedule of snapshots is. No run follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The UID of the VSI.
    pub vsi: Uuid,
    /// The namespace of the VSI.
    pub namespace: String,
    /// What people call the VSI.
    pub name: String,
    /// The schedule; none where the VSI has none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When the schedule was first seen: what was due before is nobody's concern. Milliseconds since the
    /// epoch, as all times here.
    pub since_ms: u64,
    /// The newest due time for which a snapshot was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// The UID of that snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Uuid>,
    /// How many due times passed without a snapshot since the schedule was first seen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// The newest due time for which none could be taken, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedDueTime>,
}

/// A due time without its snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedDueTime {
    /// When it was due.
    pub due_ms: u64,
    /// The code of what stood in its way.
    pub code: String,
    /// The same in words, with the remedy.
    pub why: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The format that a data disk had when it was attached first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFormat {
    /// The volume.
    pub volume: VolumeKey,
    /// The format.
    pub format: VolumeFormat,
}

/// What a power command asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Power {
    /// How it is to stay.
    pub state: PowerState,
    /// What is to be done for it even where it is that way already; none once it was done.
    #[serde(default)]
    pub action: Option<PowerAction>,
    /// Seconds the guest gets for an orderly end.
    pub grace_s: u64,
    /// How it was to stay before its host was drained; none where nobody drained it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<PowerState>,
}

/// A power command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerAction {
    /// It is to run.
    Start,
    /// It is to be off.
    Stop,
    /// It is to go off and come up again.
    Restart,
    /// It is to be suspended.
    Pause,
    /// It is to go on.
    Unpause,
}

impl PowerAction {
    /// What brings a VSI there, whatever it does now.
    pub fn to(state: PowerState) -> Self {
        match state {
            PowerState::Running => Self::Start,
            PowerState::Stopped => Self::Stop,
            PowerState::Paused => Self::Pause,
        }
    }

    /// How it leaves a VSI.
    pub fn state(self) -> PowerState {
        match self {
            Self::Start | Self::Restart | Self::Unpause => PowerState::Running,
            Self::Stop => PowerState::Stopped,
            Self::Pause => PowerState::Paused,
        }
    }
}

/// An earlier generation's inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreviousInputs {
    /// The generation.
    pub generation: u64,
    /// Whether it had been reached when the newer one was asked for.
    pub reached: bool,
    /// The secret that held the contract.
    pub contract: Name,
    /// Whether it was to run.
    pub power: PowerState,
    /// Everything else.
    pub vsi: DesiredVsi,
    /// The fields of which nobody can tell.
    #[serde(default)]
    pub unknown: BTreeSet<String>,
    /// The command by which its boot disk was made anew last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Uuid>,
    /// The command by which something was done with its disks last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Uuid>,
}

/// Whose turn comes before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPredecessor {
    /// The entity, as `KIND/ID`.
    pub after: String,
    /// What people call it.
    pub name: String,
    /// Whether this one goes on where that one failed.
    #[serde(default)]
    pub continue_on_failure: bool,
}

/// A data disk as wanted. Versions before this one recorded the disk alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// The disk.
    #[serde(flatten)]
    pub disk: DesiredDataDisk,
    /// Whether a run of a VSI may have made its volume: versions before this one left it to that.
    #[serde(default)]
    pub recorded: bool,
    /// Whether it was made before: a volume that is gone is not made again.
    #[serde(default)]
    pub made: bool,
    /// Whose end comes before its own: that of the VSI that uses it.
    #[serde(default)]
    pub turn: Option<RolloutPredecessor>,
    /// What documents lack: nothing is begun before they say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved_refs: Vec<UnresolvedRef>,
}

/// A directory of documents, as known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryRecord {
    /// The directory.
    pub directory: Directory,
    /// The entities that were applied from it last, as `KIND/ID`.
    pub members: BTreeSet<String>,
}

/// A base image as wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The host's id.
    pub host: String,
    /// The pool.
    pub pool: String,
    /// The URL without credentials.
    pub url: String,
    /// The file name at the URL's end.
    pub file_name: String,
    /// The checksum it must have, `sha256:…`.
    #[serde(default)]
    pub checksum: Option<String>,
}

/// A host as known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its settings without secrets.
    pub record: HostConnection,
    /// The secret that holds the private key, where the settings carry one.
    #[serde(default)]
    pub key: Option<Name>,
    /// The secret of the key before this one.
    #[serde(default)]
    pub retired: Option<Name>,
    /// The secret that opens the private key, where the settings carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_passphrase: Option<Name>,
    /// The one before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_key_passphrase: Option<Name>,
    /// The secret that holds the password or token for images, where the settings carry one.
    #[serde(default)]
    pub image_secret: Option<Name>,
    /// The one before this one.
    #[serde(default)]
    pub retired_image_secret: Option<Name>,
    /// The secrets of its jump hosts, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jump_secrets: Vec<JumpSecretNames>,
    /// Those before these that nothing names any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_jump_secrets: Vec<Name>,
    /// The namespace whose settings these are, where namespaces do not trust one another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The labels of the document that it was described by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What its document says of how much may be promised on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<HostLimits>,
}

/// The secrets of a jump host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpSecretNames {
    /// The secret that holds its private key, where the settings carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Name>,
    /// The secret that opens it, where the settings carry one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_passphrase: Option<Name>,
}

impl JumpSecretNames {
    /// Those that are there.
    pub fn iter(&self) -> impl Iterator<Item = &Name> {
        [&self.key, &self.key_passphrase].into_iter().flatten()
    }
}

/// Which machine a host is, as it was seen first or accepted last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// The host's id.
    pub host: String,
    /// What it says of itself; empty where it says nothing.
    #[serde(default)]
    pub machine: String,
    /// What libvirt calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libvirt: Option<LibvirtRecord>,
}

/// What libvirt calls a host. Where it finds no UUID in the hardware it draws one anew at each start:
/// only one that stayed equal over a restart of its daemon tells machines apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LibvirtRecord {
    /// The UUID that was seen last.
    pub uuid: Uuid,
    /// Which start of the daemon said so first; none where that could not be told.
    #[serde(default)]
    pub daemon: Option<String>,
    /// Whether a later start said so, too.
    #[serde(default)]
    pub stays: bool,
    /// What it was before, where it changed and nobody can tell why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Uuid>,
}

impl LibvirtRecord {
    /// One that was seen for the first time.
    pub(crate) fn first(seen: &HostUuid) -> Self {
        Self {
            uuid: seen.uuid,
            daemon: seen.daemon.clone(),
            stays: false,
            before: None,
        }
    }

    /// What is known once that was seen, too; none where that is nothing new.
    pub(crate) fn after(&self, seen: &HostUuid) -> Option<Self> {
        if self.stays {
            return None;
        }
        if self.uuid != seen.uuid {
            let before = Some(self.uuid);
            return Some(Self {
                before,
                ..Self::first(seen)
            });
        }
        match (&self.daemon, &seen.daemon) {
            (Some(then), Some(now)) if then != now => Some(Self {
                stays: true,
                before: None,
                ..self.clone()
            }),
            (None, Some(now)) => Some(Self {
                daemon: Some(now.clone()),
                ..self.clone()
            }),
            _ => None,
        }
    }

    /// What people are told of a change that stops nothing.
    pub(crate) fn warning(&self) -> Option<String> {
        let before = self.before?;
        Some(format!(
            "libvirt's host UUID was {before} and is {}: libvirt draws it anew at each start where \
             the hardware has none, else this is another machine",
            self.uuid
        ))
    }
}

/// The entity of a VSI.
pub fn vsi_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::VSI), uid.to_string())
}

/// The entity of a data disk.
pub fn disk_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::DISK), uid.to_string())
}

/// The entity of a snapshot.
pub fn snapshot_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::SNAPSHOT), uid.to_string())
}

/// The entity of a VSI's schedule of snapshots.
pub fn schedule_entity(vsi: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::SCHEDULE), vsi.to_string())
}

/// The UID of the snapshot of a VSI for a due time: there is one of them at most, however often it is asked
/// for.
pub fn scheduled_snapshot(vsi: Uuid, due_ms: u64) -> Uuid {
    let hash = Hash::of(format!("{vsi}/schedule/{due_ms}").as_bytes());
    let mut bytes = [0; 16];
    let places = bytes.iter_mut().zip(hash.0);
    places.for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The entity of a pool.
pub fn pool_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::POOL), uid.to_string())
}

/// The entity of a group.
pub fn group_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::GROUP), uid.to_string())
}

/// The entity of a network on a host, by its name there.
pub fn network_entity(host: &str, name: &str) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::NETWORK), digits(&[host, name], 24))
}

/// The entity of a directory.
pub fn directory_entity(directory: &Directory) -> Result<EntityId, InvalidId> {
    let depth = if directory.recursive { "all" } else { "own" };
    let id = digits(&[&directory.path, &directory.mount, depth], 32);
    EntityId::new(Name::of(kind::DIRECTORY), id)
}

/// The entity of a host. Ids that are no plain text are known by their hash.
pub fn host_entity(host: &str) -> Result<EntityId, InvalidId> {
    let kind = Name::of(kind::HOST);
    EntityId::new(kind.clone(), host).or_else(|_| EntityId::new(kind, digits(&[host], 32)))
}

/// The entity of what a host has.
pub fn capacity_entity(host: &str) -> Result<EntityId, InvalidId> {
    let kind = Name::of(kind::CAPACITY);
    EntityId::new(kind.clone(), host).or_else(|_| EntityId::new(kind, digits(&[host], 32)))
}

/// The entity of the machine that a host is.
pub fn machine_entity(host: &str) -> Result<EntityId, InvalidId> {
    let kind = Name::of(kind::MACHINE);
    EntityId::new(kind.clone(), host).or_else(|_| EntityId::new(kind, digits(&[host], 32)))
}

impl HostRecord {
    /// Every secret of the host, and those that are to be erased.
    pub fn secrets(&self) -> Vec<Name> {
        let all = [
            &self.key,
            &self.retired,
            &self.key_passphrase,
            &self.retired_key_passphrase,
            &self.image_secret,
            &self.retired_image_secret,
        ];
        let jumps = self.jump_secrets.iter().flat_map(JumpSecretNames::iter);
        let jumps = jumps.chain(&self.retired_jump_secrets);
        all.into_iter().flatten().chain(jumps).cloned().collect()
    }
}

impl PreviousInputs {
    /// The volumes of data disks that were there already, in order.
    pub(crate) fn volumes(&self) -> Vec<VolumeKey> {
        let disks = self.vsi.disks.iter();
        disks
            .map(|disk| VolumeKey {
                pool: disk.pool.clone(),
                name: match &disk.source {
                    DiskOrigin::Existing { volume } => volume.clone(),
                    DiskOrigin::Made { .. } => String::new(),
                },
            })
            .collect()
    }
}

impl VsiRecord {
    /// The volumes of its data disks, in order.
    pub(crate) fn volumes(&self) -> Vec<VolumeKey> {
        let disks = self.vsi.disks.iter();
        disks.map(|disk| vsi_graph::volume(self, disk)).collect()
    }

    /// Every secret that is the VSI's own.
    pub fn secrets(&self) -> Vec<Name> {
        let own = std::iter::once(self.contract.clone()).chain(self.image_credentials.clone());
        let proposed = self.proposed.iter().flat_map(|proposed| proposed.secrets());
        own.chain(self.retired.iter().cloned())
            .chain(proposed)
            .collect()
    }

    /// Whether it is to run: by the newest of its document and power commands.
    pub fn power_state(&self) -> PowerState {
        self.power.map_or(self.vsi.power_state, |power| power.state)
    }

    /// Its inputs, as what comes after keeps them.
    pub fn asked(&self, generation: u64, reached: bool) -> PreviousInputs {
        PreviousInputs {
            generation,
            reached,
            contract: self.contract.clone(),
            power: self.power_state(),
            vsi: self.vsi.clone(),
            unknown: self.unknown.clone(),
            rebuilt: self.rebuilt,
            snapshot: self.snapshot.as_ref().map(|order| order.id),
        }
    }
}

impl ImageRecord {
    /// The entity of this image: host, pool, URL and checksum make its identity.
    pub fn entity(&self) -> Result<EntityId, InvalidId> {
        let checksum = self.checksum.as_deref().unwrap_or("");
        let id = digits(&[&self.host, &self.pool, &self.url, checksum], 24);
        EntityId::new(Name::of(kind::IMAGE), id)
    }
}

fn digits(parts: &[&str], digits: usize) -> String {
    Hash::of(parts.join("\0").as_bytes())
        .to_string()
        .chars()
        .take(digits)
        .collect()
}

/// Reads what is wanted from the journal.
///
/// # Errors
/// A blocked failure when it was written by a version that this one cannot read.
pub fn read<T: DeserializeOwned>(desired: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(desired).map_err(|error| {
        Failure::new(
            FailureClass::Blocked,
            "VSI0005",
            format!("the desired state cannot be read: {error}"),
        )
        .with_remedy("run the vsiflow that recorded it, or apply the document again")
    })
}
