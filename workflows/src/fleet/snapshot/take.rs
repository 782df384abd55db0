//! Takes snapshots.

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Precedence},
};
use vsiflow_steps::{error, names, snapshot::DiskCopy, vsi::define_domain::Secure};

use super::known::refused;
use crate::fleet::{
    Applied, Change, ErrorKind, Fleet, FleetError, SnapshotHandle, apply::is_deleting,
    index::Known, store::DesiredUpdates,
};
use crate::{
    orders,
    phase::Phase,
    record::{
        DueTime, SnapshotAction, SnapshotOrder, SnapshotRecord, VsiRecord, kind, snapshot_entity,
    },
    spec::{DesiredDisk, DiskOrigin, PowerState, snapshot::DesiredSnapshot},
    update_vsi, vsi_graph,
};

/// The name of the boot disk in a snapshot.
pub(in crate::fleet) const BOOT: &str = "boot";

/// The options of a new snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRequest {
    /// Its name; by default `VSI-N` with the next number.
    pub name: Option<String>,
    /// Its UID, if the caller chose one.
    pub uid: Option<Uuid>,
    /// Whether to save the guest's memory.
    pub memory: bool,
    /// Whether the guest agent freezes the file systems for that moment.
    pub quiesce: bool,
}

/// A snapshot that is being taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenSnapshot {
    /// The VSI whose run takes it.
    pub vsi: EntityId,
    /// The snapshot.
    pub snapshot: EntityId,
    /// Its name.
    pub name: String,
}

impl SnapshotHandle<'_> {
    /// Records that a snapshot of a VSI's disks is to be taken, and starts to take it.
    ///
    /// # Errors
    /// When there is no such VSI; when it is being changed or deleted, or was never made; when the name
    /// is in use; when this guest does not permit a snapshot, or another VSI has one of its disks.
    pub async fn take(
        self,
        namespace: &str,
        vsi: &str,
        request: SnapshotRequest,
        by: By,
    ) -> Result<TakenSnapshot, FleetError> {
        let mut updates = DesiredUpdates::default();
        let taken = self.fleet.take(namespace, vsi, request, None, &mut updates);
        let taken = taken.await?;
        self.fleet.record(updates, by).await?;
        Ok(taken)
    }
}

impl Fleet {
    /// Works out the change of each snapshot document: a snapshot is taken once.
    ///
    /// # Errors
    /// As for [`SnapshotHandle::take`]; also when the name belongs to another VSI's snapshot, or the
    /// same documents change its VSI.
    pub(in crate::fleet) async fn draft_snapshots(
        &self,
        desired: &[DesiredSnapshot],
        applied: &mut Vec<Applied>,
        updates: &mut DesiredUpdates,
    ) -> Result<(), FleetError> {
        for snapshot in desired {
            let (namespace, name) = (&snapshot.namespace, &snapshot.name);
            let change = match self.find_snapshot(namespace, name, false).await {
                Ok(known) if snapshot.uid.is_some_and(|uid| uid != known.uid) => {
                    let message = "another snapshot has this name";
                    let object = format!("snapshot/{name}");
                    let remedy =
                        "choose another name, or delete that one: `vsiflow snapshot delete`";
                    return Err(refused(&object, message, remedy));
                }
                Ok(known) if known.record.vsi_name == snapshot.spec.virtual_server => {
                    Change::Unchanged
                }
                Ok(known) => {
                    let message = format!("it is a snapshot of VSI {}", known.record.vsi_name);
                    let object = format!("snapshot/{name}");
                    return Err(refused(&object, &message, "choose another name"));
                }
                Err(error) if error.kind != ErrorKind::NotFound => return Err(error),
                Err(_) => {
                    self.draft_snapshot(snapshot, applied, updates).await?;
                    Change::Created
                }
            };
            let one = Applied::unplanned(kind::SNAPSHOT, namespace, name, None, change);
            applied.push(one);
        }
        Ok(())
    }

    async fn draft_snapshot(
        &self,
        desired: &DesiredSnapshot,
        applied: &mut Vec<Applied>,
        updates: &mut DesiredUpdates,
    ) -> Result<(), FleetError> {
        let (namespace, vsi) = (&desired.namespace, &desired.spec.virtual_server);
        let its = |one: &&mut Applied| {
            one.kind == kind::VSI && one.namespace == *namespace && one.name == *vsi
        };
        let changed = applied.iter_mut().find(its);
        if changed
            .as_ref()
            .is_some_and(|one| one.change != Change::Unchanged)
        {
            let message =
                "its VSI is made or changed by the same documents, or has another snapshot there";
            let object = format!("snapshot/{}", desired.name);
            let remedy = "apply the snapshot alone, once the VSI has its desired state";
            return Err(refused(&object, message, remedy));
        }
        let request = SnapshotRequest {
            name: Some(desired.name.clone()),
            uid: desired.uid,
            memory: desired.spec.memory,
            quiesce: desired.spec.quiesce,
        };
        let taken = self.take(namespace, vsi, request, None, updates).await?;
        // The VSI's run takes the snapshot, so callers wait for the VSI.
        match changed {
            Some(one) => one.change = Change::Configured,
            None => {
                let (entity, change) = (Some(taken.vsi), Change::Configured);
                let one = Applied::unplanned(kind::VSI, namespace, vsi, entity, change);
                applied.push(one);
            }
        }
        Ok(())
    }

    /// Adds the records for a new snapshot to `updates`; `due` is its due time, if a schedule takes
    /// it.
    pub(super) async fn take(
        &self,
        namespace: &str,
        vsi: &str,
        request: SnapshotRequest,
        due: Option<DueTime>,
        updates: &mut DesiredUpdates,
    ) -> Result<TakenSnapshot, FleetError> {
        let known = self.find(namespace, vsi, false).await?;
        refuse(&known, &request)?;
        self.refuse_shared(&known).await?;
        let uid = request.uid.unwrap_or_else(Uuid::new_v4);
        let name = self
            .snapshot_name(&known, &request, &BTreeSet::new())
            .await?;
        let desired = &known.record.vsi;
        let record = SnapshotRecord {
            namespace: desired.namespace.clone(),
            name: name.clone(),
            vsi: known.record.uid,
            vsi_name: desired.name.clone(),
            host: desired.host.clone(),
            disks: disks(&known, uid),
            memory: request
                .memory
                .then(|| names::snapshot_memory(&desired.pool, uid)),
            quiesce: request.quiesce,
            off_because: is_protected(&known).then(|| PROTECTED.to_owned()),
            inputs: desired.clone(),
            due_ms: due.map(|due| due.ms),
            set_backs: due.map_or(0, |due| due.set_backs),
        };
        let snapshot = snapshot_entity(uid).map_err(|e| FleetError::defect(e.to_string()))?;
        let (entity, workflow) = (snapshot.clone(), crate::snapshot::NAME);
        updates.add(entity, workflow, Precedence::Record, &record, None)?;
        let action = SnapshotAction::Take {
            snapshot: uid,
            record: Box::new(record),
        };
        self.order(&known, action, updates).await?;
        Ok(TakenSnapshot {
            vsi: known.entity,
            snapshot,
            name,
        })
    }

    /// Adds a snapshot order to a VSI's desired state.
    pub(in crate::fleet) async fn order(
        &self,
        known: &Known,
        action: SnapshotAction,
        updates: &mut DesiredUpdates,
    ) -> Result<VsiRecord, FleetError> {
        let record = self.ordered(known, action).await?;
        let (entity, made_from) = (known.entity.clone(), known.made_from());
        let supersede = Precedence::Supersede;
        updates.add(entity, update_vsi::NAME, supersede, &record, made_from)?;
        Ok(record)
    }

    pub(in crate::fleet) async fn ordered(
        &self,
        known: &Known,
        action: SnapshotAction,
    ) -> Result<VsiRecord, FleetError> {
        let ids = self.secrets.ids().await?;
        let id = Uuid::new_v4();
        let mut record = VsiRecord {
            snapshot: Some(SnapshotOrder { id, action }),
            restore: false,
            power: known.power(),
            before: known.history(),
            turn: None,
            formats: self.formats(known).await?,
            ..VsiRecord::clone(&known.record)
        };
        record.retired.retain(|secret| ids.contains(secret));
        Ok(record)
    }

    /// Refuses if another VSI of this journal has one of the disks, because it may write to it at any
    /// time.
    async fn refuse_shared(&self, known: &Known) -> Result<(), FleetError> {
        let disks = known.record.vsi.disks.iter();
        let own = disks.filter_map(|disk| vsi_graph::disk_uid(&known.record, disk));
        for uid in own {
            let users = self.known_with(uid).await?;
            let has = |vsi: &&Known| {
                let mut its_disks = vsi.record.vsi.disks.iter();
                let its = its_disks.any(|d| vsi_graph::disk_uid(&vsi.record, d) == Some(uid));
                its && !vsi.is_deleted() && vsi.entity != known.entity
            };
            if let Some(other) = users.iter().find(has) {
                let message = format!("VSI {} has the data disk {uid}, too", other.label());
                let failure = error::DISK_SHARED.failure(message);
                return Err(failure.of_object(object(known)).into());
            }
        }
        Ok(())
    }
}

fn object(known: &Known) -> String {
    format!("vsi/{}", known.record.vsi.full_name())
}

fn refuse(known: &Known, request: &SnapshotRequest) -> Result<(), FleetError> {
    let vsi = &known.record.vsi;
    if is_deleting(&known.state) {
        return Err(FleetError::going(&vsi.full_name()));
    }
    settled(known)?;
    if known
        .record
        .adopted
        .as_ref()
        .is_some_and(|a| !a.own_volumes)
    {
        let message = "it was adopted with volumes that vsiflow did not name";
        let remedy = "take the snapshot with `virsh`, or copy the volumes";
        return Err(refused(&object(known), message, remedy));
    }
    let refuse = |why: &str| {
        let failure = error::SNAPSHOT_REFUSED.failure(why);
        Err(failure.of_object(object(known)).on_host(&vsi.host).into())
    };
    let is_off = known.phase() == Phase::Stopped;
    if let Some(why) = no_memory(known, is_off, request) {
        return refuse(&why);
    }
    if !is_off && is_protected(known) {
        return refuse(PROTECTED);
    }
    if request.quiesce && is_off {
        refuse("the guest is off: there is no agent that could freeze its file systems")
    } else {
        Ok(())
    }
}

/// Why the requested memory cannot be saved.
fn no_memory(known: &Known, is_off: bool, request: &SnapshotRequest) -> Option<String> {
    if !request.memory {
        return None;
    }
    if is_protected(known) {
        let why = "its memory is protected from the host, which cannot save it";
        return Some(why.to_owned());
    }
    if is_off {
        let why = "the guest is off: it has no memory; take the snapshot without it";
        return Some(why.to_owned());
    }
    if known.record.power_state() == PowerState::Paused {
        let why = "the guest is paused: run `vsiflow unpause` first";
        return Some(why.to_owned());
    }
    if request.quiesce {
        let why = "with its memory nothing of the guest is lost, and its agent is not asked: leave out \
                   either quiesce or memory";
        return Some(why.to_owned());
    }
    let why = "its memory would not fit";
    left_out(&known.record)
        .map(|disk| format!("{disk} is in no snapshot: {why} what is on it then"))
}

/// A disk that the guest writes to and that is in no snapshot.
pub(in crate::fleet) fn left_out(record: &VsiRecord) -> Option<String> {
    if vsi_graph::is_ephemeral(&record.vsi) {
        return Some("the boot disk, which lasts for one start,".to_owned());
    }
    let made = |disk: &DesiredDisk| matches!(disk.source, DiskOrigin::Made { .. });
    let mut disks = record.vsi.disks.iter();
    let other = disks.find(|disk| !made(disk))?;
    Some(format!("disk {}, which vsiflow did not make,", other.name))
}

/// Why the disks of protected guests are copied only while they are off.
const PROTECTED: &str = "its memory is protected from the host, and what it has not written to its \
                         disks yet is in there; its disks are copied while it is off";

/// Refuses a VSI with an unfinished change, because that may change its disks.
pub(in crate::fleet) fn settled(known: &Known) -> Result<(), FleetError> {
    if known.state.reached > 0 && known.state.is_settled() {
        return Ok(());
    }
    if known.state.active.is_none() && orders::was_cancelled(&known.state) {
        let name = known.record.vsi.full_name();
        let remedy = format!(
            "`vsiflow start {name}` or `vsiflow stop {name}` records how it is to be now; then run the command again"
        );
        return Err(refused(
            &object(known),
            "its last change was cancelled",
            &remedy,
        ));
    }
    let message = "it is being made or changed";
    let remedy = "wait until that is done (`vsiflow get`), then run the command again";
    Err(refused(&object(known), message, remedy))
}

/// Whether the host cannot read the guest's memory.
pub(in crate::fleet) fn is_protected(known: &Known) -> bool {
    let vsi = &known.record.vsi;
    vsi.guest_type().is_hyper_protect() || vsi.machine.secure_execution == Secure::Required
}

/// The boot disk, unless it is made anew for each start, and the data disks that vsiflow made.
fn disks(known: &Known, snapshot: Uuid) -> Vec<DiskCopy> {
    let record = &known.record;
    let boot = (!vsi_graph::is_ephemeral(&record.vsi)).then(|| {
        let boot_disks = vsi_graph::BootDisks::of(record, &known.state.objects);
        (BOOT.to_owned(), boot_disks.current())
    });
    let made = |disk: &&DesiredDisk| matches!(disk.source, DiskOrigin::Made { .. });
    let data = record.vsi.disks.iter().filter(made);
    let data = data.map(|disk| {
        let name = format!("{}/{}", kind::DISK, disk.name);
        (name, vsi_graph::volume(record, disk))
    });
    let all = boot.into_iter().chain(data).enumerate();
    all.map(|(index, (disk, volume))| DiskCopy {
        disk,
        copy: names::snapshot_copy(&volume.pool, snapshot, index),
        layer: Some(names::snapshot_layer(&volume.pool, snapshot, index)),
        volume,
    })
    .collect()
}
