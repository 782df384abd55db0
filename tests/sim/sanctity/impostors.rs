//! Documents with the name or the UID of another object.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use uuid::Uuid;
use vsiflow_workflows::{
    fleet::{Fleet, FleetError},
    spec::{DeletionPolicy, Resolved},
};

use crate::{
    documents::{self, VsiDocument, uuid},
    world::user,
};

/// The name of a document with the UID of another object.
const NAME: &str = "impostor";

/// What a document pretends to be.
#[derive(Clone, Copy, Debug)]
pub struct Impostor {
    /// Whether it is a data disk. Else it is a VSI.
    is_disk: bool,
    as_what: Disguise,
}

/// What the document has of the other object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disguise {
    /// Its UID, under another name.
    Uid,
    /// Its UID, in another namespace.
    UidElsewhere,
    /// Its name, with this UID.
    Name(Uuid),
}

impl Impostor {
    pub fn draw(random: &mut StdRng) -> Self {
        let name = Disguise::Name(uuid(random.random_range(0x1000_0000..0x2000_0000)));
        let disguises = [Disguise::Uid, Disguise::UidElsewhere, name];
        Self {
            is_disk: random.random_bool(0.5),
            as_what: *disguises.choose(random).unwrap(),
        }
    }

    /// Whether it is a data disk with the UID of another one.
    pub fn has_uid_of_disk(self) -> bool {
        self.is_disk && !matches!(self.as_what, Disguise::Name(_))
    }

    /// Whether it is a VSI with the UID of another one.
    pub fn has_uid_of_vsi(self) -> bool {
        !self.is_disk && !matches!(self.as_what, Disguise::Name(_))
    }

    /// Applies the document. `vsi` is what it pretends to be, or what has the disk.
    pub async fn apply(self, fleet: &Fleet, vsi: &VsiDocument) -> Result<(), FleetError> {
        Box::pin(fleet.apply(self.resolved(vsi), user()))
            .await
            .map(drop)
    }

    /// Deletes what has the document's name.
    pub async fn delete(self, fleet: &Fleet) -> Result<(), FleetError> {
        let namespace = self.namespace();
        let deleted = if self.is_disk {
            fleet.disks().delete(namespace, NAME, false, user()).await
        } else {
            fleet.vsis().delete(namespace, NAME, false, user()).await
        };
        deleted.map(drop)
    }

    fn namespace(self) -> &'static str {
        match self.as_what {
            Disguise::UidElsewhere => "other",
            Disguise::Uid | Disguise::Name(_) => "default",
        }
    }

    fn resolved(self, vsi: &VsiDocument) -> Resolved {
        let mut resolved = documents::resolved(std::slice::from_ref(vsi));
        if self.is_disk {
            resolved.vsis.clear();
        } else {
            resolved.data_disks.clear();
        }
        for disk in &mut resolved.data_disks {
            disk.deletion_policy = DeletionPolicy::Delete;
            self.disguise(&mut disk.namespace, &mut disk.name, &mut disk.uid);
        }
        for resolved_vsi in &mut resolved.vsis {
            let desired = &mut resolved_vsi.desired;
            desired.disks.clear();
            self.disguise(&mut desired.namespace, &mut desired.name, &mut desired.uid);
        }
        resolved
    }

    fn disguise(self, namespace: &mut String, name: &mut String, uid: &mut Option<Uuid>) {
        if let Disguise::Name(own) = self.as_what {
            *uid = Some(own);
            return;
        }
        self.namespace().clone_into(namespace);
        NAME.clone_into(name);
    }
}
