//! Implements the storage port with libvirt's calls on pools and volumes, and with commands on the host.

mod by_path;
mod digest;
mod files;
mod inactive;
mod pools;
mod python;
mod running_digest;
mod transfer;
mod unlisted;
mod volumes;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use vsiflow_engine::model::Hash;
use vsiflow_steps::{
    guards::Permit,
    ports::{
        Deletion, FileAt, FileHead, PoolFiles, PoolInfo, PortErrorKind, PortResult, Removed,
        StoragePort, Synced, Transfer, UploadSink, VolumeInfo, VolumeKey, VolumeSpec,
    },
};

use super::{COPY, LibvirtHost, host::quoted};
use crate::{error::Absent, xml::volume};
use by_path::PathWay;

#[async_trait]
impl StoragePort for LibvirtHost {
    async fn pools(&self) -> PortResult<Vec<PoolInfo>> {
        let calls = self.quick().await?;
        let context = self.speaking("");
        let (mut pools, mut vanished) = (Vec::new(), Vec::new());
        for pool in calls
            .connect_list_all_storage_pools(0)
            .await
            .map_err(|e| context.of(&e))?
        {
            match self.pool_info(&calls, &pool).await {
                Err(error) if error.kind == PortErrorKind::PoolMissing => vanished.push(pool),
                info => pools.push(info?),
            }
        }
        self.are_not_listed(&calls, &vanished).await?;
        Ok(pools)
    }

    async fn pool(&self, pool: &str) -> PortResult<Option<PoolInfo>> {
        let calls = self.quick().await?;
        match calls.storage_pool_lookup_by_name(pool).await {
            Ok(listed_pool) => self.pool_info(&calls, &listed_pool).await.map(Some),
            Err(error) if is_absent(&error, Absent::Pool) => Ok(None),
            Err(error) => Err(self.speaking(&format!("pool {pool}")).of(&error)),
        }
    }

    async fn volume(&self, key: &VolumeKey) -> PortResult<Option<VolumeInfo>> {
        let calls = self.quick().await?;
        match self.find(&calls, key).await? {
            Some(volume) => self.volume_info(&calls, &volume).await,
            None => Ok(None),
        }
    }

    async fn volumes(&self, pool: &str) -> PortResult<Vec<VolumeInfo>> {
        let calls = self.quick().await?;
        let active_pool = self.active(&calls, pool).await?;
        self.refresh(&calls, &active_pool).await?;
        let object = format!("pool {pool}");
        let listed = calls.storage_pool_list_all_volumes(&active_pool).await;
        let (mut volumes, mut vanished) = (Vec::new(), Vec::new());
        for volume in listed.map_err(|e| self.speaking(&object).of(&e))? {
            match self.listed_info(&calls, &volume).await? {
                Some(info) => volumes.push(info),
                None => vanished.push(volume),
            }
        }
        volumes.extend(self.still_listed(&calls, &active_pool, vanished).await?);
        volumes.extend(self.unlisted_layers(&calls, &active_pool).await?);
        Ok(volumes)
    }

    async fn create(&self, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        let calls = self.quick().await?;
        let pool = self.active(&calls, &spec.key.pool).await?;
        let reply = calls
            .storage_vol_create_xml(&pool, &volume::describe(spec), 0)
            .await;
        let volume = reply.map_err(|e| self.of_volume(&spec.key, &e))?;
        self.present(&calls, &volume).await
    }

    async fn clone_volume(&self, source: &VolumeKey, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        let calls = self.quick().await?;
        let pool = self.active(&calls, &spec.key.pool).await?;
        let listed = self.find(&calls, source).await?;
        let object = format!("volume {source}");
        let context = self.speaking(&object);
        let original = listed.ok_or_else(|| context.error(PortErrorKind::Missing, "it is gone"))?;
        let xml = volume::describe(spec);
        let long = self.long(COPY).await?;
        let reply = long
            .storage_vol_create_xml_from(&pool, &xml, &original, 0)
            .await;
        let copy = reply.map_err(|e| self.of_volume(&spec.key, &e))?;
        self.sync(&spec.key).await?;
        self.present(&self.quick().await?, &copy).await
    }

    async fn resize(&self, key: &VolumeKey, capacity: u64) -> PortResult<()> {
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        let resized = calls.storage_vol_resize(&volume, capacity, 0).await;
        resized.map_err(|e| self.of_volume(key, &e))
    }

    async fn delete(&self, permit: &Permit<Deletion>) -> PortResult<Removed> {
        let key = &permit.call().key;
        let calls = self.quick().await?;
        let Some(volume) = self.find(&calls, key).await? else {
            return Ok(Removed::Absent);
        };
        match calls.storage_vol_delete(&volume).await {
            Ok(()) => Ok(Removed::Removed),
            Err(error) if is_absent(&error, Absent::Volume) => Ok(Removed::Absent),
            Err(error) => Err(self.of_volume(key, &error)),
        }
    }

    async fn upload(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
    ) -> PortResult<Box<dyn UploadSink>> {
        let upload = self.begin_upload(key, offset, length).await?;
        Ok(Box::new(upload))
    }

    async fn fill(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
        transfer: Transfer,
    ) -> PortResult<Box<dyn UploadSink>> {
        let why = match transfer {
            Transfer::Libvirt => "the host's settings say so".to_owned(),
            Transfer::Auto | Transfer::Plain | Transfer::Packed => {
                match self.open_path(key, offset, transfer).await? {
                    PathWay::Taken(upload) => return Ok(Box::new(upload)),
                    PathWay::Closed(why) => why,
                }
            }
        };
        tracing::debug!(volume = %key, %why, "the image goes through libvirt");
        let upload = self.begin_upload(key, offset, length).await?;
        Ok(Box::new(upload.because(&why)))
    }

    async fn read(&self, key: &VolumeKey, offset: u64, max: u64) -> PortResult<Bytes> {
        self.piece(key, offset, max).await
    }

    async fn sync(&self, key: &VolumeKey) -> PortResult<()> {
        if !self.has_shell().await? {
            return Ok(());
        }
        let path = quoted(&self.path(key).await?);
        // An account that may only use libvirt cannot open the file, so it syncs all file systems.
        let command = format!("if [ -r {path} ]; then sync {path}; else sync; fi");
        self.command(&command, COPY).await.map(drop)
    }

    async fn drop_cached(&self, key: &VolumeKey) -> PortResult<()> {
        if !self.has_shell().await? {
            return Ok(());
        }
        let path = quoted(&self.path(key).await?);
        let command = format!("[ ! -r {path} ] || dd if={path} iflag=nocache count=0 status=none");
        self.command(&command, COPY).await.map(drop)
    }

    async fn files(&self, paths: &[String]) -> PortResult<Option<Vec<FileAt>>> {
        self.files_at(paths).await
    }

    async fn heads(&self, paths: &[String], max: u64) -> PortResult<Vec<FileHead>> {
        self.heads_of(paths, max).await
    }

    async fn files_of_inactive(&self, pool: &str) -> PortResult<PoolFiles> {
        self.layers_of_inactive(pool).await
    }

    async fn sha256(&self, key: &VolumeKey) -> PortResult<Hash> {
        self.digest(key).await
    }

    async fn sha256_along(
        &self,
        key: &VolumeKey,
        synced: watch::Receiver<Synced>,
    ) -> PortResult<Option<Hash>> {
        self.digest_along(key, synced).await
    }
}

fn is_absent(error: &crate::Error, what: Absent) -> bool {
    error.libvirt().and_then(|error| error.absent()) == Some(what)
}
