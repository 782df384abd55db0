//! Makes new VSIs from snapshots.

use uuid::Uuid;
use vsiflow_steps::ports::VolumeKey;

use super::{
    known::{KnownSnapshot, refused},
    take::BOOT,
};
use crate::fleet::{FleetError, SnapshotHandle};
use crate::{
    record::{VsiRecord, kind},
    spec::{
        BootDiskMode, DesiredDataDisk, DesiredDisk, DesiredVsi, DiskOrigin, Resolved, ResolvedVsi,
    },
};

impl SnapshotHandle<'_> {
    /// Builds the documents of a new VSI with that name and the disks of a snapshot. Otherwise it has
    /// the desired state that the snapshot's VSI had then, with its current contract or user-data. Its
    /// UUID, MAC addresses and data disks are new; the disks are named after it. Records nothing.
    ///
    /// # Errors
    /// When there is no such snapshot or its copies are not whole; when its VSI is deleted, and its
    /// contract or user-data with it; when a VSI of the name exists.
    pub async fn new_vsi(
        self,
        namespace: &str,
        snapshot: &str,
        name: &str,
    ) -> Result<Resolved, FleetError> {
        let snapshot = self.fleet.find_snapshot(namespace, snapshot, false).await?;
        let object = format!("snapshot/{}", snapshot.record.name);
        if !snapshot.is_ready() {
            let message = format!("it is {}: its copies are not whole", snapshot.phase());
            let remedy = "wait until it is Ready (`vsiflow get snapshots`), or choose another";
            return Err(refused(&object, &message, remedy));
        }
        let its_namespace = snapshot.record.namespace.clone();
        self.is_free(&its_namespace, name).await?;
        let uid = snapshot.record.vsi.to_string();
        let original = match self.fleet.find(&its_namespace, &uid, false).await {
            Ok(known) => known.record,
            Err(_) => {
                let message = "its VSI is deleted, and its contract or user-data with it";
                let remedy =
                    "apply a document for a new VSI; the copies of the disks are on the host";
                return Err(refused(&object, message, remedy));
            }
        };
        let contract = self.fleet.secrets.get(&original.contract).await?;
        let image_url = match &original.image_credentials {
            Some(secret) => Some(self.fleet.secrets.get(secret).await?),
            None => None,
        };
        let (desired, data_disks) = renamed(&snapshot, &original, name);
        let vsi = ResolvedVsi::of_record(desired, contract, image_url, object);
        Ok(Resolved {
            vsis: vec![vsi],
            data_disks,
            ..Resolved::default()
        })
    }

    /// Refuses the name of an existing VSI, before anything is copied for a new one.
    ///
    /// # Errors
    /// `VSI0740`.
    pub async fn is_free(self, namespace: &str, name: &str) -> Result<(), FleetError> {
        if self.fleet.find(namespace, name, false).await.is_err() {
            return Ok(());
        }
        let message = "a VSI of this name exists";
        Err(refused(
            &format!("vsi/{name}"),
            message,
            "choose another name",
        ))
    }
}

/// The new VSI, and its own data disks. Disks that the original only refers to are not copied.
fn renamed(
    snapshot: &KnownSnapshot,
    original: &VsiRecord,
    name: &str,
) -> (DesiredVsi, Vec<DesiredDataDisk>) {
    let inputs = &snapshot.record.inputs;
    let copy = |disk: &str| -> Option<VolumeKey> {
        let mut disks = snapshot.record.disks.iter();
        Some(disks.find(|one| one.disk == disk)?.copy.clone())
    };
    let mut vsi = DesiredVsi {
        name: name.to_owned(),
        uid: None,
        disks: Vec::new(),
        member_of: None,
        placement: None,
        ..inputs.clone()
    };
    vsi.boot_disk.copy_of = copy(BOOT);
    if vsi.boot_disk.mode == BootDiskMode::Overlay && vsi.boot_disk.copy_of.is_some() {
        // An overlay on the copy would prevent deleting the snapshot.
        vsi.boot_disk.mode = BootDiskMode::Copy;
    }
    if let Some(guest) = vsi.guest.as_mut().filter(|g| g.hostname == inputs.name) {
        name.clone_into(&mut guest.hostname);
    }
    let mut made = Vec::new();
    for disk in &inputs.disks {
        let DiskOrigin::Made {
            size,
            deletion_policy,
            ..
        } = &disk.source
        else {
            continue;
        };
        let uid = Some(Uuid::new_v4());
        let name = format!("{name}-{}", disk.name);
        vsi.disks.push(DesiredDisk {
            name: name.clone(),
            pool: disk.pool.clone(),
            source: DiskOrigin::Made {
                uid,
                size: *size,
                deletion_policy: *deletion_policy,
            },
        });
        made.push(DesiredDataDisk {
            namespace: vsi.namespace.clone(),
            name,
            uid,
            labels: Default::default(),
            host: original.vsi.host.clone(),
            pool: disk.pool.clone(),
            size: *size,
            deletion_policy: *deletion_policy,
            member_of: None,
            copy_of: copy(&format!("{}/{}", kind::DISK, disk.name)),
            source: None,
        });
    }
    (vsi, made)
}
