//! Orders to destroy what a guest wrote.
//!
//! Nothing is destroyed because a desired state is not reached. Whoever asks for a rebuild, a restoration or a
//! deletion orders it for one volume, with the request itself; the journal records the order, and a step spends
//! it before it deletes. A retry, a power command, a correction of another field, drift and a start order
//! nothing.

use vsiflow_engine::{
    model::{EntityState, Failure, FailureClass, Name, Objects, RunResult, Text},
    workflow::DestructionOrder,
};
use vsiflow_steps::{guards, ports::VolumeKey};

use crate::{
    boot_disks::{self, BootDisks, boot_object, has_written_boot_disk},
    data_disk, delete_vsi,
    plan::{self, Destroyed, How, Plan, PlannedChange},
    record::{SnapshotAction, VsiRecord},
};

pub use crate::acts::{BOOT_AGAIN, DELETE, REBUILD, REBUILD_IN_PLACE, RESTORE, UPDATE};

/// The orders to make the boot disk anew: one for the present disk, and one for each that an unfinished change
/// left.
pub fn for_boot_disks(
    record: &VsiRecord,
    objects: &Objects,
    act: &str,
    plan: &Plan,
) -> Vec<DestructionOrder> {
    let disks = BootDisks::of(record, objects);
    let volumes = std::iter::once(disks.current()).chain(disks.abandoned());
    let orders = volumes.map(|volume| DestructionOrder {
        object: guards::object_name(&volume),
        act: Name::of(act),
        shown: shown(&plan.destroys),
    });
    orders.collect()
}

/// The orders that a change of a document gives: one for the boot disk if the plan makes it anew.
pub fn of_change(record: &VsiRecord, plan: &Plan, state: &EntityState) -> Vec<DestructionOrder> {
    let rebuilds = plan.how() == Some(How::Rebuild) && has_written_boot_disk(record, state);
    if rebuilds {
        for_boot_disks(record, &state.objects, UPDATE, plan)
    } else {
        Vec::new()
    }
}

/// The orders that an edit gives. `changes` are the differences of the documents: an edit of other fields orders
/// nothing, although an earlier edit that needs a new boot disk was not carried out. Two cases go beyond the
/// plan. A guest that is defined only after the edit was recorded has a boot disk of the earlier document. And
/// a boot disk whose replacement was begun, and not cancelled, is made.
pub fn of_edit(
    record: &VsiRecord,
    plan: &Plan,
    changes: &[PlannedChange],
    state: &EntityState,
) -> Vec<DestructionOrder> {
    let boot_disk = boot_object(record, state);
    let by_plan = !of_change(record, plan, state).is_empty();
    let is_half_made = state.objects.unfinished.contains_key(&boot_disk);
    let is_under_way =
        !boot_disks::was_made(state) || state.objects.is_permitted(&boot_disk) || is_half_made;
    let is_ordered = if changes.iter().any(|change| change.how == How::Rebuild) {
        by_plan || is_under_way
    } else {
        by_plan && is_half_made && !was_cancelled(state)
    };
    if is_ordered {
        for_boot_disks(record, &state.objects, UPDATE, plan)
    } else {
        Vec::new()
    }
}

/// Whether the present boot disk is to be given up before the new one is made.
pub(crate) fn is_in_place(record: &VsiRecord, state: &EntityState) -> bool {
    let boot_disk = boot_object(record, state);
    state.objects.is_ordered_by(&boot_disk, REBUILD_IN_PLACE)
}

/// Whether the newest run was cancelled by a user.
fn was_cancelled(state: &EntityState) -> bool {
    let last = state.last.as_ref().filter(|_| state.active.is_none());
    last.is_some_and(|last| last.result == RunResult::Cancelled)
}

/// The orders to restore disks from a snapshot, one for each disk.
pub fn for_restoration(record: &VsiRecord, plan: &Plan) -> Vec<DestructionOrder> {
    let volumes = restored_volumes(record);
    let orders = volumes.map(|volume| DestructionOrder {
        object: guards::object_name(volume),
        act: Name::of(RESTORE),
        shown: shown(&plan.destroys),
    });
    orders.collect()
}

/// The volumes that the record's restoration replaces.
fn restored_volumes(record: &VsiRecord) -> impl Iterator<Item = &VolumeKey> {
    let action = record.snapshot.as_ref().map(|order| &order.action);
    let disks = match action {
        Some(SnapshotAction::Restore { disks, .. }) => disks.as_slice(),
        _ => &[],
    };
    disks.iter().map(|disk| &disk.of.volume)
}

fn shown(destroys: &[Destroyed]) -> Text {
    let lines: Vec<String> = destroys
        .iter()
        .map(|destroyed| format!("{}: {}", destroyed.object, destroyed.why))
        .collect();
    Text::new(lines.join("; "))
}

/// What makes a plan impossible without an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingOrder {
    /// The boot disk would be made anew.
    BootDisk,
    /// A restoration was begun and not finished.
    Restoration,
}

impl MissingOrder {
    /// The refusal as a change of a plan.
    pub fn refused_change(self, record: &VsiRecord) -> PlannedChange {
        let path = match self {
            Self::BootDisk => "bootDisk",
            Self::Restoration => plan::SNAPSHOT,
        };
        PlannedChange {
            path: path.to_owned(),
            before: None,
            after: None,
            how: How::Refused,
            why: not_ordered(record, self).message.as_str().to_owned(),
        }
    }
}

/// What the plan would destroy without an order; `None` if all of it is ordered. An order that the open run
/// spent counts: what that run does not finish is decided again when it has ended. A first boot that failed by
/// the guest's own word needs none.
pub fn missing(record: &VsiRecord, plan: &Plan, state: &EntityState) -> Option<MissingOrder> {
    if boots_from_a_fresh_disk(record, state) {
        return None;
    }
    let permitted = |object: &Text| state.objects.is_permitted(object);
    let restores = plan
        .changes
        .iter()
        .any(|change| change.path == plan::SNAPSHOT && change.how == How::Restart);
    if restores && lacks_order_to_restore(record, state) {
        return Some(MissingOrder::Restoration);
    }
    let rebuilds = plan.how() == Some(How::Rebuild) && has_written_boot_disk(record, state);
    let missing = rebuilds && !permitted(&boot_object(record, state));
    missing.then_some(MissingOrder::BootDisk)
}

/// Whether a disk is half restored and nothing permits to continue, or nothing permits to begin.
fn lacks_order_to_restore(record: &VsiRecord, state: &EntityState) -> bool {
    let objects = &state.objects;
    let volumes: Vec<Text> = restored_volumes(record).map(guards::object_name).collect();
    let is_half = |object: &Text| objects.unfinished.contains_key(object);
    let is_stuck = |object: &Text| is_half(object) && !objects.is_permitted(object);
    let may_begin = volumes.iter().any(|object| objects.is_permitted(object));
    !may_begin || volumes.iter().any(is_stuck)
}

/// The failure of a change that nobody ordered.
pub fn not_ordered(record: &VsiRecord, missing: MissingOrder) -> Failure {
    let name = record.vsi.full_name();
    let (message, remedy) = match missing {
        MissingOrder::BootDisk => (
            "its boot disk would be made anew, and no order for that is open; nothing was changed",
            format!("order it by `vsiflow rebuild {name}`, or undo the change that needs it"),
        ),
        MissingOrder::Restoration => (
            "the restoration of its disks was begun and not finished, and its order is not open any more; \
             nothing was changed",
            "restore the snapshot again by `vsiflow snapshot restore`".to_owned(),
        ),
    };
    Failure::new(FailureClass::Blocked, "VSI0041", message)
        .of_object(format!("vsi/{name}"))
        .on_host(&record.vsi.host)
        .with_remedy(remedy)
}

/// The order that the newest desired state itself gives for an object: a deletion, and a Hyper Protect guest
/// whose first boot failed by its own word, because each of its starts writes a new layer over the image.
pub fn standing(state: &EntityState, object: &str) -> Option<DestructionOrder> {
    let desired = state.desired.as_ref()?;
    let order = |act: &str, shown: String| DestructionOrder {
        object: Text::new(object),
        act: Name::of(act),
        shown: Text::new(shown),
    };
    let generation = desired.generation;
    match desired.workflow.as_str() {
        delete_vsi::NAME | data_disk::DELETE => Some(order(
            DELETE,
            format!("the deletion, generation {generation}"),
        )),
        _ if never_ready(state) && boot_was_fatal(state) => Some(order(
            BOOT_AGAIN,
            format!("generation {generation}: a guest of this type boots from a fresh disk"),
        )),
        _ => None,
    }
}

fn never_ready(state: &EntityState) -> bool {
    state.reached == 0
}

/// Whether the newest run ended because the guest itself said that its boot failed.
pub(crate) fn boot_was_fatal(state: &EntityState) -> bool {
    state.last.as_ref().is_some_and(|last| {
        matches!(&last.result, RunResult::Failed(failure) if failure.code.as_str() == BOOT_FATAL)
    })
}

/// The code of a boot that a guest's message says has failed.
const BOOT_FATAL: &str = "VSI0501";

/// Whether the boot disk of this VSI is made anew by its own document after a failed first boot.
pub(crate) fn boots_from_a_fresh_disk(record: &VsiRecord, state: &EntityState) -> bool {
    never_ready(state) && record.vsi.guest_type().is_hyper_protect() && boot_was_fatal(state)
}
