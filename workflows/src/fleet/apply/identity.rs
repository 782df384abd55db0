//! One UID for each living name, and one name for each UID.
//!
//! A UID names the domain and the volumes of an object on its host. So a document cannot give a living name
//! another UID, because there would be two objects; and it cannot give a UID another name while anything
//! that has the UID may exist, because it would take that over, from another namespace, too.

use std::collections::BTreeMap;

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, EntityState, Failure, FailureClass, InvalidId};

use crate::{
    data_disk, delete_vsi,
    fleet::{ErrorKind, Fleet, FleetError, disk::known::KnownDisk, index::Known},
    one_host,
    record::{disk_entity, kind, vsi_entity},
    spec::{DesiredDataDisk, DesiredVsi, Resolved},
};

/// The name and the UID of an object in a document.
#[derive(Clone, Copy)]
struct Identity<'a> {
    kind: &'static str,
    namespace: &'a str,
    name: &'a str,
    uid: Uuid,
}

/// An object of the journal with the name or the UID of a document.
struct Namesake<'a> {
    identity: Identity<'a>,
    host: &'a str,
    /// Whether it is not deleted.
    lives: bool,
    /// Whether anything of it may exist on its host.
    may_exist: bool,
}

impl Known {
    /// Whether it was forgotten and may still be on its host: nobody took it down there.
    pub(crate) fn may_have_stayed(&self) -> bool {
        let has_parts = one_host::may_have_parts(&self.state) || self.record.adopted.is_some();
        self.is_deleted() && ended_by(&self.state, delete_vsi::FORGET) && has_parts
    }
}

impl KnownDisk {
    /// Whether it was forgotten and its volume may still be on its host.
    fn may_have_stayed(&self) -> bool {
        let has_volume = data_disk::is_recorded(&self.record, &self.state);
        self.is_deleted() && ended_by(&self.state, data_disk::FORGET) && has_volume
    }
}

fn ended_by(state: &EntityState, workflow: &str) -> bool {
    let desired = state.desired.as_ref();
    desired.is_some_and(|desired| desired.workflow.as_str() == workflow)
}

impl Fleet {
    /// Refuses the documents of VSIs and data disks whose name has another UID, or whose UID belongs to
    /// another object.
    pub(in crate::fleet) async fn refuse_identities(
        &self,
        resolved: &Resolved,
        known: &[Known],
    ) -> Result<(), FleetError> {
        let vsis = resolved.vsis.iter();
        let vsis: Vec<_> = vsis.filter_map(|vsi| of_vsi(&vsi.desired)).collect();
        let disks: Vec<_> = resolved.data_disks.iter().filter_map(of_disk).collect();
        refuse_repeated(&vsis)?;
        refuse_repeated(&disks)?;
        self.refuse_unreadable(&vsis, vsi_entity).await?;
        self.refuse_unreadable(&disks, disk_entity).await?;
        for vsi in vsis {
            for other in known {
                // An adopted VSI gets its name from its first document.
                let unnamed = other.record.unknown.contains("name") && !other.is_deleted();
                if !(unnamed && other.record.uid == vsi.uid) {
                    vsi.refuse_for(&Namesake::of_vsi(other))?;
                }
            }
        }
        if disks.is_empty() {
            return Ok(());
        }
        let known_disks = self.concerned_disks(resolved).await?;
        for disk in disks {
            for other in &known_disks {
                disk.refuse_for(&Namesake::of_disk(other))?;
            }
        }
        Ok(())
    }
}

impl Fleet {
    /// Refuses UIDs of objects whose records cannot be read: they may have any name.
    async fn refuse_unreadable(
        &self,
        identities: &[Identity<'_>],
        entity: fn(Uuid) -> Result<EntityId, InvalidId>,
    ) -> Result<(), FleetError> {
        for identity in identities {
            let entity = entity(identity.uid);
            let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
            if self.engine.entity(&entity).is_none() {
                continue;
            }
            let place = [(identity.namespace, entity.id())];
            let lost = self.lost_among(identity.kind, place).await?;
            if let Some(lost) = lost.into_iter().find(|lost| lost.entity == entity) {
                return Err(FleetError::new(ErrorKind::Blocked, lost.failure));
            }
        }
        Ok(())
    }
}

fn of_vsi(vsi: &DesiredVsi) -> Option<Identity<'_>> {
    Some(Identity {
        kind: kind::VSI,
        namespace: &vsi.namespace,
        name: &vsi.name,
        uid: vsi.uid?,
    })
}

fn of_disk(disk: &DesiredDataDisk) -> Option<Identity<'_>> {
    Some(Identity {
        kind: kind::DISK,
        namespace: &disk.namespace,
        name: &disk.name,
        uid: disk.uid?,
    })
}

/// Refuses documents of two names with one UID.
fn refuse_repeated(identities: &[Identity<'_>]) -> Result<(), FleetError> {
    let mut owners = BTreeMap::new();
    for identity in identities {
        if let Some(owner) = owners.insert(identity.uid, identity)
            && !owner.has_name_of(identity)
        {
            let remedy = "give each document its own metadata.uid, or none";
            return Err(identity.belongs_to(owner, remedy));
        }
    }
    Ok(())
}

impl<'a> Namesake<'a> {
    fn of_vsi(known: &'a Known) -> Self {
        Self {
            identity: Identity {
                kind: kind::VSI,
                namespace: &known.record.vsi.namespace,
                name: &known.record.vsi.name,
                uid: known.record.uid,
            },
            host: &known.record.vsi.host,
            lives: !known.is_deleted(),
            may_exist: !known.is_deleted() || known.may_have_stayed(),
        }
    }

    fn of_disk(known: &'a KnownDisk) -> Self {
        let disk = &known.record.disk;
        Self {
            identity: Identity {
                kind: kind::DISK,
                namespace: &disk.namespace,
                name: &disk.name,
                uid: known.uid,
            },
            host: &disk.host,
            lives: !known.is_deleted(),
            may_exist: !known.is_deleted() || known.may_have_stayed(),
        }
    }
}

impl Identity<'_> {
    fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    fn has_name_of(&self, other: &Self) -> bool {
        (self.namespace, self.name) == (other.namespace, other.name)
    }

    fn refuse_for(&self, other: &Namesake<'_>) -> Result<(), FleetError> {
        match (
            self.has_name_of(&other.identity),
            self.uid == other.identity.uid,
        ) {
            (true, false) if other.lives => Err(self.is_another(other)),
            (false, true) if other.may_exist => {
                let remedy =
                    "remove metadata.uid from the document, or use the UID of its own object";
                Err(self.belongs_to(&other.identity, remedy))
            }
            // A data disk that was forgotten is made again with the volume that it left.
            (true, true) if self.kind == kind::VSI && !other.lives && other.may_exist => {
                Err(self.was_forgotten(other))
            }
            _ => Ok(()),
        }
    }

    fn is_another(&self, other: &Namesake<'_>) -> FleetError {
        let (kind, uid) = (self.word(), other.identity.uid);
        let message = format!("a {kind} of this name exists under another UID, {uid}");
        let failure = Failure::new(FailureClass::Blocked, "VSI0726", message)
            .of_object(format!("{}/{}", self.kind, self.full_name()))
            .on_host(other.host)
            .with_remedy(format!(
                "remove metadata.uid from the document, or delete the {kind} that exists"
            ));
        FleetError::new(ErrorKind::Blocked, failure)
    }

    fn belongs_to(&self, owner: &Self, remedy: &str) -> FleetError {
        let owner = format!("{}/{}", owner.kind, owner.full_name());
        let message = format!("the UID {} belongs to {owner}", self.uid);
        let failure = Failure::new(FailureClass::Blocked, "VSI0757", message)
            .of_object(format!("{}/{}", self.kind, self.full_name()))
            .with_remedy(remedy);
        FleetError::new(ErrorKind::Blocked, failure)
    }

    fn was_forgotten(&self, other: &Namesake<'_>) -> FleetError {
        let uid = self.uid;
        let message = format!("a VSI with the UID {uid} was forgotten, and may still run");
        let failure = Failure::new(FailureClass::Blocked, "VSI0757", message)
            .of_object(format!("{}/{}", self.kind, self.full_name()))
            .on_host(other.host)
            .with_remedy(format!(
                "take it over with `vsiflow adopt {uid}`, or remove metadata.uid from the document \
                 to make another VSI"
            ));
        FleetError::new(ErrorKind::Blocked, failure)
    }

    fn word(&self) -> &'static str {
        match self.kind {
            kind::DISK => "data disk",
            _ => "VSI",
        }
    }
}
