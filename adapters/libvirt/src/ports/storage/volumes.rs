//! Finds and reads volumes.

use vsiflow_steps::ports::{PortError, PortErrorKind, PortResult, VolumeInfo, VolumeKey};

use super::{LibvirtHost, is_absent};
use crate::{
    connection::Calls,
    error::Absent,
    protocol::{StoragePool, StorageVol},
    xml::volume,
};

impl LibvirtHost {
    /// The volume; `None` only after a successful refresh.
    pub(super) async fn find(
        &self,
        calls: &Calls,
        key: &VolumeKey,
    ) -> PortResult<Option<StorageVol>> {
        let pool = self.active(calls, &key.pool).await?;
        if let Some(known) = self.lookup(calls, &pool, key).await? {
            // A volume that libvirt knows may have been deleted from the directory, or have grown.
            if calls.storage_vol_get_info(&known).await.is_ok() {
                return Ok(Some(known));
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
        let pool = calls.storage_pool_lookup_by_name(&key.pool).await;
        let pool = pool.map_err(|e| self.speaking(&object).of(&e))?;
        let found = calls.storage_vol_lookup_by_name(&pool, &key.name).await;
        found.map_err(|e| self.of_volume(key, &e))
    }

    pub(super) async fn volume_info(
        &self,
        calls: &Calls,
        found: &StorageVol,
    ) -> PortResult<Option<VolumeInfo>> {
        match calls.storage_vol_get_xml_desc(found).await {
            Ok(xml) => {
                let object = format!("volume {}/{}", found.pool, found.name);
                let info = volume::read(&found.pool, &xml);
                info.map(Some)
                    .map_err(|e| self.speaking(&object).unreadable(&e))
            }
            Err(error) if is_absent(&error, Absent::Volume) => Ok(None),
            Err(error) => {
                let key = VolumeKey {
                    pool: found.pool.clone(),
                    name: found.name.clone(),
                };
                Err(self.of_volume(&key, &error))
            }
        }
    }

    pub(super) async fn present(
        &self,
        calls: &Calls,
        volume: &StorageVol,
    ) -> PortResult<VolumeInfo> {
        let object = format!("volume {}/{}", volume.pool, volume.name);
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
