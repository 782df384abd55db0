//! Which VSIs have which data disks.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::known::uids_of;
use crate::fleet::index::Known;

/// The VSIs that have a data disk, by the disk's UID. A list of all disks needs one pass over all VSIs for it.
#[derive(Debug, Default)]
pub(super) struct DiskUsers<'a>(BTreeMap<Uuid, Vec<&'a Known>>);

impl<'a> DiskUsers<'a> {
    pub(super) fn of(vsis: impl IntoIterator<Item = &'a Known>) -> Self {
        let mut users = BTreeMap::<Uuid, Vec<&Known>>::new();
        for vsi in vsis {
            let mut disks: Vec<_> = uids_of(vsi).collect();
            disks.sort_unstable();
            disks.dedup();
            for uid in disks {
                users.entry(uid).or_default().push(vsi);
            }
        }
        Self(users)
    }

    /// The VSIs that have this disk, in the order in which they were given.
    pub(super) fn of_disk(&self, uid: Uuid) -> &[&'a Known] {
        self.0.get(&uid).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc};

    use serde_json::json;
    use vsiflow_engine::model::EntityState;

    use super::*;
    use crate::record::vsi_entity;

    const VSIS: u128 = 1_000;

    fn vsi(number: u128, disks: &[Uuid]) -> Known {
        let uid = Uuid::from_u128((1 << 100) | number);
        let named = |(at, disk): (usize, &Uuid)| (format!("d{at}"), json!(disk));
        let uids: serde_json::Map<_, _> = disks.iter().enumerate().map(named).collect();
        let desired = uids.keys().map(|name| {
            json!({"name": name, "pool": "images",
                "source": {"type": "made", "size": 10, "deletionPolicy": "Retain"}})
        });
        let record = json!({
            "uid": uid, "contract": "c1", "disks": uids,
            "vsi": {
                "namespace": "default", "name": format!("v{number}"), "host": "sim", "pool": "images",
                "image": {"url": "http://a/b.qcow2", "fileName": "b.qcow2"},
                "bootDisk": {"mode": "copy"},
                "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
                "networks": [], "disks": desired.collect::<Vec<_>>(), "deletionPolicy": "Delete",
            },
        });
        Known {
            entity: vsi_entity(uid).unwrap(),
            state: Arc::new(EntityState::default()),
            record: Arc::new(serde_json::from_value(record).unwrap()),
            unreadable: None,
        }
    }

    #[test]
    fn the_users_of_all_disks_are_known_after_each_vsi_was_looked_at_once() {
        let (disk, shared) = (Uuid::from_u128, Uuid::from_u128(VSIS));
        let vsis: Vec<_> = (0..VSIS)
            .map(|number| vsi(number, &[disk(number), shared]))
            .collect();
        let looked_at = Cell::new(0);
        let count = |_: &&Known| looked_at.set(looked_at.get() + 1);
        let users = DiskUsers::of(vsis.iter().inspect(count));
        for number in 0..VSIS {
            let labels = users.of_disk(disk(number)).iter().map(|vsi| vsi.label());
            assert_eq!(labels.collect::<Vec<_>>(), [format!("v{number}")]);
        }
        assert_eq!(users.of_disk(shared).len(), vsis.len());
        assert!(users.of_disk(disk(VSIS + 1)).is_empty());
        assert_eq!(looked_at.get(), vsis.len());
    }

    #[test]
    fn a_vsi_that_has_a_disk_twice_is_one_user() {
        let disk = Uuid::from_u128(7);
        let vsis = [vsi(0, &[disk, disk])];
        assert_eq!(DiskUsers::of(&vsis).of_disk(disk).len(), 1);
    }
}
