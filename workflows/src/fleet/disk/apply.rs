//! Data disks: applying documents, adoption and deletion.

use vsiflow_engine::{
    executor::{By, Drive},
    model::{EntityId, Failure, FailureClass, Precedence},
};

use crate::fleet::{
    Applied, DeletionMode, DiskHandle, EntityPresence, ErrorKind, Fleet, FleetError,
    apply::{is_deleting, predecessor},
    disk::known::{DiskIds, KnownDisk},
    disk::source::NewDisks,
    disk::updates::{DiskRequest, change, create, full_name, matching, plan_of, refills, refused},
    index::Known,
    object::qualified,
    store::DesiredUpdates,
    unreadable::refuse_lost,
};
use crate::{
    data_disk,
    record::{DiskRecord, disk_entity, kind},
    spec::{DeletionPolicy, DesiredDataDisk, HostSettings, Resolved},
    vsi_graph,
};

impl DiskHandle<'_> {
    /// Adopts a data disk that an earlier journal made. Its volume has the disk's UID as its name, is
    /// checked and not made, and belongs to this journal afterwards.
    ///
    /// # Errors
    /// When the disk is known already, or has no UID.
    pub async fn adopt(
        self,
        disk: DesiredDataDisk,
        host: Option<HostSettings>,
        by: By,
    ) -> Result<EntityId, FleetError> {
        self.fleet.engine.takes_updates()?;
        let uid = disk
            .uid
            .ok_or_else(|| FleetError::defect("a disk without a UID"))?;
        let entity = disk_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
        if self.fleet.knowledge(&entity) != EntityPresence::None {
            return Err(FleetError::defect(format!("{entity} is known already")));
        }
        let mut updates = DesiredUpdates::default();
        if let Some(host) = host {
            self.fleet.host_update(host, &mut updates).await?;
        }
        let record = DiskRecord {
            disk,
            recorded: true,
            made: true,
            adopted: true,
            turn: None,
            unresolved_refs: Vec::new(),
        };
        let supersede = Precedence::Supersede;
        updates.add(entity.clone(), data_disk::NAME, supersede, &record, None)?;
        self.fleet.record(updates, by).await?;
        self.fleet
            .engine
            .drive(Drive::These(vec![entity.clone()]))
            .await?;
        Ok(entity)
    }

    /// The entity of a data disk that is not deleted.
    ///
    /// # Errors
    /// When there is no data disk of that name.
    pub async fn find(self, namespace: &str, name: &str) -> Result<EntityId, FleetError> {
        Ok(self.fleet.find_disk(namespace, name, false).await?.entity)
    }

    /// Records that a data disk is to be deleted by its `deletionPolicy`: its volume is deleted once
    /// nothing on the host names it, or stays. With [`DeletionMode::Orphan`] it always stays, and the host
    /// is not asked.
    ///
    /// # Errors
    /// When there is no data disk of that name; or when a VSI that stays has the disk and it would only be
    /// forgotten, because a new disk with its name would be another one.
    pub async fn delete(
        self,
        namespace: &str,
        name: &str,
        mode: impl Into<DeletionMode>,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let mode = mode.into();
        let orphan = mode == DeletionMode::Orphan;
        let known = self.fleet.find_disk(namespace, name, false).await?;
        let policy = self.fleet.disk_policy(&known).await?;
        let workflow = if !mode.is_by_policy() || policy == DeletionPolicy::Retain {
            data_disk::FORGET
        } else {
            data_disk::DELETE
        };
        if mode.is_ordered(&known.entity, &known.state, workflow) {
            self.fleet.engine.retry(known.entity.clone(), by).await?;
            return Ok(known.entity);
        }
        if workflow == data_disk::DELETE {
            self.fleet
                .refuse_while_unreadable("the deletion of a data disk")
                .await?;
        }
        let vsis = self.fleet.known_with(known.uid).await?;
        let users = vsis.iter().filter(|vsi| !vsi.is_deleted());
        let users = users.filter(|vsi| known.is_used_by(vsi));
        let (leaving, staying): (Vec<_>, Vec<_>) = users.partition(|vsi| is_deleting(&vsi.state));
        if workflow == data_disk::FORGET && !orphan && !staying.is_empty() {
            return Err(in_use(&known.record.disk, &staying));
        }
        let record = DiskRecord {
            recorded: known.record.recorded || known.is_legacy(),
            // It waits for a VSI that has it and is being deleted, too.
            turn: leaving.first().map(|vsi| predecessor(vsi, true)),
            ..known.record.clone()
        };
        let mut updates = DesiredUpdates::default();
        let (entity, supreme) = (known.entity.clone(), Precedence::Supreme);
        updates.add(entity, workflow, supreme, &record, None)?;
        if workflow == data_disk::DELETE {
            let volumes = known.state.objects.made.keys().cloned();
            updates.order_deletion_by(mode.act(), volumes);
        }
        self.fleet.record(updates, by).await?;
        Ok(known.entity)
    }

    /// The data disks with an open run, or a desired state that no run was opened for.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn interrupted(self) -> Result<Vec<(EntityId, String, String)>, FleetError> {
        let known = self.fleet.known_disks().await?.into_iter();
        let open = known.filter(|disk| {
            let newest = disk
                .state
                .desired
                .as_ref()
                .map(|desired| desired.generation);
            let begun = newest.is_some_and(|newest| newest == disk.state.attempted);
            let is_open = disk.state.active.is_some() || !disk.state.is_settled() && !begun;
            is_open && self.fleet.engine.unreadable(&disk.entity).is_none()
        });
        let named = open.map(|disk| {
            let DiskRecord { disk: named, .. } = disk.record;
            (disk.entity, named.namespace, named.name)
        });
        Ok(named.collect())
    }
}

impl Fleet {
    /// All data disks, deleted ones included, by namespace and name.
    pub(in crate::fleet) async fn known_disks(&self) -> Result<Vec<KnownDisk>, FleetError> {
        let mut disks = Vec::new();
        for (entity, state, record) in self.all_desired::<DiskRecord>(kind::DISK).await? {
            if let Ok(uid) = entity.id().parse() {
                disks.push(KnownDisk {
                    entity,
                    uid,
                    state,
                    record,
                });
            }
        }
        disks.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok(disks)
    }

    /// Drafts the data disks of documents; new desired states go into `updates`.
    ///
    /// # Errors
    /// When a data disk is being deleted, or would have to shrink or move.
    pub(in crate::fleet) async fn draft_disks(
        &self,
        resolved: &Resolved,
        vsis: &[Known],
        updates: &mut DesiredUpdates,
    ) -> Result<(DiskIds, Vec<Applied>), FleetError> {
        let known = self.concerned_disks(resolved).await?;
        let alive = known.iter().filter(|disk| !disk.is_deleted());
        let mut ids: DiskIds = alive
            .map(|k| {
                (
                    (k.record.disk.namespace.clone(), k.record.disk.name.clone()),
                    k.uid,
                )
            })
            .collect();
        let mut all = Vec::new();
        let new = NewDisks::of(&resolved.data_disks, &known);
        for disk in &resolved.data_disks {
            let known = matching(disk, &known);
            let mut request = DiskRequest::of(disk, known, resolved);
            if known.is_none_or(|known| refills(&request.disk, known)) {
                request.disk.copy_of = self.copied_volume(&request.disk, &new).await?;
            }
            let (uid, applied) = match known {
                None => create(&request, new.uid(disk), vsis, updates)?,
                Some(known) => (known.uid, change(&request, known, vsis, updates)?),
            };
            ids.insert((disk.namespace.clone(), disk.name.clone()), uid);
            all.push(applied);
        }
        Ok((ids, all))
    }

    /// Refuses documents with a change of a data disk that is never made, or with a disk that is being
    /// deleted.
    pub(in crate::fleet) async fn refuse_disks(
        &self,
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        let known = self.concerned_disks(resolved).await?;
        let names = resolved.data_disks.iter();
        let names = names.map(|disk| (disk.namespace.as_str(), disk.name.as_str()));
        let lost = self.lost_among(kind::DISK, names).await?;
        for disk in &resolved.data_disks {
            let Some(known) = matching(disk, &known) else {
                refuse_lost(&lost, kind::DISK, &disk.namespace, &disk.name)?;
                continue;
            };
            let disk = &DiskRequest::of(disk, Some(known), resolved).disk;
            let name = full_name(disk);
            if known.is_deleting() {
                return Err(FleetError::going_of(kind::DISK, &name));
            }
            let plan = plan_of(disk, known);
            if let Some(change) = plan.refused().next() {
                return Err(refused(disk, change));
            }
        }
        Ok(())
    }

    pub(in crate::fleet) async fn find_disk(
        &self,
        namespace: &str,
        name: &str,
        deleted: bool,
    ) -> Result<KnownDisk, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let known = self.disks_named(namespace, name).await?.into_iter();
        let mut named: Vec<_> = known
            .filter(|disk| disk.is_named(namespace, name) && (deleted || !disk.is_deleted()))
            .collect();
        named.sort_by_key(|disk| (!disk.is_deleted(), disk.state.runs.last().copied()));
        if let Some(found) = named.pop() {
            return Ok(found);
        }
        let lost = self.lost_among(kind::DISK, [(namespace, name)]).await?;
        refuse_lost(&lost, kind::DISK, namespace, name)?;
        Err(FleetError::not_found(kind::DISK, name))
    }

    /// The data disks that a VSI waits for or will wait for.
    pub(in crate::fleet) async fn disks_of(
        &self,
        vsi: &EntityId,
    ) -> Result<Vec<EntityId>, FleetError> {
        let Some(state) = self.engine.entity(vsi) else {
            return Ok(Vec::new());
        };
        if vsi.kind().as_str() != kind::VSI {
            return Ok(Vec::new());
        }
        let record = self.read_record::<crate::record::VsiRecord>(&state).await?;
        let uids = record.iter().flat_map(|record| {
            let disks = record.vsi.disks.iter();
            disks.filter_map(|disk| vsi_graph::disk_uid(record, disk))
        });
        Ok(uids.filter_map(|uid| disk_entity(uid).ok()).collect())
    }
}

fn in_use(disk: &DesiredDataDisk, users: &[&Known]) -> FleetError {
    let users: Vec<_> = users.iter().map(|vsi| vsi.label()).collect();
    let message = format!("the data disk is in use by {}", users.join(", "));
    let failure = Failure::new(FailureClass::Blocked, "VSI0210", message)
        .of_object(format!("disk/{}", full_name(disk)))
        .on_host(&disk.host)
        .with_remedy(
            "delete the VSI first, or have its document choose other disks; `--orphan` forgets \
             the disk as it is",
        );
    FleetError::new(ErrorKind::Blocked, failure)
}
