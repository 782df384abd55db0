//! The room that a disk needs in its pool when it replaces another one.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use vsiflow_engine::model::Objects;
use vsiflow_steps::{
    ports::{PortResult, VolumeKey},
    snapshot::restore_disks::DiskToRestore,
};

use crate::{
    ensure_base_image,
    fleet::{Fleet, FleetError, RestoreOptions, SnapshotHandle},
    plan::{How, Plan},
    record::VsiRecord,
    restoration,
    spec::BootDiskMode,
    vsi_graph,
};

/// A host that has not answered after this time counts as silent.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where disks are made that replace others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplacementPlace {
    /// Beside the present ones, which are deleted once the VSI has the new ones.
    #[default]
    Beside,
    /// In the place of the present ones, which are given up before.
    InPlace,
}

impl ReplacementPlace {
    /// The one that a caller's option names.
    pub fn of(is_in_place: bool) -> Self {
        if is_in_place {
            Self::InPlace
        } else {
            Self::Beside
        }
    }
}

/// The room that replacements of disks need in a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "NeededRoom")]
pub struct NeededRoom {
    /// The pool.
    pub pool: String,
    /// How much the new disks need, in bytes; absent if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How much is free for them, in bytes: in place, the room of the present disks too. Absent if the host does
    /// not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    /// Where they are made.
    pub place: ReplacementPlace,
}

impl NeededRoom {
    /// Of a boot disk, which is made in place only where the pool has no room for two.
    fn of_boot_disk(pool: &str, bytes: Option<u64>, free: Option<u64>) -> Self {
        let lacks_room = bytes.zip(free).is_some_and(|(bytes, free)| bytes > free);
        let place = if lacks_room {
            ReplacementPlace::InPlace
        } else {
            ReplacementPlace::Beside
        };
        Self {
            pool: pool.to_owned(),
            bytes,
            free,
            place,
        }
    }
}

impl Fleet {
    /// The room that the plan of a VSI needs. A layer needs none before its guest writes, and a disk for one start is
    /// always made in place.
    pub(in crate::fleet) async fn needed_room(
        &self,
        record: &VsiRecord,
        plan: &Plan,
    ) -> Vec<NeededRoom> {
        let copies = record.vsi.boot_disk.mode == BootDiskMode::Copy;
        if plan.how() != Some(How::Rebuild) || !copies {
            return Vec::new();
        }
        let pool = &record.vsi.pool;
        let free = self.free_in_pool(&record.vsi.host, pool).await;
        let bytes = match free {
            Some(_) => self.length_of_image(record).await,
            // It does not answer: it is not asked again.
            None => None,
        };
        vec![NeededRoom::of_boot_disk(pool, bytes, free)]
    }

    /// How much a copy of the VSI's image needs; `None` if the image is not whole in the pool yet, or its host does
    /// not answer.
    async fn length_of_image(&self, record: &VsiRecord) -> Option<u64> {
        let image = vsi_graph::image(record);
        let state = self.engine.entity(&image.entity().ok()?)?;
        if !state.is_settled() || state.reached == 0 {
            return None;
        }
        let key = VolumeKey {
            pool: image.pool,
            name: ensure_base_image::unpacked(&image.file_name).to_owned(),
        };
        self.allocations(&image.host, &[key])
            .await?
            .first()
            .copied()
    }

    /// How much volumes occupy; `None` if one of them is absent, or the host does not answer.
    async fn allocations(&self, host: &str, keys: &[VolumeKey]) -> Option<Vec<u64>> {
        let look = async {
            let (ports, mut found) = (self.hosts.host(host).await?, Vec::new());
            for key in keys {
                let volume = ports.storage.volume(key).await?;
                found.push(volume.filter(|volume| volume.unreadable.is_none()));
            }
            PortResult::Ok(found)
        };
        let volumes = timeout(TIMEOUT, look).await.ok()?.ok()?;
        let allocations = volumes.into_iter().map(|volume| Some(volume?.allocation));
        allocations.collect()
    }

    /// The room that a restoration needs.
    async fn room_to_restore(&self, record: &VsiRecord, objects: &Objects) -> Vec<NeededRoom> {
        let host = &record.vsi.host;
        let is_beside = !restoration::beside(record, objects).is_empty();
        let disks = restoration::pending(record, objects);
        let mut pools = BTreeMap::<&str, Vec<&DiskToRestore>>::new();
        for disk in disks {
            pools.entry(&disk.of.volume.pool).or_default().push(disk);
        }
        let mut needs = Vec::new();
        for (pool, replaced) in pools {
            needs.push(if is_beside {
                self.room_beside(host, pool, &replaced).await
            } else {
                self.room_in_place(host, pool, &replaced).await
            });
        }
        needs
    }

    /// The room that copies need in a pool beside the present disks.
    async fn room_beside(&self, host: &str, pool: &str, disks: &[&DiskToRestore]) -> NeededRoom {
        let copies: Vec<_> = disks.iter().map(|disk| disk.of.copy.clone()).collect();
        let free = self.free_in_pool(host, pool).await;
        let mut bytes = None;
        if free.is_some() {
            bytes = self.allocations(host, &copies).await.map(sum);
        }
        NeededRoom {
            pool: pool.to_owned(),
            bytes,
            free,
            place: ReplacementPlace::Beside,
        }
    }

    /// The room that copies need in a pool once the disks that they replace are given up.
    async fn room_in_place(&self, host: &str, pool: &str, disks: &[&DiskToRestore]) -> NeededRoom {
        let copies: Vec<_> = disks.iter().map(|disk| disk.of.copy.clone()).collect();
        let present: Vec<_> = disks.iter().map(|disk| disk.of.volume.clone()).collect();
        let (mut bytes, mut free) = (None, self.free_in_pool(host, pool).await);
        if let Some(available) = free {
            bytes = self.allocations(host, &copies).await.map(sum);
            let given_up = self.allocations(host, &present).await.map(sum);
            free = given_up.map(|given_up| available.saturating_add(given_up));
        }
        NeededRoom {
            pool: pool.to_owned(),
            bytes,
            free,
            place: ReplacementPlace::InPlace,
        }
    }
}

fn sum(bytes: Vec<u64>) -> u64 {
    bytes.into_iter().fold(0, u64::saturating_add)
}

impl SnapshotHandle<'_> {
    /// The room that a restoration of a snapshot needs, as its host says now. Nothing is changed.
    ///
    /// # Errors
    /// As for [`SnapshotHandle::plan_restore`].
    pub async fn room_to_restore(
        self,
        namespace: &str,
        name: &str,
        options: RestoreOptions,
    ) -> Result<Vec<NeededRoom>, FleetError> {
        let (known, record) = self.fleet.restored(namespace, name, options).await?;
        let ordered = options.ordered(&record, &known);
        let objects = &ordered.state.objects;
        Ok(self.fleet.room_to_restore(&record, objects).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_disk_is_made_in_place_only_where_the_host_says_that_there_is_no_room_for_two() {
        let place = |bytes, free| NeededRoom::of_boot_disk("images", bytes, free).place;
        assert_eq!(place(Some(10), Some(9)), ReplacementPlace::InPlace);
        assert_eq!(place(Some(10), Some(10)), ReplacementPlace::Beside);
        assert_eq!(place(None, Some(0)), ReplacementPlace::Beside);
        assert_eq!(place(Some(10), None), ReplacementPlace::Beside);
    }
}
