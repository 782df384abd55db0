//! What VSIs and data disks are found by, in both directions. Pure.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_engine::model::EntityId;

use crate::{
    record::VsiRecord,
    spec::{DesiredDisk, desired::DiskOrigin},
    vsi_graph,
};

/// What an entity is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sign {
    /// A namespace and a name.
    Named(String, String),
    /// A host's id.
    On(String),
    /// The name of a data disk's volume, or the UID of a disk that is to be made.
    Has(String),
    /// The UID of the pool that made it.
    Of(String),
}

#[derive(Debug, Default)]
pub(super) struct Signs {
    pub(super) of: BTreeMap<EntityId, BTreeSet<Sign>>,
    by: BTreeMap<(&'static str, Sign), BTreeSet<EntityId>>,
    /// What cannot be read might be anything.
    pub(super) unread: BTreeSet<EntityId>,
    /// The generation of the record that was read of each: events that ask for nothing else change no sign.
    pub(super) read: BTreeMap<EntityId, u64>,
}

impl Signs {
    /// An entity has these signs, and no others any more.
    pub(super) fn put(&mut self, kind: &'static str, entity: EntityId, signs: BTreeSet<Sign>) {
        for gone in self.of.remove(&entity).unwrap_or_default() {
            let place = (kind, gone);
            if let Some(all) = self.by.get_mut(&place) {
                all.remove(&entity);
                if all.is_empty() {
                    self.by.remove(&place);
                }
            }
        }
        for sign in &signs {
            let all = self.by.entry((kind, sign.clone())).or_default();
            all.insert(entity.clone());
        }
        self.of.insert(entity, signs);
    }

    /// What has one of these signs, or cannot be read.
    pub(super) fn find(
        &self,
        kind: &'static str,
        signs: impl IntoIterator<Item = Sign>,
    ) -> BTreeSet<EntityId> {
        let found = signs
            .into_iter()
            .filter_map(|sign| self.by.get(&(kind, sign)));
        let mut found: BTreeSet<_> = found.flatten().cloned().collect();
        let unread = self.unread.iter().filter(|id| id.kind().as_str() == kind);
        found.extend(unread.cloned());
        found
    }
}

/// What a VSI is found by.
pub(super) fn of_vsi(record: &VsiRecord) -> Vec<Sign> {
    let vsi = &record.vsi;
    let mut signs = vec![
        Sign::Named(vsi.namespace.clone(), vsi.name.clone()),
        Sign::On(vsi.host.clone()),
    ];
    signs.extend(vsi.member_of.iter().map(|of| Sign::Of(of.uid.to_string())));
    signs.extend(
        record
            .volumes()
            .into_iter()
            .map(|volume| Sign::Has(volume.name)),
    );
    signs.extend(vsi.disks.iter().filter_map(of_disk));
    let made = vsi
        .disks
        .iter()
        .filter_map(|disk| vsi_graph::disk_uid(record, disk));
    signs.extend(made.map(|uid| Sign::Has(uid.to_string())));
    let recorded = record.formats.iter().map(|one| one.volume.name.clone());
    signs.extend(recorded.map(Sign::Has));
    // A run may still be about what was asked for before.
    let earlier = record.before.iter().flat_map(|inputs| &inputs.vsi.disks);
    let volumes = earlier
        .clone()
        .map(|disk| vsi_graph::volume(record, disk).name);
    signs.extend(volumes.map(Sign::Has));
    signs.extend(earlier.filter_map(of_disk));
    signs
}

/// What a document says of a disk; none of one that gets its UID later.
pub(super) fn of_disk(disk: &DesiredDisk) -> Option<Sign> {
    match &disk.source {
        DiskOrigin::Existing { volume } => Some(Sign::Has(volume.clone())),
        DiskOrigin::Made { uid, .. } => uid.map(|uid| Sign::Has(uid.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::record::{kind, vsi_entity};

    fn named(name: &str) -> Sign {
        Sign::Named("default".to_owned(), name.to_owned())
    }

    fn vsi(number: u128) -> EntityId {
        vsi_entity(Uuid::from_u128(number)).unwrap()
    }

    #[test]
    fn an_entity_is_found_by_what_it_is_now() {
        let mut signs = Signs::default();
        let on = Sign::On("sim:a".to_owned());
        signs.put(kind::VSI, vsi(1), [named("a"), on.clone()].into());
        signs.put(kind::VSI, vsi(2), [named("b"), on.clone()].into());
        assert_eq!(signs.find(kind::VSI, [named("a")]), [vsi(1)].into());
        assert_eq!(signs.find(kind::VSI, [on.clone()]), [vsi(1), vsi(2)].into());
        assert!(signs.find(kind::DISK, [named("a")]).is_empty());
        signs.put(kind::VSI, vsi(1), [named("c")].into());
        assert!(signs.find(kind::VSI, [named("a")]).is_empty());
        assert_eq!(
            signs.find(kind::VSI, [named("c"), on]),
            [vsi(1), vsi(2)].into()
        );
        signs.put(kind::VSI, vsi(1), BTreeSet::new());
        signs.put(kind::VSI, vsi(2), BTreeSet::new());
        assert!(signs.by.is_empty(), "{signs:?}");
    }

    #[test]
    fn what_cannot_be_read_may_be_anything_of_its_kind() {
        let mut signs = Signs::default();
        signs.unread.insert(vsi(7));
        assert_eq!(signs.find(kind::VSI, [named("a")]), [vsi(7)].into());
        assert!(signs.find(kind::DISK, [named("a")]).is_empty());
    }
}
