//! The index of lookup keys of VSIs and data disks, in both directions. Pure.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_engine::model::EntityId;
use vsiflow_steps::names;

use crate::{
    macs,
    record::VsiRecord,
    spec::{DesiredDisk, desired::DiskOrigin},
    vsi_graph,
};

/// One key that an entity is found by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LookupKey {
    /// A namespace and a name.
    Named(String, String),
    /// A host's id.
    On(String),
    /// The name of a data disk's volume, or the UID of a disk that is to be made.
    Has(String),
    /// The UID of the pool that made it.
    Of(String),
    /// The MAC address of a card.
    Card(String),
}

#[derive(Debug, Default)]
pub(super) struct LookupIndex {
    pub(super) of: BTreeMap<EntityId, BTreeSet<LookupKey>>,
    by: BTreeMap<(&'static str, LookupKey), BTreeSet<EntityId>>,
    /// Entities that cannot be read: they may match any key.
    pub(super) unread: BTreeSet<EntityId>,
    /// The generation of the record that was read of each entity. Events that do not change the desired
    /// state change no key.
    pub(super) read: BTreeMap<EntityId, u64>,
}

impl LookupIndex {
    /// Sets the keys of an entity and removes its earlier ones.
    pub(super) fn put(&mut self, kind: &'static str, entity: EntityId, keys: BTreeSet<LookupKey>) {
        for gone in self.of.remove(&entity).unwrap_or_default() {
            let place = (kind, gone);
            if let Some(all) = self.by.get_mut(&place) {
                all.remove(&entity);
                if all.is_empty() {
                    self.by.remove(&place);
                }
            }
        }
        for key in &keys {
            let all = self.by.entry((kind, key.clone())).or_default();
            all.insert(entity.clone());
        }
        self.of.insert(entity, keys);
    }

    /// The entities that have one of these keys, or cannot be read.
    pub(super) fn find(
        &self,
        kind: &'static str,
        keys: impl IntoIterator<Item = LookupKey>,
    ) -> BTreeSet<EntityId> {
        let found = keys.into_iter().filter_map(|key| self.by.get(&(kind, key)));
        let mut found: BTreeSet<_> = found.flatten().cloned().collect();
        let unread = self.unread.iter().filter(|id| id.kind().as_str() == kind);
        found.extend(unread.cloned());
        found
    }
}

/// The lookup keys of a VSI.
pub(super) fn of_vsi(record: &VsiRecord) -> Vec<LookupKey> {
    let vsi = &record.vsi;
    let mut keys = vec![
        LookupKey::Named(vsi.namespace.clone(), vsi.name.clone()),
        LookupKey::On(vsi.host.clone()),
    ];
    keys.extend(
        vsi.member_of
            .iter()
            .map(|of| LookupKey::Of(of.uid.to_string())),
    );
    keys.extend(
        record
            .volumes()
            .into_iter()
            .map(|volume| of_volume(volume.name)),
    );
    keys.extend(vsi.disks.iter().filter_map(of_disk));
    let made = vsi
        .disks
        .iter()
        .filter_map(|disk| vsi_graph::disk_uid(record, disk));
    keys.extend(made.map(|uid| LookupKey::Has(uid.to_string())));
    let recorded = record.formats.iter().map(|one| one.volume.name.clone());
    keys.extend(recorded.map(of_volume));
    let records = std::iter::once(record).chain(record.proposed.as_deref());
    let cards = records.flat_map(vsi_graph::cards);
    let macs = cards.map(|card| card.mac).chain(macs::of_earlier(record));
    keys.extend(macs.map(LookupKey::Card));
    // A run may still work on an earlier desired state.
    let earlier = record.before.iter().flat_map(|inputs| &inputs.vsi.disks);
    let volumes = earlier
        .clone()
        .map(|disk| vsi_graph::volume(record, disk).name);
    keys.extend(volumes.map(of_volume));
    keys.extend(earlier.filter_map(of_disk));
    keys
}

/// The key of a volume: each of a data disk has that of the first one, which is called like the disk's UID.
fn of_volume(name: String) -> LookupKey {
    let of_disk = names::numbered_data_disk(&name);
    LookupKey::Has(of_disk.map_or(name, |(uid, _)| uid.to_string()))
}

/// The key of a disk in a document; `None` if the disk gets its UID later.
pub(super) fn of_disk(disk: &DesiredDisk) -> Option<LookupKey> {
    match &disk.source {
        DiskOrigin::Existing { volume } => Some(of_volume(volume.clone())),
        DiskOrigin::Made { uid, .. } => uid.map(|uid| LookupKey::Has(uid.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::record::{kind, vsi_entity};

    fn named(name: &str) -> LookupKey {
        LookupKey::Named("default".to_owned(), name.to_owned())
    }

    fn vsi(number: u128) -> EntityId {
        vsi_entity(Uuid::from_u128(number)).unwrap()
    }

    #[test]
    fn an_entity_is_found_by_what_it_is_now() {
        let mut index = LookupIndex::default();
        let on = LookupKey::On("sim:a".to_owned());
        index.put(kind::VSI, vsi(1), [named("a"), on.clone()].into());
        index.put(kind::VSI, vsi(2), [named("b"), on.clone()].into());
        assert_eq!(index.find(kind::VSI, [named("a")]), [vsi(1)].into());
        assert_eq!(index.find(kind::VSI, [on.clone()]), [vsi(1), vsi(2)].into());
        assert!(index.find(kind::DISK, [named("a")]).is_empty());
        index.put(kind::VSI, vsi(1), [named("c")].into());
        assert!(index.find(kind::VSI, [named("a")]).is_empty());
        assert_eq!(
            index.find(kind::VSI, [named("c"), on]),
            [vsi(1), vsi(2)].into()
        );
        index.put(kind::VSI, vsi(1), BTreeSet::new());
        index.put(kind::VSI, vsi(2), BTreeSet::new());
        assert!(index.by.is_empty(), "{index:?}");
    }

    #[test]
    fn what_cannot_be_read_may_be_anything_of_its_kind() {
        let mut index = LookupIndex::default();
        index.unread.insert(vsi(7));
        assert_eq!(index.find(kind::VSI, [named("a")]), [vsi(7)].into());
        assert!(index.find(kind::DISK, [named("a")]).is_empty());
    }
}
