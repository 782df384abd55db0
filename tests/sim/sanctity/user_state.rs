//! What the user of a sanctity game knows, and what each of their commands orders.

use std::collections::BTreeSet;

use super::{
    oracle::{DiskId, Oracle},
    orders::{self, KnownVsi},
    pools::UserPool,
    user::{UserCommand, UserSnapshot},
    watch::TokenWatch,
};
use crate::{
    audit::CrashAudit,
    documents::VsiDocument,
    sim::plan::{Slot, UserAction},
};

/// What the user knows.
#[derive(Clone)]
pub struct UserState {
    pub slots: Vec<Slot>,
    pub known: Vec<KnownVsi>,
    pub snapshots: Vec<UserSnapshot>,
    pub pool: Option<UserPool>,
    /// Whether retention ever forgot runs.
    pub has_forgotten_runs: bool,
    /// What the user ordered to be deleted. Such an order stays open until the deletion is done.
    deleted: BTreeSet<DiskId>,
    /// Whether there is a backup. Then the user leaves each VSI on its host: a journal that is restored knows no
    /// host that a VSI went to since.
    pub keeps_hosts: bool,
}

/// The orders of a command.
pub struct GivenOrders {
    /// The disks whose incarnation it may end.
    disks: Vec<DiskId>,
    /// The disks that it deletes, unless an earlier command does.
    deleted: Vec<DiskId>,
}

impl UserState {
    pub fn new(slots: Vec<Slot>, pool: Option<UserPool>) -> Self {
        Self {
            known: slots.iter().map(|_| KnownVsi::default()).collect(),
            slots,
            snapshots: Vec::new(),
            pool,
            has_forgotten_runs: false,
            deleted: BTreeSet::new(),
            keeps_hosts: false,
        }
    }

    /// The command as it is given now. The VSI that had the name may have been deleted since it was drawn.
    pub fn completed(&self, command: &UserCommand) -> UserCommand {
        let mut command = command.clone();
        match &mut command {
            UserCommand::Apply(slot, vsi) => {
                let named = &self.slots[*slot];
                vsi.uid = named.uid();
                if self.keeps_hosts {
                    let before = named.vsi().map(|before| before.host);
                    vsi.host = before.unwrap_or(named.host());
                }
                vsi.disk = match &named.desired {
                    UserAction::There(before) => before.disk,
                    UserAction::Nothing | UserAction::Gone(_) => vsi.disk.map(|_| named.disk()),
                };
            }
            UserCommand::Take { snapshot, .. } => {
                let vsi = self.slots[snapshot.slot].vsi();
                snapshot.disks = vsi.map(orders::disks).unwrap_or_default();
            }
            _ => {}
        }
        command
    }

    /// Opens the orders of a command. One that is given again, because its answer was lost, is another order: the
    /// first may have been carried out. But the second of two equal documents changes nothing.
    pub fn gives(
        &mut self,
        command: &UserCommand,
        is_repeated: bool,
        watch: &TokenWatch,
    ) -> GivenOrders {
        let (mut disks, mut deleted) = (Vec::new(), Vec::new());
        match command {
            UserCommand::Apply(slot, vsi) => {
                let is_given = is_repeated && watch.oracle().has_order(orders::boot_disk(vsi));
                let is_ordered = !is_given && self.orders_another_boot_disk(*slot, vsi);
                disks.extend(is_ordered.then(|| orders::boot_disk(vsi)));
                if let Some(disk) = vsi.disk {
                    watch.has_data_disk(vsi.uid, disk);
                    let id = DiskId::Data(disk);
                    // Its deletion is done. What the administrator copied of it is not in the disk that is made now.
                    let is_another = self.deleted.contains(&id) && watch.is_deleted(disk);
                    let has_order = is_repeated && watch.oracle().has_order(id);
                    disks.extend((is_another && !has_order).then_some(id));
                }
                self.known[*slot].applies(vsi, &mut watch.oracle());
            }
            UserCommand::Delete { slot, orphan } => {
                let named = self.slots[*slot].vsi();
                let goes = named.filter(|vsi| !orphan && !vsi.retain);
                deleted.extend(goes.map(orders::boot_disk));
            }
            UserCommand::DeleteDisk(slot) => {
                let named = self.slots[*slot].vsi();
                let goes = named.filter(|vsi| vsi.disk_goes);
                deleted.extend(goes.and_then(|vsi| vsi.disk).map(DiskId::Data));
            }
            UserCommand::Pool(command) => {
                if let Some(pool) = &self.pool {
                    let oracle = &mut watch.oracle();
                    if pool.may_replace_members(command) {
                        pool.makes_members_anew(true, oracle);
                    }
                    deleted = pool.deleted_by(command, oracle);
                }
            }
            UserCommand::Approve(slot) | UserCommand::Rebuild(slot, _) => {
                disks.push(DiskId::Boot(self.slots[*slot].uid()));
            }
            UserCommand::Take { snapshot, .. } if !is_repeated => {
                self.snapshots.push(snapshot.clone());
                watch.oracle().snapshot(snapshot.uid, &snapshot.disks);
            }
            UserCommand::Restore(snapshot, _) => disks.extend(&snapshot.disks),
            UserCommand::DeleteSnapshot(snapshot) => disks.push(DiskId::Copies(snapshot.uid)),
            _ => {}
        }
        disks.iter().for_each(|disk| watch.oracle().order(*disk));
        // The answer to a command that is repeated was lost: nobody noted its deletions yet.
        let is_noted = |disk: &DiskId| !is_repeated || self.deleted.contains(disk);
        deleted.retain(|disk| !(watch.oracle().delete(*disk) && is_noted(disk)));
        if let Some(slot) = command.slot().filter(|_| !disks.is_empty()) {
            self.known[slot].is_cancelled = false;
        }
        GivenOrders { disks, deleted }
    }

    fn orders_another_boot_disk(&self, slot: usize, vsi: &VsiDocument) -> bool {
        match &self.slots[slot].desired {
            UserAction::There(before) => self.known[slot].orders_another_boot_disk(before, vsi),
            UserAction::Nothing | UserAction::Gone(_) => false,
        }
    }

    /// Takes in the answer to a command. What is refused is not ordered.
    pub fn is_answered(
        &mut self,
        command: UserCommand,
        orders: &GivenOrders,
        is_accepted: bool,
        oracle: &mut Oracle,
    ) {
        if !is_accepted {
            orders.disks.iter().for_each(|disk| oracle.withdraw(*disk));
            orders.deleted.iter().for_each(|disk| oracle.keep(*disk));
            if let UserCommand::Take { snapshot, .. } = command {
                self.snapshots.retain(|other| other.uid != snapshot.uid);
            }
            return;
        }
        orders.disks.iter().for_each(|disk| oracle.confirm(*disk));
        self.deleted.extend(&orders.deleted);
        match command {
            UserCommand::Apply(slot, vsi) => self.is_applied(slot, vsi, oracle),
            UserCommand::Approve(slot) => {
                if let UserAction::There(vsi) = &self.slots[slot].desired {
                    self.known[slot].carries_out(vsi);
                }
            }
            UserCommand::Delete { slot, .. } => {
                if let Some(vsi) = self.slots[slot].vsi().cloned() {
                    self.slots[slot].desired = UserAction::Gone(Box::new(vsi));
                }
            }
            UserCommand::Cancel(slot) => self.known[slot].is_cancelled = true,
            UserCommand::Restore(snapshot, _) => {
                let snapshots = self.snapshots.iter_mut();
                let its = snapshots.filter(|other| other.uid == snapshot.uid);
                its.for_each(|other| other.was_restored = true);
            }
            UserCommand::ForgetRuns => self.has_forgotten_runs = true,
            UserCommand::Pool(command) => {
                let pool = self.pool.as_mut();
                pool.into_iter().for_each(|pool| pool.is_accepted(&command));
            }
            UserCommand::DeleteSnapshot(snapshot) => {
                oracle.forget(DiskId::Copies(snapshot.uid));
                self.snapshots.retain(|other| other.uid != snapshot.uid);
            }
            _ => {}
        }
    }

    /// All that was asked of the pool is done.
    pub fn pool_has_settled(&mut self, oracle: &mut Oracle) {
        if let Some(pool) = &mut self.pool {
            pool.has_settled();
            pool.makes_members_anew(false, oracle);
        }
        for disk in self.pool.iter().flat_map(UserPool::every_data_disk) {
            if self.deleted.remove(&disk) {
                oracle.keep(disk);
            }
        }
    }

    /// A document was accepted: what is in it is not being deleted.
    fn is_applied(&mut self, slot: usize, vsi: Box<VsiDocument>, oracle: &mut Oracle) {
        for disk in orders::disks(&vsi) {
            self.deleted.remove(&disk);
            oracle.keep(disk);
        }
        if !vsi.manual {
            self.known[slot].carries_out(&vsi);
        }
        self.slots[slot].desired = UserAction::There(vsi);
    }

    /// The user knows again what they knew when a backup was made. No order of then is open, deletions included.
    pub fn restored(self, now: &Self, oracle: &mut Oracle) -> Self {
        oracle.close_all_orders();
        // A pool of a restored journal keeps its members until its document is applied again.
        if let Some(pool) = &self.pool {
            pool.makes_members_anew(false, oracle);
        }
        let deleted: BTreeSet<_> = self.deleted.intersection(&now.deleted).copied().collect();
        for (slot, known) in self.slots.iter().zip(&self.known) {
            known.tell(slot.uid(), oracle);
        }
        Self { deleted, ..self }
    }

    /// Frees the names whose VSIs are deleted.
    pub fn free_deleted_names(&mut self, audit: &CrashAudit, oracle: &mut Oracle) {
        let ledger = audit.ledger();
        for (slot, known) in self.slots.iter_mut().zip(&mut self.known) {
            let uid = slot.uid();
            let entity = ledger.vsi(uid);
            let state = entity.and_then(|entity| entity.state.as_ref());
            let is_deleted = state.is_some_and(|(name, _)| name.as_str() == "Deleted");
            if !is_deleted || !matches!(slot.desired, UserAction::Gone(_)) {
                continue;
            }
            let last = entity.and_then(|entity| entity.last.as_ref());
            if last.is_some_and(|last| last.workflow.as_str() == "forget_vsi") {
                slot.forgotten += 1;
            } else {
                oracle.forget(DiskId::Boot(uid));
            }
            slot.desired = UserAction::Nothing;
            slot.age += 1;
            *known = KnownVsi::default();
        }
    }
}
