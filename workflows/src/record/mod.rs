//! The desired state of entities, as it stands in the journal: JSON without any secret. Fields are
//! only ever added, with a default.

mod entity;
mod host;
mod snapshot;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{
    entity::{
        capacity_entity, directory_entity, disk_entity, group_entity, host_entity, kind,
        machine_entity, network_entity, pool_entity, promise_entity, schedule_entity,
        scheduled_snapshot, snapshot_entity, vsi_entity,
    },
    host::{HostRecord, JumpSecretNames, LibvirtRecord, MachineRecord},
    snapshot::{FailedDueTime, ScheduleRecord, SnapshotAction, SnapshotOrder, SnapshotRecord},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Failure, FailureClass, InvalidId, Name};

use vsiflow_steps::{
    ports::{OwnerMark, VolumeFormat, VolumeKey},
    vsi::require_references::UnresolvedRef,
};

use crate::{
    adopt_vsi::Adopted,
    placement::Decision,
    spec::{DesiredDataDisk, DesiredVsi, Directory, PowerState, desired::DiskOrigin},
    vsi_graph,
};

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
    /// It is to continue.
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
    /// Whether this one continues where that one failed.
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
    pub fn inputs(&self, generation: u64, reached: bool) -> PreviousInputs {
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
        let id = entity::digits(&[&self.host, &self.pool, &self.url, checksum], 24);
        EntityId::new(Name::of(kind::IMAGE), id)
    }
}

/// Reads the desired state from the journal.
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
