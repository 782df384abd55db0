//! Puts VSIs back to snapshots.

use vsiflow_engine::{
    executor::By,
    model::{EntityId, Name},
    step::Step as _,
};
use vsiflow_steps::{
    snapshot::{DiskCopy, RestoreDisks, restore_disks::DiskToRestore},
    vsi::CloneBootDisk,
};

use super::{
    known::{KnownSnapshot, refused},
    take::{BOOT, settled},
};
use crate::fleet::{
    Fleet, FleetError, SnapshotHandle, apply::is_deleting, index::Known, store::DesiredUpdates,
};
use crate::{
    data_disk,
    plan::Plan,
    record::{DiskRecord, SnapshotAction, VsiRecord, disk_entity},
    update_vsi, vsi_graph,
};

impl SnapshotHandle<'_> {
    /// What it takes to put a VSI back to a snapshot, and what is lost by that; nothing is changed.
    ///
    /// # Errors
    /// As for [`SnapshotHandle::restore`].
    pub async fn plan_restore(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<(EntityId, Plan), FleetError> {
        let (known, wanted) = self.fleet.restored(namespace, name).await?;
        Ok((known.entity.clone(), self.fleet.plan_of(&wanted, &known)))
    }

    /// Records that the disks of a VSI are to be put back as a snapshot has them, and begins with it:
    /// the guest is shut down for that, and started again if it ran. Gives back what it takes.
    ///
    /// # Errors
    /// When there is no such snapshot or its copies are not whole; when its VSI is gone, or is being
    /// changed.
    pub async fn restore(
        self,
        namespace: &str,
        name: &str,
        by: By,
    ) -> Result<(EntityId, Plan), FleetError> {
        self.fleet
            .refuse_while_unreadable("the restoration of a snapshot")
            .await?;
        let (known, wanted) = self.fleet.restored(namespace, name).await?;
        let plan = self.fleet.plan_of(&wanted, &known);
        if let Some(change) = plan.refused().next() {
            return Err(update_vsi::refused(&wanted, &change.path, &change.why).into());
        }
        let mut updates = DesiredUpdates::default();
        let (entity, made_from) = (known.entity.clone(), known.made_from());
        let supersede = vsiflow_engine::model::Precedence::Supersede;
        updates.add(entity, update_vsi::NAME, supersede, &wanted, made_from)?;
        self.fleet.record(updates, by).await?;
        Ok((known.entity, plan))
    }
}

impl Fleet {
    async fn restored(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(Known, VsiRecord), FleetError> {
        let snapshot = self.find_snapshot(namespace, name, false).await?;
        let object = format!("snapshot/{}", snapshot.wanted.name);
        if !snapshot.is_ready() {
            let message = format!("it is {}: its copies are not whole", snapshot.phase());
            let remedy = "wait until it is Ready (`vsiflow get snapshots`), or choose another";
            return Err(refused(&object, &message, remedy));
        }
        let uid = snapshot.wanted.vsi.to_string();
        let known = self.find(&snapshot.wanted.namespace, &uid, false).await?;
        if is_deleting(&known.state) {
            return Err(FleetError::going(&known.wanted.vsi.full_name()));
        }
        settled(&known)?;
        let disks = self.disks_to_restore(&known, &snapshot).await?;
        if disks.is_empty() {
            let message = "its VSI has none of the disks any more";
            return Err(refused(&object, message, "choose another snapshot"));
        }
        let action = SnapshotAction::Restore {
            snapshot: snapshot.uid,
            name: snapshot.wanted.name.clone(),
            disks,
        };
        let wanted = self.ordered(&known, action).await?;
        Ok((known, wanted))
    }

    /// The disks of the snapshot that the VSI still has.
    async fn disks_to_restore(
        &self,
        known: &Known,
        snapshot: &KnownSnapshot,
    ) -> Result<Vec<DiskToRestore>, FleetError> {
        let mut disks = Vec::new();
        for of in &snapshot.wanted.disks {
            match of.disk.as_str() {
                BOOT => disks.extend(boot(known, of)),
                _ => disks.extend(self.data_disk(known, of).await?),
            }
        }
        Ok(disks)
    }

    async fn data_disk(
        &self,
        known: &Known,
        of: &DiskCopy,
    ) -> Result<Option<DiskToRestore>, FleetError> {
        let wanted = &known.wanted;
        let its = |disk: &&crate::spec::DesiredDisk| vsi_graph::volume(wanted, disk) == of.volume;
        let uid = wanted.vsi.disks.iter().find(its);
        let uid = uid.and_then(|disk| vsi_graph::disk_uid(wanted, disk));
        let entity = uid.and_then(|uid| disk_entity(uid).ok());
        let Some(state) = entity
            .as_ref()
            .and_then(|entity| self.engine.entity(entity))
        else {
            return Ok(None);
        };
        let disk = self.wanted::<DiskRecord>(&state).await?;
        Ok(disk.map(|disk| DiskToRestore {
            of: of.clone(),
            size: Some(disk.disk.size),
            recorded: data_disk::is_recorded(&disk, &state),
        }))
    }
}

fn boot(known: &Known, of: &DiskCopy) -> Option<DiskToRestore> {
    let (wanted, intents) = (&known.wanted, &known.state.intents);
    let own = wanted.adopted.as_ref().is_some_and(|a| a.own_volumes);
    let made = [CloneBootDisk::NAME, RestoreDisks::NAME].map(Name::of);
    let is_own = own || made.iter().any(|step| intents.contains(step));
    (!vsi_graph::is_ephemeral(&wanted.vsi)).then(|| DiskToRestore {
        of: of.clone(),
        size: wanted.vsi.boot_disk.size,
        recorded: is_own,
    })
}
