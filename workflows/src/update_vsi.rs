//! Workflow `update_vsi`: brings a VSI that was ready before to its desired state, with only the steps
//! that its plan needs.

use vsiflow_engine::{
    model::{Failure, FailureClass, Graph},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::vsi::{
    AttachDataDisks, AwaitDataDisks, AwaitReady, AwaitTurn, CloneBootDisk, CreateConsoleLog,
    DefineDomain, FindParts, KeepEvidence, ResolveHost, ResumeDomain, SetAutostart, StopDomain,
    SuspendDomain, UndefineDomain, WriteCidata, clone_boot_disk::BASE_IMAGE_NODE,
};
use vsiflow_steps::{error, snapshot::restore_disks::DiskToRestore};

use crate::{
    network, orders,
    plan::{self, How, Plan, Touched},
    record::{PowerAction, PreviousInputs, SnapshotAction, VsiRecord},
    restoration,
    spec::PowerState,
    vsi_graph::{self, DefineOptions, NewBootDisk, PresentBootDisk, StopOptions, VsiGraphBuilder},
};

/// The workflow's name.
pub const NAME: &str = "update_vsi";

/// The graph: {parts that must exist, `clone_boot_disk`} → {`await_data_disks`, `set_autostart` → `stop_domain` →
/// `write_cidata` → `define_domain` → {`start_domain` → `await_ready`, `remove_replaced_disks`}} → `release`,
/// as far as the plan needs it.
///
/// A new boot disk is made beside the present one while the guest runs, and one definition switches to it. Until
/// then a failure or a cancellation leaves everything as it was. Missing parts are detected, and the image is uploaded, before the guest is touched. If a boot
/// failed, its evidence is stored first; if it only took too long, it is watched further.
///
/// # Errors
/// When a change cannot be made, or the desired state cannot be made into parameters.
pub fn graph(record: &VsiRecord, at: &Situation<'_>) -> Result<Graph, Failure> {
    let before = plan::base(record, at.entity).ok_or_else(|| unknown_base(record))?;
    let touched = Touched::of(at);
    let plan = plan::of(&before, record, &touched);
    if let Some(change) = plan.refused().next() {
        return Err(refused(record, &change.path, &change.why));
    }
    if let Some(missing) = orders::missing(record, &plan, at.entity) {
        return Err(orders::not_ordered(record, missing));
    }
    let objects = &at.entity.objects;
    let update = Update {
        before: &before,
        reconfigures: touched.configured(),
        plan,
        boot_failed: vsi_graph::boot_failed(at.entity),
        boots_afresh: orders::boots_from_a_fresh_disk(record, at.entity),
        ends_itself: orders::only_boots_afresh(record, at.entity)
            && !vsi_graph::is_ephemeral(&record.vsi),
        in_place: orders::is_in_place(record, at.entity),
        too_slow: vsi_graph::was_too_slow(at.entity),
        restored: restoration::pending(record, objects).cloned().collect(),
        beside: restoration::beside(record, objects),
    };
    let mut parts = VsiGraphBuilder::new(NAME, record, at);
    parts.last_boot = vsi_graph::last_boot(at);
    let first = match &record.turn {
        Some(turn) => {
            parts.await_turn(turn)?;
            vec![AwaitTurn::NAME]
        }
        None => Vec::new(),
    };
    let mut last = update.nodes(&mut parts, &first)?;
    last.extend(update.remove_replaced(&mut parts, &last)?);
    parts.release(&last, &record.retired)?;
    Ok(parts.nodes.build())
}

/// The failure of a change that cannot be made.
pub fn refused(record: &VsiRecord, path: &str, why: &str) -> Failure {
    let message = format!("{path} cannot be changed: {why}; nothing was changed");
    Failure::new(FailureClass::Blocked, "VSI0701", message)
        .of_object(format!("vsi/{}", record.vsi.full_name()))
        .on_host(&record.vsi.host)
        .with_remedy("undo the change, or delete the VSI and apply again; data disks remain")
}

/// The failure of restoring memory while the machine changes too.
fn unfit(record: &VsiRecord) -> Failure {
    error::MEMORY_UNFIT
        .failure("its memory is to be put back, and other changes of it need a restart")
        .of_object(format!("vsi/{}", record.vsi.full_name()))
        .on_host(&record.vsi.host)
}

/// The failure of making the boot disk anew while disks are to be restored beside it.
fn restores_first(record: &VsiRecord, snapshot: &str) -> Failure {
    let message = format!(
        "its disks are to be restored from snapshot/{snapshot}, and the boot disk would be made anew at once"
    );
    let object = record.vsi.full_name();
    Failure::new(FailureClass::Blocked, "VSI0740", message)
        .of_object(format!("vsi/{object}"))
        .with_remedy(format!(
            "wait until it is restored, or give that up with `vsiflow cancel {object}`, and order it again; nothing was changed"
        ))
}

fn unknown_base(record: &VsiRecord) -> Failure {
    Failure::new(
        FailureClass::Blocked,
        "VSI0005",
        "its present value was not recorded",
    )
    .of_object(format!("vsi/{}", record.vsi.full_name()))
    .with_remedy("run the vsiflow that recorded it, or apply the document again")
}

/// The names of the last nodes of a part of a graph.
type Last = Vec<&'static str>;

struct Update<'a> {
    before: &'a PreviousInputs,
    plan: Plan,
    /// Whether an unfinished run may have written another configuration of the guest.
    reconfigures: bool,
    boot_failed: bool,
    /// Whether the boot disk is made anew because the first boot failed by the guest's own word.
    boots_afresh: bool,
    /// Whether only that is the ground to make it anew: the guest has ended by itself, or its disk stays.
    ends_itself: bool,
    /// Whether the boot disk is given up before the new one is made.
    in_place: bool,
    too_slow: bool,
    /// The disks that are restored.
    restored: Vec<DiskToRestore>,
    /// Those of them that are made beside the present ones: all, or none.
    beside: Vec<DiskToRestore>,
}

impl Update<'_> {
    fn nodes(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        first: &[&'static str],
    ) -> Result<Last, Failure> {
        let first = &self.disks(parts, first)?;
        let is_up = parts.record.power_state() != PowerState::Stopped;
        if self.too_slow && is_up && !self.has(plan::SNAPSHOT) {
            parts.resolve_host(first)?;
            return boot(parts, &[ResolveHost::NAME]);
        }
        let grown = self.grow(parts, first)?;
        let last = match self.plan.how() {
            Some(How::Rebuild) => self.rebuild(parts, &grown)?,
            _ if self.boots_afresh && is_up => self.rebuild(parts, &grown)?,
            // A boot disk that is made for every start is not looked up.
            Some(How::Restart) if vsi_graph::is_ephemeral(&parts.record.vsi) => {
                self.rebuild(parts, &grown)?
            }
            Some(How::Restart) if self.only_restores() && self.beside.is_empty() => {
                boot(parts, &grown)?
            }
            Some(How::Restart) => self.restart(parts, &grown)?,
            _ if self.has(plan::DEFINITION) => self.restore(parts, &grown)?,
            _ if self.has("powerState") => self.power(parts, &grown)?,
            _ => grown,
        };
        Ok(last)
    }

    fn has(&self, path: &str) -> bool {
        self.plan.changes.iter().any(|change| change.path == path)
    }

    /// Snapshot orders come first. Any other change abandons a snapshot that is not taken yet: it waits
    /// until copying has ended, and merges existing layers.
    fn disks(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        first: &[&'static str],
    ) -> Result<Last, Failure> {
        let order = parts.record.snapshot.as_ref();
        let Some(order) = order.filter(|_| self.has(plan::SNAPSHOT)) else {
            return Ok(first.to_vec());
        };
        match &order.action {
            SnapshotAction::Take { snapshot, record } if self.only_snapshot() => {
                parts.take_snapshot(first, *snapshot, record)
            }
            SnapshotAction::Take { snapshot, record }
            | SnapshotAction::Drop { snapshot, record } => {
                parts.drop_snapshot(first, *snapshot, record)
            }
            SnapshotAction::Restore { name, memory, .. } => {
                if !self.beside.is_empty() {
                    if self.plan.how() == Some(How::Rebuild) || self.boots_afresh {
                        return Err(restores_first(parts.record, name));
                    }
                    // The guest keeps the present ones until everything that the new definition names is there.
                    let ready = found(parts, first, parts.present_boot_disk(&self.beside))?;
                    return parts.restore_beside(&ready, &self.beside);
                }
                let ready = match memory {
                    Some(_) if !self.only_restores() => return Err(unfit(parts.record)),
                    Some(memory) => parts.check_memory(first, memory, &self.restored)?,
                    None => first.to_vec(),
                };
                parts.note_restored(&self.restored);
                let down = self.take_down_for_good(parts, &ready)?;
                let restored = parts.restore_disks(&down, name, self.restored.clone())?;
                parts.autostart_again(&restored)
            }
        }
    }

    fn only_snapshot(&self) -> bool {
        let mut others = self.plan.changes.iter();
        !others.any(|change| change.path != plan::SNAPSHOT && change.how > How::Recorded)
    }

    /// Whether only the content of disks changes, so that the definition stays as it is.
    fn only_restores(&self) -> bool {
        let restarts = |change: &&plan::PlannedChange| change.how == How::Restart;
        let mut restarts = self.plan.changes.iter().filter(restarts);
        restarts.all(|change| change.path == plan::SNAPSHOT)
    }

    /// Grows disks before the guest is touched, so that missing room stops the change early.
    fn grow(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        first: &[&'static str],
    ) -> Result<Last, Failure> {
        let grows = |path: &str| path.starts_with("disks[") && path.ends_with("].size");
        if !self.plan.changes.iter().any(|change| grows(&change.path)) {
            return Ok(first.to_vec());
        }
        Ok(if parts.await_disks(first)? {
            vec![AwaitDataDisks::NAME]
        } else {
            first.to_vec()
        })
    }

    fn rebuild(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        first: &[&'static str],
    ) -> Result<Last, Failure> {
        let checked = parts.check_contract(first)?;
        parts.resolve_host(&checked)?;
        let host = [ResolveHost::NAME];
        parts.base_image(&host)?;
        parts.console_log(&host)?;
        parts.data_disks(&host)?;
        let networks = parts.networks(ResolveHost::NAME)?;
        let mut ready = vec![
            BASE_IMAGE_NODE,
            CreateConsoleLog::NAME,
            AttachDataDisks::NAME,
            networks,
        ];
        // A disk that is made for every start is made in its place: nothing of it lasts.
        let is_disposable = vsi_graph::is_ephemeral(&parts.record.vsi)
            && vsi_graph::is_ephemeral(&self.before.vsi)
            && !parts.has_written;
        let is_in_place = self.in_place || is_disposable;
        if is_in_place {
            parts.note_in_place();
        } else {
            parts.clone_new(&ready, NewBootDisk::Replacement)?;
            ready.push(CloneBootDisk::NAME);
        }
        let down = self.take_down_for_good(parts, &ready)?;
        let mut made = down.clone();
        if is_in_place {
            let mut free = down.clone();
            if self.in_place {
                parts.undefine(&down)?;
                free = vec![UndefineDomain::NAME];
            }
            parts.clone_in_place(&free)?;
            made = vec![CloneBootDisk::NAME];
        }
        if parts.cidata(&down)? {
            made.push(WriteCidata::NAME);
        }
        parts.define(&made)?;
        let last = parts.give_up_addresses(DefineDomain::NAME, &self.before.vsi)?;
        boot(parts, &[last])
    }

    /// Deletes the boot disks that nothing names any more, once the definition is written. The guest is not kept
    /// waiting for that.
    fn remove_replaced(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        last: &[&'static str],
    ) -> Result<Option<&'static str>, Failure> {
        let after = if parts.nodes.has::<DefineDomain>() {
            &[DefineDomain::NAME]
        } else {
            last
        };
        parts.remove_replaced(after, self.boots_afresh)
    }

    fn restart(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        first: &[&'static str],
    ) -> Result<Last, Failure> {
        let ready = if parts.nodes.has::<FindParts>() {
            first.to_vec()
        } else {
            found(parts, first, PresentBootDisk::Stays)?.to_vec()
        };
        let mut after = self.take_down(parts, &ready)?;
        let has_moved = self.plan.changes.iter();
        let has_moved = has_moved.map(|change| change.path.split(['.', '[']).next());
        let mut has_moved = has_moved.filter(|path| matches!(path, Some("addresses" | "networks")));
        let configures = self.plan.configures()
            || self.reconfigures
            || has_moved.next().is_some() && network::static_config(parts.record).is_some();
        if configures && parts.cidata(&after)? {
            after = vec![WriteCidata::NAME];
        }
        parts.define(&after)?;
        let last = parts.give_up_addresses(DefineDomain::NAME, &self.before.vsi)?;
        boot(parts, &[last])
    }

    /// Writes the definition again, even while the guest runs, then restores the desired power state.
    fn restore(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        first: &[&'static str],
    ) -> Result<Last, Failure> {
        let ready = found(parts, first, PresentBootDisk::Stays)?;
        parts.define_with(
            &ready,
            DefineOptions {
                while_running: true,
            },
        )?;
        self.power(parts, &[DefineDomain::NAME])
    }

    /// [`Self::take_down`] before disks are replaced: a host that restarts in the middle does not start the
    /// guest on half a disk.
    fn take_down_for_good(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        after: &[&'static str],
    ) -> Result<Last, Failure> {
        if parts.nodes.has::<StopDomain>() {
            return Ok(after.to_vec());
        }
        let mut ready = after.to_vec();
        if vsi_graph::autostarts(&parts.record.vsi, parts.record.power_state()) {
            parts.autostart(after, false)?;
            ready = vec![SetAutostart::NAME];
        }
        self.take_down(parts, &ready)
    }

    /// Adds `keep_evidence` if the last boot failed, then `stop_domain`; nothing if the guest was taken
    /// down already. Returns the nodes that the next ones follow.
    fn take_down(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        after: &[&'static str],
    ) -> Result<Last, Failure> {
        if parts.nodes.has::<StopDomain>() {
            return Ok(after.to_vec());
        }
        if self.boot_failed {
            parts.keep_evidence(after)?;
            let how = StopOptions {
                grace_s: vsi_graph::FAILED_GRACE_S,
                ends_itself: self.ends_itself,
                boots_anew: true,
                spares_held: false,
            };
            parts.stop(&[KeepEvidence::NAME], how)?;
            return Ok(vec![StopDomain::NAME]);
        }
        let how = StopOptions {
            grace_s: grace_s(parts.record),
            ends_itself: false,
            boots_anew: true,
            spares_held: true,
        };
        parts.stop(after, how)?;
        Ok(vec![StopDomain::NAME])
    }

    fn power(
        &self,
        parts: &mut VsiGraphBuilder<'_>,
        first: &[&'static str],
    ) -> Result<Last, Failure> {
        let record = parts.record;
        let action = record.power.and_then(|power| power.action);
        let power = record.power_state();
        parts.autostart(first, vsi_graph::autostarts(&record.vsi, power))?;
        let mut ready = vec![SetAutostart::NAME];
        match power {
            PowerState::Stopped => {
                let how = StopOptions {
                    grace_s: grace_s(record),
                    ends_itself: false,
                    boots_anew: false,
                    spares_held: true,
                };
                parts.stop(&ready, how)?;
                Ok(vec![StopDomain::NAME])
            }
            PowerState::Paused if self.before.power != PowerState::Stopped && !self.boot_failed => {
                parts.suspend(&ready)?;
                Ok(vec![SuspendDomain::NAME])
            }
            _ if action == Some(PowerAction::Restart)
                || self.boot_failed && record.vsi.guest_type().is_hyper_protect() =>
            {
                if vsi_graph::is_ephemeral(&record.vsi) {
                    parts.base_image(first)?;
                    ready.push(BASE_IMAGE_NODE);
                }
                let down = self.take_down(parts, &ready)?;
                boot(parts, &down)
            }
            _ => {
                if self.boot_failed {
                    // Whoever runs is left running: only its start is repeated, on the same disk.
                    parts.keep_evidence(&ready)?;
                    ready = vec![KeepEvidence::NAME];
                }
                parts.resume(&ready)?;
                boot(parts, &[ResumeDomain::NAME])
            }
        }
    }
}

/// `resolve_host` → {`find_parts`, `attach_data_disks`, `resolve_networks`}: the parts of a definition
/// if cidata stays.
fn found(
    parts: &mut VsiGraphBuilder<'_>,
    first: &[&'static str],
    boot: PresentBootDisk,
) -> Result<[&'static str; 3], Failure> {
    parts.resolve_host(first)?;
    let host = [ResolveHost::NAME];
    parts.find(&host, boot)?;
    parts.data_disks(&host)?;
    let networks = parts.networks(ResolveHost::NAME)?;
    Ok([FindParts::NAME, AttachDataDisks::NAME, networks])
}

/// `start_domain` → `await_ready`, and `suspend_domain` if it should be paused; nothing if it should be
/// off.
fn boot(parts: &mut VsiGraphBuilder<'_>, after: &[&'static str]) -> Result<Last, Failure> {
    let power = parts.record.power_state();
    if power == PowerState::Stopped {
        return Ok(after.to_vec());
    }
    let after = parts.fresh_boot_disk(after)?;
    parts.start(&after)?;
    if power == PowerState::Paused {
        parts.suspend(&[AwaitReady::NAME])?;
        return Ok(vec![SuspendDomain::NAME]);
    }
    Ok(vec![AwaitReady::NAME])
}

fn grace_s(record: &VsiRecord) -> u64 {
    record
        .power
        .map_or(vsi_graph::GRACE_S, |power| power.grace_s)
}
