//! Orders to destroy what a guest wrote.
//!
//! Nothing is destroyed because a desired state is not reached. Whoever asks for a rebuild, a restoration or a
//! deletion orders it for one volume, with the request itself; the journal records the order, and a step spends
//! it before it deletes. A retry, a power command, a correction of another field, drift and a start order
//! nothing.

use vsiflow_engine::{
    model::{EntityId, EntityState, Failure, FailureClass, Name, Objects, RunResult, Text},
    workflow::DestructionOrder,
};
use vsiflow_steps::guards;

use crate::{
    acts::RESTORATIONS,
    boot_disks::{self, BootDisks, boot_object, has_written_boot_disk},
    data_disk, delete_vsi, group,
    plan::{self, Destroyed, How, Plan, PlannedChange},
    pool,
    record::{PowerAction, VsiRecord},
    restoration, snapshot,
};

pub use crate::acts::{
    BOOT_AGAIN, DELETE, DELETE_SURPLUS, PRUNE, REBUILD, REBUILD_IN_PLACE, REPLACE_MEMBERS, RESTORE,
    RESTORE_IN_PLACE, UPDATE,
};

/// The orders to make the boot disk anew: one for the present disk, and one for each that an unfinished change
/// left.
pub fn for_boot_disks(
    record: &VsiRecord,
    objects: &Objects,
    act: &str,
    plan: &Plan,
) -> Vec<DestructionOrder> {
    let orders = boot_disks(record, objects).into_iter();
    let orders = orders.map(|object| DestructionOrder {
        object,
        act: Name::of(act),
        shown: shown(&plan.destroys),
    });
    orders.collect()
}

/// The boot disks that a guest may have written to: the present one, and those that unfinished changes left.
pub fn boot_disks(record: &VsiRecord, objects: &Objects) -> Vec<Text> {
    let disks = BootDisks::of(record, objects);
    let volumes = std::iter::once(disks.current()).chain(disks.abandoned());
    volumes.map(|volume| guards::object_name(&volume)).collect()
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

/// Whether an order of a document's change is open, and not spent.
pub(crate) fn is_update_ordered(state: &EntityState) -> bool {
    let mut orders = state.objects.warrants.values();
    orders.any(|order| order.act.as_str() == UPDATE && order.spent.is_none())
}

/// Whether the present boot disk is to be given up before the new one is made.
pub(crate) fn is_in_place(record: &VsiRecord, state: &EntityState) -> bool {
    let boot_disk = boot_object(record, state);
    state.objects.is_ordered_by(&boot_disk, REBUILD_IN_PLACE)
}

/// Whether the newest run was cancelled by a user.
pub(crate) fn was_cancelled(state: &EntityState) -> bool {
    let last = state.last.as_ref().filter(|_| state.active.is_none());
    last.is_some_and(|last| last.result == RunResult::Cancelled)
}

/// The orders to restore disks from a snapshot by this act, one for each disk.
pub fn for_restoration(
    record: &VsiRecord,
    objects: &Objects,
    act: &str,
    plan: &Plan,
) -> Vec<DestructionOrder> {
    let orders = restoration::disks(record, objects).map(|disk| DestructionOrder {
        object: restoration::object(disk),
        act: Name::of(act),
        shown: shown(&plan.destroys),
    });
    orders.collect()
}

/// The orders to delete an entity by this act with all that is its own: one for each of these volumes, and one for what a
/// run that is still open makes meanwhile.
pub fn for_deletion(
    entity: &EntityId,
    act: &str,
    volumes: impl IntoIterator<Item = Text>,
) -> Vec<DestructionOrder> {
    let objects = std::iter::once(everything_of(entity)).chain(volumes);
    let orders = objects.map(|object| DestructionOrder {
        object,
        act: Name::of(act),
        shown: Text::new(format!("the deletion of {entity}")),
    });
    orders.collect()
}

/// What the order to delete an entity names beside its volumes. No volume is called so.
fn everything_of(entity: &EntityId) -> Text {
    Text::new(format!("all of {entity}"))
}

/// The order to keep the members of a pool or a group as its document says. Its controller replaces and deletes
/// members while it is open. A journal that was restored from a backup has none: what was ordered there may have
/// been taken back since.
pub fn for_members(entity: &EntityId) -> DestructionOrder {
    DestructionOrder {
        object: members_of(entity),
        act: Name::of(REPLACE_MEMBERS),
        shown: Text::new(format!("what the document of {entity} says")),
    }
}

/// What the order to keep the members of a pool or a group names.
fn members_of(entity: &EntityId) -> Text {
    Text::new(format!("members of {entity}"))
}

/// Whether an order is open by which the controller of a pool or a group replaces and deletes what it made.
/// Whatever is only forgotten needs none.
pub fn members_are_ordered(entity: &EntityId, state: &EntityState) -> bool {
    let desired = state.desired.as_ref();
    match desired.map(|desired| desired.workflow.as_str()) {
        Some(pool::DELETE | group::DELETE) => deletion_is_ordered(entity, state),
        Some(pool::FORGET | group::FORGET) => true,
        _ => state.objects.is_ordered(&members_of(entity)),
    }
}

/// The order by which a schedule of a restored journal deletes what it takes from now on.
pub(crate) fn for_pruning(schedule: &EntityId) -> DestructionOrder {
    DestructionOrder {
        object: superfluous_of(schedule),
        act: Name::of(PRUNE),
        shown: Text::new("what is taken since the journal was restored"),
    }
}

/// What the order to delete superfluous snapshots names.
fn superfluous_of(schedule: &EntityId) -> Text {
    Text::new(format!("superfluous snapshots of {schedule}"))
}

/// Whether a schedule of a restored journal may delete what it took since.
pub(crate) fn pruning_is_ordered(schedule: &EntityId, state: &EntityState) -> bool {
    state.objects.is_ordered(&superfluous_of(schedule))
}

/// The failure of a controller that may not destroy. `object` is its pool or group, as `KIND/NAME`.
pub fn members_not_ordered(object: String, is_deleting: bool) -> Failure {
    let (message, remedy) = if is_deleting {
        (
            "its deletion was cancelled, or was ordered before the journal was restored; nothing more is deleted",
            "delete it again, with --orphan if everything on its hosts is to stay; `vsiflow cancel` keeps it",
        )
    } else {
        (
            "some of its members are too many or outdated, and the order to replace them was given before the \
             journal was restored; they stay as they are",
            "`vsiflow plan` its document, and apply it again",
        )
    };
    let failure = Failure::new(FailureClass::Blocked, "VSI0041", message);
    failure.of_object(object).with_remedy(remedy)
}

/// Whether the deletion of the entity is ordered, and was not cancelled. A journal that was restored from a backup
/// has no such order.
pub fn deletion_is_ordered(entity: &EntityId, state: &EntityState) -> bool {
    state.objects.is_ordered(&everything_of(entity))
}

/// Whether the deletion of the entity is ordered only because its pool has fewer members.
pub fn is_surplus(entity: &EntityId, state: &EntityState) -> bool {
    let objects = &state.objects;
    objects.is_ordered_by(&everything_of(entity), DELETE_SURPLUS)
}

/// Whether the entity is deleted or forgotten by this workflow already, and a deletion by an order that is open.
pub fn deletes_already(entity: &EntityId, state: &EntityState, workflow: &str) -> bool {
    let desired = state.desired.as_ref();
    let forgets = [
        delete_vsi::FORGET,
        data_disk::FORGET,
        snapshot::FORGET,
        pool::FORGET,
        group::FORGET,
    ];
    desired.is_some_and(|desired| desired.workflow.as_str() == workflow)
        && (forgets.contains(&workflow) || deletion_is_ordered(entity, state))
}

/// Checks that the deletion of the entity is ordered.
///
/// # Errors
/// Blocked, `VSI0041`.
pub fn check_deletion(entity: &EntityId, state: &EntityState) -> Result<(), Failure> {
    if deletion_is_ordered(entity, state) {
        return Ok(());
    }
    let message = "its deletion was cancelled, or was ordered before the journal was restored; nothing was changed";
    let remedy = "delete it again, with --orphan if everything on its host is to stay";
    let failure = Failure::new(FailureClass::Blocked, "VSI0041", message);
    Err(failure.of_object(entity.to_string()).with_remedy(remedy))
}

fn shown(destroys: &[Destroyed]) -> Text {
    let lines: Vec<String> = destroys
        .iter()
        .map(|destroyed| format!("{}: {}", destroyed.object, destroyed.why))
        .collect();
    Text::new(lines.join("; "))
}

/// What a plan destroys, and so needs an order for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeededOrder {
    /// The boot disk would be made anew.
    BootDisk,
    /// A restoration was begun and not finished.
    Restoration,
}

impl NeededOrder {
    /// The refusal as a change of a plan.
    pub fn refused_change(self, record: &VsiRecord) -> PlannedChange {
        let path = match self {
            Self::BootDisk => "bootDisk",
            Self::Restoration => plan::SNAPSHOT,
        };
        PlannedChange::refused(path, not_ordered(record, self).message.as_str())
    }
}

/// What the plan would destroy without an order; `None` if all of it is ordered. An order that the open run
/// spent counts: what that run does not finish is decided again when it has ended. A first boot that failed by
/// the guest's own word needs none.
pub fn missing(record: &VsiRecord, plan: &Plan, state: &EntityState) -> Option<NeededOrder> {
    let is_missing = |needed: &NeededOrder| match needed {
        NeededOrder::Restoration => lacks_order_to_restore(record, state),
        NeededOrder::BootDisk => !permits_rebuild(&boot_object(record, state), &state.objects),
    };
    needed(record, plan, state).into_iter().find(is_missing)
}

/// Whether an order permits to make the boot disk anew from its image. One to restore it does not.
fn permits_rebuild(boot_disk: &Text, objects: &Objects) -> bool {
    let orders = objects.warrants.values();
    let mut orders = orders.filter(|order| order.object == *boot_disk);
    orders.any(|order| !RESTORATIONS.contains(&order.act.as_str()))
}

/// The orders without which the plan cannot be carried out, whether they are open or not.
fn needed(record: &VsiRecord, plan: &Plan, state: &EntityState) -> Vec<NeededOrder> {
    if boots_from_a_fresh_disk(record, state) {
        return Vec::new();
    }
    let is_restoration =
        |change: &PlannedChange| change.path == plan::SNAPSHOT && change.how == How::Restart;
    let restores = plan.changes.iter().any(is_restoration);
    let rebuilds = plan.how() == Some(How::Rebuild) && has_written_boot_disk(record, state)
        || boots_over_a_lasting_disk(record, plan, state);
    let restoration = restores.then_some(NeededOrder::Restoration);
    let boot_disk = rebuilds.then_some(NeededOrder::BootDisk);
    restoration.into_iter().chain(boot_disk).collect()
}

/// Whether a boot is ordered that makes the boot disk anew, while the present one was to last: the VSI was adopted with it,
/// or its journal does not know that it was for one start.
fn boots_over_a_lasting_disk(record: &VsiRecord, plan: &Plan, state: &EntityState) -> bool {
    let action = record.power.and_then(|power| power.action);
    let mut changes = plan.changes.iter();
    let power = changes.find(|change| change.path == plan::POWER);
    let boots = power.is_some_and(|power| match action {
        Some(PowerAction::Restart) => true,
        Some(PowerAction::Start) => power.before != power.after,
        _ => false,
    });
    let lasts = || state.objects.made.contains_key(&boot_object(record, state));
    boots && boot_disks::is_ephemeral(&record.vsi) && lasts()
}

/// Checks that a command which orders nothing would not carry out an order that is open. A plan that lacks its order
/// is refused anyway, when its graph is made.
///
/// # Errors
/// Blocked, `VSI0041`, if the plan would be carried out by orders that were given before.
pub fn destroys_nothing(
    record: &VsiRecord,
    plan: &Plan,
    state: &EntityState,
) -> Result<(), Failure> {
    if needed(record, plan, state).is_empty() || missing(record, plan, state).is_some() {
        return Ok(());
    }
    let name = record.vsi.full_name();
    let message = "the replacement of its disks is ordered and not done, and this command would go on with it; \
                   nothing was changed";
    let remedy = format!(
        "`vsiflow retry {name}` goes on with it, `vsiflow cancel {name}` gives it up; then repeat this command"
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0041", message);
    Err(failure
        .of_object(format!("vsi/{name}"))
        .on_host(&record.vsi.host)
        .with_remedy(remedy))
}

/// Whether a disk is half restored and nothing permits to continue, or nothing permits to begin.
fn lacks_order_to_restore(record: &VsiRecord, state: &EntityState) -> bool {
    let objects = &state.objects;
    let pending = restoration::pending(record, objects);
    let volumes: Vec<Text> = pending.map(restoration::object).collect();
    let is_half = |object: &Text| objects.unfinished.contains_key(object);
    let is_stuck = |object: &Text| is_half(object) && !objects.is_permitted(object);
    let may_begin = volumes.iter().any(|object| objects.is_permitted(object));
    !may_begin || volumes.iter().any(is_stuck)
}

/// The failure of a change that nobody ordered.
pub fn not_ordered(record: &VsiRecord, missing: NeededOrder) -> Failure {
    let name = record.vsi.full_name();
    let (message, remedy) = match missing {
        NeededOrder::BootDisk => (
            "its boot disk would be made anew, and no order for that is open; nothing was changed",
            format!("order it by `vsiflow rebuild {name}`, or undo the change that needs it"),
        ),
        NeededOrder::Restoration => (
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

/// The order that the newest desired state itself gives for an object: a deletion that is ordered, for what was made
/// since, and a guest whose first boot failed by its own word. `boots_from_a_fresh_disk` asks besides whether it is a
/// Hyper Protect guest, each of whose starts writes a new layer over the image; no other graph uses that order.
pub fn standing(entity: &EntityId, state: &EntityState, object: &str) -> Option<DestructionOrder> {
    let desired = state.desired.as_ref()?;
    let order = |act: &str, shown: String| DestructionOrder {
        object: Text::new(object),
        act: Name::of(act),
        shown: Text::new(shown),
    };
    let generation = desired.generation;
    match desired.workflow.as_str() {
        delete_vsi::NAME | data_disk::DELETE | snapshot::DELETE => {
            let shown = format!("the deletion, generation {generation}");
            deletion_is_ordered(entity, state).then(|| order(DELETE, shown))
        }
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

/// Whether nobody ordered to make it anew besides: then its guest must have ended by itself.
pub(crate) fn only_boots_afresh(record: &VsiRecord, state: &EntityState) -> bool {
    let is_ordered = permits_rebuild(&boot_object(record, state), &state.objects);
    boots_from_a_fresh_disk(record, state) && !is_ordered
}
