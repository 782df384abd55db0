//! Calls on storage pools and volumes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Procedure, Uuid};
use crate::connection::Calls;
use crate::error::Result;
use crate::stream::{DownloadStream, UploadStream};

/// A pool (`remote_nonnull_storage_pool`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoragePool {
    /// Its name, unique on the host.
    pub name: String,
    /// Its UUID.
    pub uuid: Uuid,
}

/// A volume (`remote_nonnull_storage_vol`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StorageVol {
    /// The pool's name.
    pub pool: String,
    /// Its name, unique in the pool.
    pub name: String,
    /// Its key; for a file this is its path.
    pub key: String,
}

/// A pool's state and space (`virStoragePoolInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StoragePoolInfo {
    /// 0 inactive, 1 building, 2 running, 3 degraded, 4 inaccessible (`virStoragePoolState`).
    pub state: u8,
    /// The size in bytes.
    pub capacity: u64,
    /// The used space in bytes.
    pub allocation: u64,
    /// The free space in bytes.
    pub available: u64,
}

/// A volume's type and size (`virStorageVolInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct StorageVolInfo {
    /// 0 file, 1 block device, 2 directory, 3 network (`virStorageVolType`).
    pub kind: i8,
    /// The size that a guest sees, in bytes; for qcow2 the virtual size.
    pub capacity: u64,
    /// The used space of the pool in bytes, rounded to blocks; with
    /// [`GET_PHYSICAL`](storage_flags::GET_PHYSICAL) the size of the file.
    pub allocation: u64,
}

/// Flags of storage calls; combine with `|`.
pub mod storage_flags {
    /// `VIR_STORAGE_VOL_GET_PHYSICAL`: return the size of the file in place of the allocation.
    pub const GET_PHYSICAL: u32 = 1;
    /// `VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM`: the stream may contain holes (libvirt 3.4).
    pub const UPLOAD_SPARSE: u32 = 1;
    /// `VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA`: allocate the metadata of a qcow2.
    pub const CREATE_PREALLOC_METADATA: u32 = 1;
    /// `VIR_STORAGE_VOL_CREATE_REFLINK`: share blocks if the file system supports it.
    pub const CREATE_REFLINK: u32 = 2;
    /// `VIR_STORAGE_VOL_RESIZE_ALLOCATE`: allocate the new space.
    pub const RESIZE_ALLOCATE: u32 = 1;
    /// `VIR_STORAGE_VOL_RESIZE_DELTA`: the size is the difference.
    pub const RESIZE_DELTA: u32 = 2;
    /// `VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE`.
    pub const LIST_INACTIVE: u32 = 1;
    /// `VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE`.
    pub const LIST_ACTIVE: u32 = 2;
}

/// Requests the list itself, not only its length.
const NEED_RESULTS: i32 = 1;

impl Calls {
    /// Lists pools; `flags` of 0 means all of them.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_list_all_storage_pools(&self, flags: u32) -> Result<Vec<StoragePool>> {
        let (pools, _count): (Vec<StoragePool>, u32) = self
            .call(
                Procedure::ConnectListAllStoragePools,
                &(NEED_RESULTS, flags),
            )
            .await?;
        Ok(pools)
    }

    /// Finds a pool by name.
    ///
    /// # Errors
    /// [`NO_STORAGE_POOL`](crate::code::NO_STORAGE_POOL) if it does not exist.
    pub async fn storage_pool_lookup_by_name(&self, name: &str) -> Result<StoragePool> {
        self.call(Procedure::StoragePoolLookupByName, name).await
    }

    /// Finds the pool of a volume.
    ///
    /// # Errors
    /// [`NO_STORAGE_POOL`](crate::code::NO_STORAGE_POOL) if it does not exist.
    pub async fn storage_pool_lookup_by_volume(&self, volume: &StorageVol) -> Result<StoragePool> {
        self.call(Procedure::StoragePoolLookupByVolume, volume)
            .await
    }

    /// A pool's state and space.
    ///
    /// # Errors
    /// [`NO_STORAGE_POOL`](crate::code::NO_STORAGE_POOL) if it does not exist.
    pub async fn storage_pool_get_info(&self, pool: &StoragePool) -> Result<StoragePoolInfo> {
        self.call(Procedure::StoragePoolGetInfo, pool).await
    }

    /// A pool's XML.
    ///
    /// # Errors
    /// [`NO_STORAGE_POOL`](crate::code::NO_STORAGE_POOL) if it does not exist.
    pub async fn storage_pool_get_xml_desc(&self, pool: &StoragePool) -> Result<String> {
        self.call(Procedure::StoragePoolGetXmlDesc, &(pool, 0_u32))
            .await
    }

    /// Whether a pool is active. Only in an active pool does a missing volume really not exist.
    ///
    /// # Errors
    /// [`NO_STORAGE_POOL`](crate::code::NO_STORAGE_POOL) if it does not exist.
    pub async fn storage_pool_is_active(&self, pool: &StoragePool) -> Result<bool> {
        self.call::<_, i32>(Procedure::StoragePoolIsActive, pool)
            .await
            .map(|active| active == 1)
    }

    /// Reads a pool again, so that libvirt sees files that others created or deleted.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it is not active; `VIR_ERR_INTERNAL_ERROR` (1, "has asynchronous
    /// jobs running") during a clone in it, which is temporary.
    pub async fn storage_pool_refresh(&self, pool: &StoragePool) -> Result<()> {
        self.call(Procedure::StoragePoolRefresh, &(pool, 0_u32))
            .await
    }

    /// Lists a pool's volumes.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if it is not active.
    pub async fn storage_pool_list_all_volumes(
        &self,
        pool: &StoragePool,
    ) -> Result<Vec<StorageVol>> {
        let args = (pool, NEED_RESULTS, 0_u32);
        let (volumes, _count): (Vec<StorageVol>, u32) = self
            .call(Procedure::StoragePoolListAllVolumes, &args)
            .await?;
        Ok(volumes)
    }

    /// Finds a volume by name in a pool.
    ///
    /// # Errors
    /// [`NO_STORAGE_VOL`](crate::code::NO_STORAGE_VOL) if it does not exist, which is reliable only in an
    /// active pool after a refresh. `VIR_ERR_OPERATION_INVALID` (55) if the pool is not active.
    pub async fn storage_vol_lookup_by_name(
        &self,
        pool: &StoragePool,
        name: &str,
    ) -> Result<StorageVol> {
        self.call(Procedure::StorageVolLookupByName, &(pool, name))
            .await
    }

    /// Finds a volume by its path on the host, in any active pool.
    ///
    /// # Errors
    /// [`NO_STORAGE_VOL`](crate::code::NO_STORAGE_VOL) if it does not exist.
    pub async fn storage_vol_lookup_by_path(&self, path: &str) -> Result<StorageVol> {
        self.call(Procedure::StorageVolLookupByPath, path).await
    }

    /// A volume's capacity and allocation.
    ///
    /// # Errors
    /// [`NO_STORAGE_VOL`](crate::code::NO_STORAGE_VOL) if its file was deleted.
    pub async fn storage_vol_get_info(&self, volume: &StorageVol) -> Result<StorageVolInfo> {
        self.call(Procedure::StorageVolGetInfo, volume).await
    }

    /// Like `storage_vol_get_info`; with [`GET_PHYSICAL`](storage_flags::GET_PHYSICAL) it returns the exact
    /// size of the file.
    ///
    /// # Errors
    /// [`NO_STORAGE_VOL`](crate::code::NO_STORAGE_VOL) if its file was deleted.
    pub async fn storage_vol_get_info_flags(
        &self,
        volume: &StorageVol,
        flags: u32,
    ) -> Result<StorageVolInfo> {
        self.call(Procedure::StorageVolGetInfoFlags, &(volume, flags))
            .await
    }

    /// A volume's XML: format, backing chain, `<physical>` size.
    ///
    /// # Errors
    /// [`NO_STORAGE_VOL`](crate::code::NO_STORAGE_VOL) if it does not exist.
    pub async fn storage_vol_get_xml_desc(&self, volume: &StorageVol) -> Result<String> {
        self.call(Procedure::StorageVolGetXmlDesc, &(volume, 0_u32))
            .await
    }

    /// A volume's path on the host.
    ///
    /// # Errors
    /// [`NO_STORAGE_VOL`](crate::code::NO_STORAGE_VOL) if it does not exist.
    pub async fn storage_vol_get_path(&self, volume: &StorageVol) -> Result<String> {
        self.call(Procedure::StorageVolGetPath, volume).await
    }

    /// Creates a volume.
    ///
    /// # Errors
    /// [`STORAGE_VOL_EXIST`](crate::code::STORAGE_VOL_EXIST) if a volume has the name,
    /// `VIR_ERR_OPERATION_INVALID` (55) if an unknown file has it, `VIR_ERR_SYSTEM_ERROR` (38) if there is no
    /// space.
    pub async fn storage_vol_create_xml(
        &self,
        pool: &StoragePool,
        xml: &str,
        flags: u32,
    ) -> Result<StorageVol> {
        self.call(Procedure::StorageVolCreateXml, &(pool, xml, flags))
            .await
    }

    /// Creates a volume as a copy of another one. Takes as long as the copy, and continues if the caller is
    /// dropped. Its unfinished file looks like any other volume.
    ///
    /// # Errors
    /// `VIR_ERR_INTERNAL_ERROR` (1) if the name is in use or there is no space (the file is then deleted
    /// again); `VIR_ERR_OPERATION_INVALID` (55) while the source is being written.
    pub async fn storage_vol_create_xml_from(
        &self,
        pool: &StoragePool,
        xml: &str,
        source: &StorageVol,
        flags: u32,
    ) -> Result<StorageVol> {
        self.call(
            Procedure::StorageVolCreateXmlFrom,
            &(pool, xml, source, flags),
        )
        .await
    }

    /// Deletes a volume, even while a running domain uses it.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) while it is being cloned;
    /// [`NO_STORAGE_VOL`](crate::code::NO_STORAGE_VOL) if it does not exist.
    pub async fn storage_vol_delete(&self, volume: &StorageVol) -> Result<()> {
        self.call(Procedure::StorageVolDelete, &(volume, 0_u32))
            .await
    }

    /// Overwrites a volume with zeros.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) while it is being cloned.
    pub async fn storage_vol_wipe(&self, volume: &StorageVol) -> Result<()> {
        self.call(Procedure::StorageVolWipe, &(volume, 0_u32)).await
    }

    /// Sets a volume's capacity in bytes.
    ///
    /// # Errors
    /// `VIR_ERR_INVALID_ARG` (8) if it is smaller than the current capacity.
    pub async fn storage_vol_resize(
        &self,
        volume: &StorageVol,
        capacity: u64,
        flags: u32,
    ) -> Result<()> {
        self.call(Procedure::StorageVolResize, &(volume, capacity, flags))
            .await
    }

    /// Opens a stream that writes into a volume from an offset on. More data than `length` is an error, less
    /// is not; a length of 0 means no limit. Nothing is truncated and nothing is synced.
    ///
    /// `stall` is how long a single packet may wait for the host.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) while the volume is being cloned; `VIR_ERR_INVALID_ARG` (8) for flags
    /// that this libvirt does not support.
    pub async fn storage_vol_upload(
        &self,
        volume: &StorageVol,
        offset: u64,
        length: u64,
        flags: u32,
        stall: Duration,
    ) -> Result<UploadStream> {
        let args = (volume, offset, length, flags);
        self.open_upload(Procedure::StorageVolUpload, &args, stall)
            .await
    }

    /// Opens a stream that reads a volume from an offset on; a length of 0 means to its end.
    ///
    /// `stall` is how long to wait for a single packet.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) while the volume is being cloned; `VIR_ERR_SYSTEM_ERROR` (38) if its
    /// file was deleted.
    pub async fn storage_vol_download(
        &self,
        volume: &StorageVol,
        offset: u64,
        length: u64,
        stall: Duration,
    ) -> Result<DownloadStream> {
        let args = (volume, offset, length, 0_u32);
        self.open_download(Procedure::StorageVolDownload, &args, stall)
            .await
    }
}
