//! Finds and reads volumes.

use vsiflow_steps::ports::{PortError, PortErrorKind, PortResult, VolumeInfo, VolumeKey};

use super::{LibvirtHost, is_absent, pools::RETRY_DELAY};
use crate::{
    connection::Calls,
    error::Absent,
    protocol::{StoragePool, StorageVol},
    xml::volume,
};

/// Why a volume is unreadable whose name libvirt changes when it describes the volume.
const OTHER_NAME: &str = "libvirt describes it under another name, because its name has characters that a \
                          description cannot have";
/// Why a volume is unreadable that libvirt lists.
const NOT_FOUND: &str = "libvirt lists it, and does not find it by its name";
/// How many times a volume is looked for that libvirt lists and does not find.
const LOOKS: u32 = 3;

fn key_of(volume: &StorageVol) -> VolumeKey {
    VolumeKey {
        pool: volume.pool.clone(),
        name: volume.name.clone(),
    }
}

impl LibvirtHost {
    /// The volume; `None` only after a successful refresh.
    pub(super) async fn find(
        &self,
        calls: &Calls,
        key: &VolumeKey,
    ) -> PortResult<Option<StorageVol>> {
        let pool = self.active(calls, &key.pool).await?;
        if let Some(volume) = self.lookup(calls, &pool, key).await? {
            // A volume that libvirt knows may have been deleted from the directory, or have grown.
            if calls.storage_vol_get_info(&volume).await.is_ok() {
                return Ok(Some(volume));
            }
        }
        self.refresh(calls, &pool).await?;
        self.lookup(calls, &pool, key).await
    }

    async fn lookup(
        &self,
        calls: &Calls,
        pool: &StoragePool,
        key: &VolumeKey,
    ) -> PortResult<Option<StorageVol>> {
        match calls.storage_vol_lookup_by_name(pool, &key.name).await {
            Ok(volume) => Ok(Some(volume)),
            Err(error) if is_absent(&error, Absent::Volume) => Ok(None),
            Err(error) => Err(self.of_volume(key, &error)),
        }
    }

    pub(super) async fn existing(&self, calls: &Calls, key: &VolumeKey) -> PortResult<StorageVol> {
        let object = format!("pool {}", key.pool);
        let pool_reply = calls.storage_pool_lookup_by_name(&key.pool).await;
        let pool = pool_reply.map_err(|e| self.speaking(&object).of(&e))?;
        let volume = calls.storage_vol_lookup_by_name(&pool, &key.name).await;
        volume.map_err(|e| self.of_volume(key, &e))
    }

    /// The volume; `None` if libvirt does not find it. An error if it cannot be read.
    pub(super) async fn volume_info(
        &self,
        calls: &Calls,
        found: &StorageVol,
    ) -> PortResult<Option<VolumeInfo>> {
        let info = self.listed_info(calls, found).await?;
        match info.as_ref().and_then(|info| info.unreadable.as_ref()) {
            None => Ok(info),
            Some(why) => {
                let object = format!("volume {}", key_of(found));
                Err(self.speaking(&object).error(PortErrorKind::Other, why))
            }
        }
    }

    /// Like [`volume_info`](Self::volume_info), with volumes that cannot be read.
    pub(super) async fn listed_info(
        &self,
        calls: &Calls,
        found: &StorageVol,
    ) -> PortResult<Option<VolumeInfo>> {
        match calls.storage_vol_get_xml_desc(found).await {
            Ok(xml) => {
                let key = key_of(found);
                let object = format!("volume {key}");
                let pool = found.pool.clone();
                let parsed = self.parsed(xml, move |xml| volume::read(&pool, xml)).await;
                let info = parsed.map_err(|e| self.speaking(&object).unreadable(&e))?;
                // Its path and its backing file are changed like its name.
                if info.key != key {
                    return Ok(Some(VolumeInfo::unreadable(key, OTHER_NAME)));
                }
                Ok(Some(info))
            }
            Err(error) if is_absent(&error, Absent::Volume) => Ok(None),
            Err(error) => Err(self.of_volume(&key_of(found), &error)),
        }
    }

    /// The volumes among these that libvirt still lists: it listed each, and then did not find it. The others
    /// were deleted in between.
    pub(super) async fn still_listed(
        &self,
        calls: &Calls,
        pool: &StoragePool,
        vanished: Vec<StorageVol>,
    ) -> PortResult<Vec<VolumeInfo>> {
        if vanished.is_empty() {
            return Ok(Vec::new());
        }
        let object = format!("pool {}", pool.name);
        let mut volumes = Vec::new();
        let mut missing = vanished;
        for attempt in 1..=LOOKS {
            // libvirt lists a file that was deleted without it until it has read the folder again.
            self.refresh(calls, pool).await?;
            let list_reply = calls.storage_pool_list_all_volumes(pool).await;
            let listed = list_reply.map_err(|e| self.speaking(&object).of(&e))?;
            let mut still_missing = Vec::new();
            for volume in missing.into_iter().filter(|volume| listed.contains(volume)) {
                match self.listed_info(calls, &volume).await? {
                    Some(info) => volumes.push(info),
                    None => still_missing.push(volume),
                }
            }
            missing = still_missing;
            if missing.is_empty() {
                break;
            }
            if attempt < LOOKS {
                // It may be in the middle of its deletion by somebody else.
                tokio::time::sleep(RETRY_DELAY).await;
            }
        }
        let unreadable = missing.iter();
        volumes.extend(unreadable.map(|volume| VolumeInfo::unreadable(key_of(volume), NOT_FOUND)));
        Ok(volumes)
    }

    pub(super) async fn present(
        &self,
        calls: &Calls,
        volume: &StorageVol,
    ) -> PortResult<VolumeInfo> {
        let object = format!("volume {}", key_of(volume));
        let gone = || {
            self.speaking(&object)
                .error(PortErrorKind::Missing, "it is gone")
        };
        self.volume_info(calls, volume).await?.ok_or_else(gone)
    }

    pub(super) async fn path(&self, key: &VolumeKey) -> PortResult<String> {
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        calls
            .storage_vol_get_path(&volume)
            .await
            .map_err(|e| self.of_volume(key, &e))
    }

    pub(super) fn of_volume(&self, key: &VolumeKey, error: &crate::Error) -> PortError {
        self.speaking(&format!("volume {key}")).of(error)
    }
}
