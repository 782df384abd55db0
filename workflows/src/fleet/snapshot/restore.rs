//! Restores VSIs to snapshots.

use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, Name},
    step::Step as _,
    workflow::DestructionOrder,
};
use vsiflow_steps::{
    error,
    snapshot::{
        CopyDisks, DiskCopy, RestoreDisks, SavedMemory, check_memory, copy_disks, restore_disks,
        restore_disks::DiskToRestore,
    },
    vsi::CloneBootDisk,
};

use super::{
    known::{KnownSnapshot, pending, refused},
    take::{BOOT, left_out, settled},
};
use crate::fleet::{
    ErrorKind, Fleet, FleetError, ReplacementPlace, SnapshotHandle, apply::is_deleting,
    index::Known, store::DesiredUpdates,
};
use crate::{
    data_disk, orders,
    plan::Plan,
    record::{DiskRecord, Power, PowerAction, SnapshotAction, VsiRecord, disk_entity},
    restoration,
    spec::{DesiredDisk, PowerState},
    update_vsi, vsi_graph,
};

/// What to restore of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RestoreScope {
    /// The disks, and the memory if the snapshot has it.
    #[default]
    All,
    /// The disks alone: the guest boots.
    DisksOnly,
}

/// How to restore a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreOptions {
    /// What of it.
    pub scope: RestoreScope,
    /// Whether its copies are restored without a check of their recorded lengths and hashes.
    pub unverified: bool,
    /// Where the disks are made. Those of saved memory are always restored in place.
    pub place: ReplacementPlace,
}

impl RestoreOptions {
    /// The VSI as it will be once the restoration is ordered.
    pub(in crate::fleet) fn ordered(self, record: &VsiRecord, known: &Known) -> Known {
        known.with_orders(&self.orders(record, known, &Plan::default()))
    }

    fn orders(self, record: &VsiRecord, known: &Known, plan: &Plan) -> Vec<DestructionOrder> {
        let act = match self.place {
            ReplacementPlace::Beside => orders::RESTORE,
            ReplacementPlace::InPlace => orders::RESTORE_IN_PLACE,
        };
        orders::for_restoration(record, &known.state.objects, act, plan)
    }

    /// Whether a restoration that is not done yet needs more than this one: if its memory cannot be restored, the
    /// disks still can; where the pool has no room for both boot disks, the present one can be given up; and copies
    /// that are not as they were made can be restored as they are.
    fn takes_less_than_is_pending(self, known: &Known) -> bool {
        let Some(SnapshotAction::Restore { memory, disks, .. }) =
            pending(known).map(|order| &order.action)
        else {
            return false;
        };
        let is_beside = !restoration::beside(&known.record, &known.state.objects).is_empty();
        (self.scope == RestoreScope::DisksOnly && memory.is_some())
            || (self.place == ReplacementPlace::InPlace && is_beside)
            || (self.unverified && disks.iter().any(|disk| disk.expected.is_some()))
    }
}

impl SnapshotHandle<'_> {
    /// The plan for restoring a VSI to a snapshot, and what would be lost. Changes nothing.
    ///
    /// # Errors
    /// As for [`SnapshotHandle::restore`].
    pub async fn plan_restore(
        self,
        namespace: &str,
        name: &str,
        options: RestoreOptions,
    ) -> Result<(EntityId, Plan), FleetError> {
        let (known, record) = self.fleet.restored(namespace, name, options).await?;
        let ordered = options.ordered(&record, &known);
        let plan = self.fleet.plan_of(&record, &ordered);
        Ok((known.entity, plan))
    }

    /// The names of the snapshot's disks that its VSI does not have any more. A restoration leaves them out.
    ///
    /// # Errors
    /// When there is no such snapshot, or its VSI is deleted.
    pub async fn not_restored(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<String>, FleetError> {
        let snapshot = self.fleet.find_snapshot(namespace, name, false).await?;
        let uid = snapshot.record.vsi.to_string();
        let known = self
            .fleet
            .find(&snapshot.record.namespace, &uid, false)
            .await?;
        let disks = snapshot.record.disks.iter();
        let missing = disks.filter(|of| of.disk != BOOT && attached(&known.record, of).is_none());
        Ok(missing.map(|of| of.disk.clone()).collect())
    }

    /// Why the host would refuse to restore the disks of the VSI now; `None` if nothing forbids it. Nothing is
    /// changed.
    ///
    /// # Errors
    /// As for [`restore`](Self::restore).
    pub async fn restore_refusal(
        self,
        namespace: &str,
        name: &str,
        options: RestoreOptions,
    ) -> Result<Option<Failure>, FleetError> {
        let (known, record, _) = self.permitted_restoration(namespace, name, options).await?;
        if let Some(refusal) = self.fleet.rewrite_refusal(&known).await {
            return Ok(Some(refusal));
        }
        let ordered = options.ordered(&record, &known);
        Ok(self.fleet.check_restoration(&ordered, &record).await.err())
    }

    /// Records that the disks of a VSI are to be restored from a snapshot, and starts to restore them.
    /// The guest is shut down for that, and started again if it ran. If its memory is restored too, the
    /// guest resumes from that moment, even if it is off now. Returns the plan.
    ///
    /// # Errors
    /// When there is no such snapshot or its copies are not whole; when its VSI is deleted or being
    /// changed; when the snapshot's memory does not fit the VSI as it is now; `VSI0234` if its copies have
    /// no recorded hashes and are to be verified.
    pub async fn restore(
        self,
        namespace: &str,
        name: &str,
        options: RestoreOptions,
        by: By,
    ) -> Result<(EntityId, Plan), FleetError> {
        let (known, record, plan) = self.permitted_restoration(namespace, name, options).await?;
        let mut updates = DesiredUpdates::default();
        let (entity, made_from) = (known.entity.clone(), known.made_from());
        let supersede = vsiflow_engine::model::Precedence::Supersede;
        updates.add(entity, update_vsi::NAME, supersede, &record, made_from)?;
        updates.order(options.orders(&record, &known, &plan));
        self.fleet.record(updates, by).await?;
        Ok((known.entity, plan))
    }

    /// The restoration, if the journal permits it.
    async fn permitted_restoration(
        self,
        namespace: &str,
        name: &str,
        options: RestoreOptions,
    ) -> Result<(Known, VsiRecord, Plan), FleetError> {
        self.fleet
            .refuse_while_unreadable("the restoration of a snapshot")
            .await?;
        let (known, record) = self.fleet.restored(namespace, name, options).await?;
        let ordered = options.ordered(&record, &known);
        let plan = self.fleet.plan_of(&record, &ordered);
        if let Some(change) = plan.refused().next() {
            return Err(update_vsi::refused(&record, &change.path, &change.why).into());
        }
        Ok((known, record, plan))
    }
}

impl Fleet {
    /// Checks on the host what the steps of a restoration would check.
    async fn check_restoration(&self, known: &Known, record: &VsiRecord) -> Result<(), Failure> {
        let order = record.snapshot.as_ref().map(|order| &order.action);
        let Some(SnapshotAction::Restore { disks, memory, .. }) = order else {
            return Ok(());
        };
        let host = &known.record.vsi.host;
        let ports = self.hosts.host(host).await?;
        if let Some(memory) = memory {
            let journal = self.journal_id.clone();
            let cx = self.engine.question(known.entity.clone(), journal);
            let params = check_memory::Params {
                host: host.clone(),
                uuid: known.record.uid,
                memory: memory.clone(),
                disks: disks.iter().map(|disk| disk.of.volume.clone()).collect(),
            };
            check_memory::foresee(&cx, &ports, &params).await?;
        }
        let beside = restoration::beside(record, &known.state.objects);
        if beside.is_empty() {
            restore_disks::foresee(&ports, disks).await
        } else {
            restore_disks::foresee_beside(&ports, &beside).await
        }
    }

    pub(in crate::fleet) async fn restored(
        &self,
        namespace: &str,
        name: &str,
        options: RestoreOptions,
    ) -> Result<(Known, VsiRecord), FleetError> {
        let RestoreOptions {
            scope, unverified, ..
        } = options;
        let snapshot = self.find_snapshot(namespace, name, false).await?;
        let object = format!("snapshot/{}", snapshot.record.name);
        if !snapshot.is_ready() {
            let message = format!("it is {}: its copies are not whole", snapshot.phase());
            let remedy = "wait until it is Ready (`vsiflow get snapshots`), or choose another";
            return Err(refused(&object, &message, remedy));
        }
        let uid = snapshot.record.vsi.to_string();
        let known = self.find(&snapshot.record.namespace, &uid, false).await?;
        if is_deleting(&known.state) {
            return Err(FleetError::going(&known.record.vsi.full_name()));
        }
        // A restoration that was begun can be ordered again.
        let is_broken = !known.state.objects.unfinished.is_empty() && known.state.active.is_none();
        if !is_broken && !options.takes_less_than_is_pending(&known) {
            settled(&known)?;
        }
        let disks = self.disks_to_restore(&known, &snapshot, unverified).await?;
        if disks.is_empty() {
            let message = "its VSI has none of the disks any more";
            return Err(refused(&object, message, "choose another snapshot"));
        }
        let memory = match scope {
            RestoreScope::All => self.memory_of(&known, &snapshot).await?,
            RestoreScope::DisksOnly => None,
        };
        let rises = memory.is_some() && known.record.power_state() == PowerState::Stopped;
        let action = SnapshotAction::Restore {
            snapshot: snapshot.uid,
            name: snapshot.record.name.clone(),
            disks,
            memory,
        };
        let mut record = self.ordered(&known, action).await?;
        if rises {
            self.refuse_cordoned(&known, PowerAction::Start)?;
            record.power = Some(started());
        }
        Ok((known, record))
    }

    /// The memory of the snapshot, if it fits the VSI as it is now.
    async fn memory_of(
        &self,
        known: &Known,
        snapshot: &KnownSnapshot,
    ) -> Result<Option<SavedMemory>, FleetError> {
        if snapshot.record.memory.is_none() {
            return Ok(None);
        }
        let unfit = |why: &str| {
            let failure = error::MEMORY_UNFIT.failure(why);
            let object = format!("snapshot/{}", snapshot.record.name);
            FleetError::new(ErrorKind::Blocked, failure.of_object(object))
        };
        if let Some(what) = difference(snapshot, known) {
            return Err(unfit(&format!(
                "{what} of its VSI changed since its memory was saved"
            )));
        }
        let made = self.output_of(CopyDisks::NAME, &snapshot.state).await?;
        let memory = made.get("memory").cloned().unwrap_or_default();
        match serde_json::from_value(memory) {
            Ok(memory) => Ok(Some(memory)),
            Err(_) => Err(unfit("what its memory was is not on record")),
        }
    }

    /// The disks of the snapshot that the VSI still has.
    async fn disks_to_restore(
        &self,
        known: &Known,
        snapshot: &KnownSnapshot,
        unverified: bool,
    ) -> Result<Vec<DiskToRestore>, FleetError> {
        let made: Option<copy_disks::Output> = self
            .output_of_newest(&[CopyDisks::NAME], &snapshot.state)
            .await?;
        let copies = made.map(|made| made.copies).unwrap_or_default();
        let mut disks = Vec::new();
        for of in &snapshot.record.disks {
            let disk = match of.disk.as_str() {
                BOOT => boot(known, of),
                _ => self.data_disk(known, of).await?,
            };
            let Some(disk) = disk else { continue };
            let copy = copies.iter().find(|copy| copy.disk == of.disk);
            let expected = copy.and_then(|copy| copy.sum.clone());
            if expected.is_none() && !unverified {
                let failure = error::COPY_UNVERIFIED
                    .failure(format!("the copy of disk {} has no recorded hash", of.disk));
                let object = format!("snapshot/{}", snapshot.record.name);
                let failure = failure.of_object(object).on_host(&snapshot.record.host);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
            disks.push(DiskToRestore {
                expected: expected.filter(|_| !unverified),
                ..disk
            });
        }
        Ok(disks)
    }

    async fn data_disk(
        &self,
        known: &Known,
        of: &DiskCopy,
    ) -> Result<Option<DiskToRestore>, FleetError> {
        let record = &known.record;
        let Some(disk) = attached(record, of) else {
            return Ok(None);
        };
        let uid = vsi_graph::disk_uid(record, disk);
        let entity = uid.and_then(|uid| disk_entity(uid).ok());
        let state = entity.and_then(|entity| self.engine.entity(&entity));
        let Some(state) = state else {
            return Err(not_its_own(known, of));
        };
        let recorded = self.read_record::<DiskRecord>(&state).await?;
        // The disk may have got another volume since.
        let volume = data_disk::current_volume(&of.volume, &state.objects);
        Ok(recorded.map(|recorded| DiskToRestore {
            of: DiskCopy {
                volume,
                ..of.clone()
            },
            size: Some(recorded.disk.size),
            recorded: data_disk::is_recorded(&recorded, &state),
            expected: None,
        }))
    }
}

/// The data disk of the VSI that was copied.
fn attached<'a>(record: &'a VsiRecord, of: &DiskCopy) -> Option<&'a DesiredDisk> {
    let its = |disk: &&DesiredDisk| vsi_graph::volume(record, disk) == of.volume;
    record.vsi.disks.iter().find(its)
}

/// The failure for a disk that the VSI has, and that is only referred to now: it would keep its content, while the
/// others got an older one.
fn not_its_own(known: &Known, of: &DiskCopy) -> FleetError {
    let message = format!(
        "{} of the snapshot is a disk that the VSI only refers to now, and would not be restored with the others",
        of.disk
    );
    let remedy = "apply the document of the disk and of the VSI again; `vsiflow clone` makes another VSI from the snapshot";
    let object = format!("vsi/{}", known.record.vsi.full_name());
    refused(&object, &message, remedy)
}

/// What differs between a VSI now and when its memory was saved.
fn difference(snapshot: &KnownSnapshot, known: &Known) -> Option<&'static str> {
    let (then, now) = (&snapshot.record.inputs, &known.record.vsi);
    let differs = [
        (then.machine != now.machine, "the machine"),
        (then.guest_type() != now.guest_type(), "the guest"),
        (then.host != now.host, "the host"),
        (then.networks != now.networks, "a network"),
        (then.boot_disk.mode != now.boot_disk.mode, "the boot disk"),
        (then.boot_disk.size != now.boot_disk.size, "the boot disk"),
        (then.disks != now.disks, "a data disk"),
        (left_out(&known.record).is_some(), "a disk"),
    ];
    let mut differs = differs.into_iter();
    differs.find_map(|(differs, what)| differs.then_some(what))
}

/// A guest whose memory is restored runs.
fn started() -> Power {
    Power {
        state: PowerState::Running,
        action: Some(PowerAction::Start),
        grace_s: vsi_graph::GRACE_S,
        drained: None,
    }
}

fn boot(known: &Known, of: &DiskCopy) -> Option<DiskToRestore> {
    let (record, intents) = (&known.record, &known.state.intents);
    let own = record.adopted.as_ref().is_some_and(|a| a.own_volumes);
    let made = [CloneBootDisk::NAME, RestoreDisks::NAME].map(Name::of);
    let is_own = own || made.iter().any(|step| intents.contains(step));
    // The VSI may have got another boot disk since.
    let volume = vsi_graph::BootDisks::of(record, &known.state.objects).current();
    (!vsi_graph::is_ephemeral(&record.vsi)).then(|| DiskToRestore {
        of: DiskCopy {
            volume,
            ..of.clone()
        },
        size: record.vsi.boot_disk.size,
        recorded: is_own,
        expected: None,
    })
}
