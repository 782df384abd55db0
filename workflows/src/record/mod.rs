//! The desired state of entities as stored in the journal: JSON without any secret. Fields are only
//! ever added, with a default.

mod entity;
mod host;
mod snapshot;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

pub use self::{
    entity::{
        capacity_entity, directory_entity, disk_entity, group_entity, host_entity, kind,
        machine_entity, network_entity, pool_entity, promise_entity, schedule_entity,
        scheduled_snapshot, snapshot_entity, vsi_entity,
    },
    host::{HostRecord, JumpSecretNames, LibvirtRecord, MachineRecord},
    snapshot::{
        DueTime, FailedDueTime, ScheduleRecord, SnapshotAction, SnapshotOrder, SnapshotRecord,
    },
};

pub(crate) use self::volumes::{disk_uid, volume};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Failure, FailureClass, InvalidId, Name};

use vsiflow_steps::{
    network::reserve_addresses::Reservation,
    ports::{OwnerMark, VolumeFormat, VolumeKey},
    vsi::require_references::UnresolvedRef,
};

use crate::{
    placement::Decision,
    spec::{DesiredDataDisk, DesiredVsi, Directory, PowerState},
};

/// What was found when a VSI was adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Whether its volumes have the names that vsiflow gives. Only then can they be rebuilt, and are
    /// deleted with it.
    pub own_volumes: bool,
    /// Its boot disk, if it has one of the names that vsiflow gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<VolumeKey>,
    /// The volumes of its data disks that this journal has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data_disks: Vec<VolumeKey>,
    /// The MAC addresses of its cards, in order.
    #[serde(default)]
    pub macs: Vec<String>,
}

/// The desired state of a VSI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VsiRecord {
    /// Its UID, chosen before anything is done for it.
    pub uid: Uuid,
    /// The secret that holds its contract.
    pub contract: Name,
    /// The secret that holds the image's URL with its credentials, if it has any.
    #[serde(default)]
    pub image_credentials: Option<Name>,
    /// Secrets of earlier generations. They are erased when newer ones replace them, and again with the
    /// VSI, in case of a crash in between.
    #[serde(default)]
    pub retired: Vec<Name>,
    /// The UIDs of the data disks that vsiflow makes, by the names of their documents.
    #[serde(default)]
    pub disks: BTreeMap<String, Uuid>,
    /// All other fields.
    pub vsi: DesiredVsi,
    /// The newest power command since its document last changed.
    #[serde(default)]
    pub power: Option<Power>,
    /// Earlier desired states: the VSI is now made from one of these.
    #[serde(default)]
    pub before: Vec<PreviousInputs>,
    /// The desired state that waits for approval.
    #[serde(default)]
    pub proposed: Option<Box<VsiRecord>>,
    /// The rollout predecessor, if one change concerns several VSIs.
    #[serde(default)]
    pub turn: Option<RolloutPredecessor>,
    /// References without a document: the VSI keeps what they resolved to before.
    #[serde(default)]
    pub retained_refs: Vec<String>,
    /// Unresolved references: nothing is started before they are resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved_refs: Vec<UnresolvedRef>,
    /// Whether to write the definition to the host again, because it was changed there.
    #[serde(default)]
    pub restore: bool,
    /// The ID of the newest rebuild command; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Uuid>,
    /// The MAC addresses of its cards, in the order of its networks, if they do not follow from its UID
    /// and the cards' positions: a card keeps its address when one before it is removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
    /// What was found when it was adopted, if it was.
    #[serde(default)]
    pub adopted: Option<Adopted>,
    /// The ownership mark on its domain when it was adopted.
    #[serde(default)]
    pub previous_owner: Option<OwnerMark>,
    /// The fields whose values are unknown; see [`crate::adopt_vsi::UNKNOWN`].
    #[serde(default)]
    pub unknown: BTreeSet<String>,
    /// The formats of data disks at their first attachment; later attachments use the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<DiskFormat>,
    /// The snapshot order that is open, or was last carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotOrder>,
    /// The host that was chosen for it and why, if one was chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placed: Option<Decision>,
    /// The reservations of addresses that a user released after the VSI was forgotten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub released: Vec<Reservation>,
}

impl VsiRecord {
    /// A record with only the desired state.
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
            released: Vec::new(),
        }
    }
}

/// The format of a data disk at its first attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFormat {
    /// The volume.
    pub volume: VolumeKey,
    /// The format.
    pub format: VolumeFormat,
}

/// A power command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Power {
    /// The desired power state.
    pub state: PowerState,
    /// The action to carry out even if the power state is already reached; `None` once it is done.
    #[serde(default)]
    pub action: Option<PowerAction>,
    /// How many seconds the guest gets to shut down.
    pub grace_s: u64,
    /// The power state before its host was drained; `None` if it was not drained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<PowerState>,
}

/// The action of a power command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerAction {
    /// Start it.
    Start,
    /// Shut it down.
    Stop,
    /// Shut it down and start it again.
    Restart,
    /// Suspend it.
    Pause,
    /// Resume it.
    Unpause,
}

impl PowerAction {
    /// The action that brings a VSI to this power state.
    pub fn to(state: PowerState) -> Self {
        match state {
            PowerState::Running => Self::Start,
            PowerState::Stopped => Self::Stop,
            PowerState::Paused => Self::Pause,
        }
    }

    /// The power state after this action.
    pub fn state(self) -> PowerState {
        match self {
            Self::Start | Self::Restart | Self::Unpause => PowerState::Running,
            Self::Stop => PowerState::Stopped,
            Self::Pause => PowerState::Paused,
        }
    }
}

/// The inputs of an earlier generation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreviousInputs {
    /// The generation.
    pub generation: u64,
    /// Whether it had been reached when the newer one was recorded.
    pub reached: bool,
    /// The secret that held the contract.
    pub contract: Name,
    /// Its power state.
    pub power: PowerState,
    /// All other fields.
    pub vsi: DesiredVsi,
    /// The fields whose values are unknown.
    #[serde(default)]
    pub unknown: BTreeSet<String>,
    /// The ID of the last rebuild command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Uuid>,
    /// The ID of the last snapshot order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Uuid>,
    /// The MAC addresses of its cards that do not follow from its UID and the cards' positions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub macs: Vec<String>,
}

/// The rollout predecessor: what must finish first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutPredecessor {
    /// The entity, as `KIND/ID`.
    pub after: String,
    /// Its label.
    pub name: String,
    /// Whether to continue if it fails.
    #[serde(default)]
    pub continue_on_failure: bool,
}

/// The desired state of a data disk. Earlier versions recorded the disk alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskRecord {
    /// The disk.
    #[serde(flatten)]
    pub disk: DesiredDataDisk,
    /// Whether a run of a VSI may have made its volume, as in earlier versions.
    #[serde(default)]
    pub recorded: bool,
    /// Whether it was made before: a volume that has disappeared is not made again.
    #[serde(default)]
    pub made: bool,
    /// Whether an earlier journal made it, and its content is a user's: which volume it is now is found out on its host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// The VSI that uses it, which must be deleted first.
    #[serde(default)]
    pub turn: Option<RolloutPredecessor>,
    /// Unresolved references: nothing is started before they are resolved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unresolved_refs: Vec<UnresolvedRef>,
}

/// A directory of documents, as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryRecord {
    /// The directory.
    pub directory: Directory,
    /// The entities that were applied from it last, as `KIND/ID`.
    pub members: BTreeSet<String>,
}

/// The desired state of a base image.
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

impl VsiRecord {
    /// Every secret that belongs to the VSI.
    pub fn secrets(&self) -> Vec<Name> {
        let own = std::iter::once(self.contract.clone()).chain(self.image_credentials.clone());
        let proposed = self.proposed.iter().flat_map(|proposed| proposed.secrets());
        own.chain(self.retired.iter().cloned())
            .chain(proposed)
            .collect()
    }

    /// The desired power state, by the newer of its document and a power command.
    pub fn power_state(&self) -> PowerState {
        self.power.map_or(self.vsi.power_state, |power| power.state)
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
