//! Compares documents with known data disks and makes their new desired states.

use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass, Precedence};
use vsiflow_steps::{names, ports::VolumeKey, vsi::require_references::UnresolvedRef};

use crate::fleet::{
    Applied, Change, ErrorKind, FleetError, disk::known::KnownDisk, index::Known,
    store::DesiredUpdates,
};
use crate::{
    data_disk,
    plan::{self, How, Plan},
    record::{DiskRecord, disk_entity, kind},
    spec::{DataDiskSource, DesiredDataDisk, Resolved, documents},
};

pub(in crate::fleet) fn matching<'a>(
    disk: &DesiredDataDisk,
    known: &'a [KnownDisk],
) -> Option<&'a KnownDisk> {
    known.iter().find(|known| {
        let named =
            known.record.disk.namespace == disk.namespace && known.record.disk.name == disk.name;
        named && disk.uid.is_none_or(|uid| uid == known.uid) && !known.is_deleted()
    })
}

/// The desired state of a data disk in a document.
pub(in crate::fleet) struct DiskRequest {
    pub(in crate::fleet) disk: DesiredDataDisk,
    unresolved_refs: Vec<UnresolvedRef>,
}

impl DiskRequest {
    /// Makes the request. A known disk stays on its host while no document names one.
    pub(in crate::fleet) fn of(
        disk: &DesiredDataDisk,
        known: Option<&KnownDisk>,
        resolved: &Resolved,
    ) -> Self {
        let mut disk = disk.clone();
        if let Some(known) = known.filter(|_| disk.host.is_empty()) {
            disk.host.clone_from(&known.record.disk.host);
        }
        let unresolved_refs = if disk.host.is_empty() {
            resolved.unmatched_selectors(documents::DATA_DISK, &disk.namespace, &disk.name)
        } else {
            Vec::new()
        };
        Self {
            disk,
            unresolved_refs,
        }
    }
}

pub(in crate::fleet) fn create(
    request: &DiskRequest,
    uid: Uuid,
    vsis: &[Known],
    updates: &mut DesiredUpdates,
) -> Result<(Uuid, Applied), FleetError> {
    let disk = &request.disk;
    let came = came_with(disk, uid, vsis)?;
    let entity = disk_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
    let record = DiskRecord {
        disk: disk.clone(),
        recorded: came,
        made: false,
        adopted: came,
        turn: None,
        unresolved_refs: request.unresolved_refs.clone(),
    };
    let supersede = Precedence::Supersede;
    updates.add(entity.clone(), data_disk::NAME, supersede, &record, None)?;
    let applied = Applied::of_disk(disk, entity, Change::Created);
    Ok((uid, applied))
}

/// Whether the disk came with an adopted VSI, and belongs to this journal with it.
///
/// # Errors
/// `VSI0757` if it came with a VSI of another namespace.
fn came_with(disk: &DesiredDataDisk, uid: Uuid, vsis: &[Known]) -> Result<bool, FleetError> {
    let is_its =
        |volume: &VolumeKey| volume.pool == disk.pool && names::is_of_data_disk(&volume.name, uid);
    let brought = vsis.iter().filter(|vsi| {
        let is_there = vsi.record.vsi.host == disk.host && !vsi.is_deleted();
        is_there && vsi.record.adopted.is_some() && vsi.record.volumes().iter().any(is_its)
    });
    let (own, foreign): (Vec<_>, Vec<_>) =
        brought.partition(|vsi| vsi.record.vsi.namespace == disk.namespace);
    let Some(owner) = foreign.first().filter(|_| own.is_empty()) else {
        return Ok(!own.is_empty());
    };
    let message = format!("the UID {uid} is that of a disk of vsi/{}", owner.label());
    let failure = Failure::new(FailureClass::Blocked, "VSI0757", message)
        .of_object(format!("{}/{}", kind::DISK, full_name(disk)))
        .on_host(&disk.host)
        .with_remedy("remove metadata.uid from the document, or write it in the VSI's namespace");
    Err(FleetError::new(ErrorKind::Blocked, failure))
}

pub(in crate::fleet) fn change(
    request: &DiskRequest,
    known: &KnownDisk,
    vsis: &[Known],
    updates: &mut DesiredUpdates,
) -> Result<Applied, FleetError> {
    let disk = &request.disk;
    let mut applied = Applied::of_disk(disk, known.entity.clone(), Change::Unchanged);
    applied.plan = plan_of(disk, known);
    applied.fields = applied.plan.changes.clone();
    let found = known.record.unresolved_refs != request.unresolved_refs;
    if !applied.plan.is_empty() || found {
        applied.change = Change::Configured;
    }
    let in_use = |vsi: &Known| vsi.state.reached > 0 && known.is_used_by(vsi);
    let came = !known.is_made() && !known.record.adopted && came_with(disk, known.uid, vsis)?;
    let unmade = found || came || known.is_legacy() && !vsis.iter().any(in_use);
    if applied.plan.is_empty() && !unmade {
        return Ok(applied);
    }
    let settled = known.state.is_settled();
    let precedence = if settled && !applied.plan.has_effect() && !unmade {
        Precedence::Record
    } else {
        Precedence::Supersede
    };
    let record = DiskRecord {
        disk: DesiredDataDisk {
            uid: known.record.disk.uid,
            copy_of: if refills(disk, known) {
                disk.copy_of.clone()
            } else {
                known.record.disk.copy_of.clone()
            },
            ..disk.clone()
        },
        recorded: known.record.recorded || came || known.is_legacy(),
        made: known.is_made(),
        adopted: known.record.adopted || came,
        turn: None,
        unresolved_refs: request.unresolved_refs.clone(),
    };
    // If only the record of an older version's disk changes, it keeps the workflow of that version.
    let workflow = match (known.is_legacy(), precedence) {
        (true, Precedence::Record) => kind::DISK,
        _ => data_disk::NAME,
    };
    let newest = known
        .state
        .desired
        .as_ref()
        .map(|desired| desired.generation);
    updates.add(known.entity.clone(), workflow, precedence, &record, newest)?;
    Ok(applied)
}

/// Whether a disk that was never made is to be filled from another source, or gets its host only now.
pub(in crate::fleet) fn refills(disk: &DesiredDataDisk, known: &KnownDisk) -> bool {
    let before = &known.record.disk;
    !known.is_made() && (before.source != disk.source || before.host != disk.host)
}

/// The plan of the change from a known disk to its document.
pub(in crate::fleet) fn plan_of(disk: &DesiredDataDisk, known: &KnownDisk) -> Plan {
    let before = &known.record.disk;
    let mut changes = Vec::new();
    let mut compare =
        |path: &str, from: serde_json::Value, to: serde_json::Value, how, why: &str| {
            if from != to {
                changes.push(plan::PlannedChange {
                    path: path.to_owned(),
                    before: Some(from),
                    after: Some(to),
                    how,
                    why: why.to_owned(),
                });
            }
        };
    let stays = "a data disk stays where it was made";
    let host = (before.host.clone().into(), disk.host.clone().into());
    if !before.host.is_empty() {
        compare("targetSelector", host.0, host.1, How::Refused, stays);
    }
    let pool = (before.pool.clone().into(), disk.pool.clone().into());
    compare("storagePool", pool.0, pool.1, How::Refused, stays);
    let (how, why) = if disk.size >= before.size {
        (How::InPlace, "a disk grows while its guest runs")
    } else {
        (How::Refused, plan::NEVER_SHRINKS)
    };
    compare("size", before.size.into(), disk.size.into(), how, why);
    let source = |of: &DesiredDataDisk| {
        let source = of.source.as_ref().map(DataDiskSource::shown);
        source.unwrap_or_default()
    };
    let (refill_how, refill_why) = if refills(disk, known) {
        (How::InPlace, "the disk is not made yet")
    } else {
        (How::Recorded, "a data disk is filled once, when it is made")
    };
    compare(
        "source",
        source(before),
        source(disk),
        refill_how,
        refill_why,
    );
    let json = |value: &DesiredDataDisk| {
        let policy = serde_json::to_value(value.deletion_policy).unwrap_or_default();
        (
            policy,
            serde_json::to_value(&value.labels).unwrap_or_default(),
            serde_json::to_value(&value.member_of).unwrap_or_default(),
        )
    };
    let (from, to) = (json(before), json(disk));
    let treatment = "it says how vsiflow treats the disk, not what it is";
    compare("deletionPolicy", from.0, to.0, How::Recorded, treatment);
    compare("labels", from.1, to.1, How::Recorded, treatment);
    compare("memberOf", from.2, to.2, How::Recorded, treatment);
    Plan {
        changes,
        ..Plan::default()
    }
}

pub(in crate::fleet) fn refused(
    disk: &DesiredDataDisk,
    change: &plan::PlannedChange,
) -> FleetError {
    let message = format!(
        "{} cannot be changed: {}; nothing was changed",
        change.path, change.why
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0701", message)
        .of_object(format!("disk/{}", full_name(disk)))
        .on_host(&disk.host)
        .with_remedy("undo the change, or make a new disk with another name and copy the content");
    FleetError::new(ErrorKind::Blocked, failure)
}

pub(in crate::fleet) fn full_name(disk: &DesiredDataDisk) -> String {
    format!("{}/{}", disk.namespace, disk.name)
}
