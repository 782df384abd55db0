//! Pools and volumes.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use vsiflow_engine::model::Hash;
use vsiflow_steps::ports::{
    PoolInfo, PortErrorKind, PortResult, Removed, StoragePort, UploadSink, VolumeInfo, VolumeKey,
    VolumeSpec,
};

use super::{COPY, LibvirtHost, QUICK, host::quoted, upload::Upload};
use crate::{
    connection::Calls,
    error::Absent,
    protocol::{StoragePool, StorageVol, storage_flags},
    xml::volume,
};

/// How long the host may take nothing, or give nothing, of a stream.
const STALL: Duration = Duration::from_secs(60);
/// How long a copy in the pool may keep a look at it waiting.
const COPYING: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// How long all places for streams may be taken.
const PLACE: Duration = Duration::from_secs(600);

#[async_trait]
impl StoragePort for LibvirtHost {
    async fn pools(&self) -> PortResult<Vec<PoolInfo>> {
        let calls = self.quick().await?;
        let at = self.speaking("");
        let mut pools = Vec::new();
        for pool in calls
            .connect_list_all_storage_pools(0)
            .await
            .map_err(|e| at.of(&e))?
        {
            match self.pool_info(&calls, &pool).await {
                // One that went away since it was listed is no error.
                Err(error) if error.kind == PortErrorKind::PoolMissing => {}
                info => pools.push(info?),
            }
        }
        Ok(pools)
    }

    async fn pool(&self, pool: &str) -> PortResult<Option<PoolInfo>> {
        let calls = self.quick().await?;
        match calls.storage_pool_lookup_by_name(pool).await {
            Ok(found) => self.pool_info(&calls, &found).await.map(Some),
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
        let found = self.active(&calls, pool).await?;
        self.refresh(&calls, &found).await?;
        let object = format!("pool {pool}");
        let listed = calls.storage_pool_list_all_volumes(&found).await;
        let mut volumes = Vec::new();
        for volume in listed.map_err(|e| self.speaking(&object).of(&e))? {
            // One that went away since it was listed is no error.
            volumes.extend(self.volume_info(&calls, &volume).await?);
        }
        Ok(volumes)
    }

    async fn create(&self, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        let calls = self.quick().await?;
        let pool = self.active(&calls, &spec.key.pool).await?;
        let made = calls
            .storage_vol_create_xml(&pool, &volume::describe(spec), 0)
            .await;
        let made = made.map_err(|e| self.of_volume(&spec.key, &e))?;
        self.present(&calls, &made).await
    }

    async fn clone_volume(&self, source: &VolumeKey, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        let calls = self.quick().await?;
        let pool = self.active(&calls, &spec.key.pool).await?;
        let found = self.find(&calls, source).await?;
        let object = format!("volume {source}");
        let at = self.speaking(&object);
        let found = found.ok_or_else(|| at.error(PortErrorKind::Missing, "it is gone"))?;
        let xml = volume::describe(spec);
        let long = self.long(COPY).await?;
        let made = long
            .storage_vol_create_xml_from(&pool, &xml, &found, 0)
            .await;
        let made = made.map_err(|e| self.of_volume(&spec.key, &e))?;
        self.sync(&spec.key).await?;
        self.present(&self.quick().await?, &made).await
    }

    async fn resize(&self, key: &VolumeKey, capacity: u64) -> PortResult<()> {
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        let resized = calls.storage_vol_resize(&volume, capacity, 0).await;
        resized.map_err(|e| self.of_volume(key, &e))
    }

    async fn delete(&self, key: &VolumeKey) -> PortResult<Removed> {
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
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        let bulk = self
            .session
            .bulk(PLACE)
            .await
            .map_err(|e| self.unconnected(&e))?;
        // Zero means no limit to libvirt; an upload of nothing is not sent anything.
        let length = length.unwrap_or(0);
        let calls = bulk.within(QUICK);
        let open = |flags| calls.storage_vol_upload(&volume, offset, length, flags, STALL);
        let (opened, sparse) = match open(storage_flags::UPLOAD_SPARSE).await {
            Err(error) if is_unsupported(&error) => (open(0).await, false),
            opened => (opened, true),
        };
        let stream = opened.map_err(|e| self.of_volume(key, &e))?;
        Ok(Box::new(Upload::new(&self.name, key, stream, sparse, bulk)))
    }

    async fn read(&self, key: &VolumeKey, offset: u64, max: u64) -> PortResult<Bytes> {
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        let info = self.present(&calls, &volume).await?;
        let length = info.physical.saturating_sub(offset).min(max);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut bytes = Vec::new();
        let keep = |piece: &[u8]| bytes.extend_from_slice(piece);
        self.stream(key, &volume, offset, length, keep).await?;
        Ok(bytes.into())
    }

    async fn sync(&self, key: &VolumeKey) -> PortResult<()> {
        if !self.has_shell().await? {
            return Ok(());
        }
        let path = self.path(key).await?;
        self.command(&format!("sync {}", quoted(&path)), COPY)
            .await
            .map(drop)
    }

    async fn drop_cached(&self, key: &VolumeKey) -> PortResult<()> {
        if !self.has_shell().await? {
            return Ok(());
        }
        let path = quoted(&self.path(key).await?);
        let command = format!("dd if={path} iflag=nocache count=0 status=none");
        self.command(&command, COPY).await.map(drop)
    }

    async fn sha256(&self, key: &VolumeKey) -> PortResult<Hash> {
        if self.has_shell().await? {
            return self.sha256_there(key).await;
        }
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        let length = self.present(&calls, &volume).await?.physical;
        let mut hash = Sha256::new();
        if length > 0 {
            self.stream(key, &volume, 0, length, |piece| hash.update(piece))
                .await?;
        }
        Ok(Hash(hash.finalize().into()))
    }
}

impl LibvirtHost {
    async fn pool_info(&self, calls: &Calls, pool: &StoragePool) -> PortResult<PoolInfo> {
        let object = format!("pool {}", pool.name);
        let at = self.speaking(&object);
        let active = calls
            .storage_pool_is_active(pool)
            .await
            .map_err(|e| at.of(&e))?;
        let info = calls
            .storage_pool_get_info(pool)
            .await
            .map_err(|e| at.of(&e))?;
        let (capacity, available) = (info.capacity, info.available);
        Ok(PoolInfo {
            name: pool.name.clone(),
            active,
            capacity,
            available,
        })
    }

    /// The pool, which must be active.
    async fn active(&self, calls: &Calls, pool: &str) -> PortResult<StoragePool> {
        let object = format!("pool {pool}");
        let at = self.speaking(&object);
        let found = calls
            .storage_pool_lookup_by_name(pool)
            .await
            .map_err(|e| at.of(&e))?;
        if !calls
            .storage_pool_is_active(&found)
            .await
            .map_err(|e| at.of(&e))?
        {
            return Err(at.error(
                PortErrorKind::PoolInactive,
                format!("pool {pool} is inactive"),
            ));
        }
        Ok(found)
    }

    /// Makes libvirt look at the pool's folder again. While it copies in there it will not look:
    /// then this waits.
    async fn refresh(&self, calls: &Calls, pool: &StoragePool) -> PortResult<()> {
        let until = Instant::now() + COPYING;
        loop {
            let object = format!("pool {}", pool.name);
            let refreshed = calls.storage_pool_refresh(pool).await;
            match refreshed.map_err(|e| self.speaking(&object).of(&e)) {
                Err(error) if error.kind == PortErrorKind::Busy && Instant::now() < until => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                refreshed => return refreshed,
            }
        }
    }

    /// The volume; `None` only after a refresh that succeeded.
    async fn find(&self, calls: &Calls, key: &VolumeKey) -> PortResult<Option<StorageVol>> {
        let pool = self.active(calls, &key.pool).await?;
        if let Some(known) = self.lookup(calls, &pool, key).await? {
            // What is known to libvirt may be gone from the folder, or have grown there.
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

    async fn existing(&self, calls: &Calls, key: &VolumeKey) -> PortResult<StorageVol> {
        let object = format!("pool {}", key.pool);
        let pool = calls.storage_pool_lookup_by_name(&key.pool).await;
        let pool = pool.map_err(|e| self.speaking(&object).of(&e))?;
        let found = calls.storage_vol_lookup_by_name(&pool, &key.name).await;
        found.map_err(|e| self.of_volume(key, &e))
    }

    async fn volume_info(
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

    async fn present(&self, calls: &Calls, volume: &StorageVol) -> PortResult<VolumeInfo> {
        let object = format!("volume {}/{}", volume.pool, volume.name);
        let gone = || {
            self.speaking(&object)
                .error(PortErrorKind::Missing, "it is gone")
        };
        self.volume_info(calls, volume).await?.ok_or_else(gone)
    }

    async fn path(&self, key: &VolumeKey) -> PortResult<String> {
        let calls = self.quick().await?;
        let volume = self.existing(&calls, key).await?;
        calls
            .storage_vol_get_path(&volume)
            .await
            .map_err(|e| self.of_volume(key, &e))
    }

    async fn sha256_there(&self, key: &VolumeKey) -> PortResult<Hash> {
        let path = self.path(key).await?;
        let said = self.command(&hashing(&path), COPY).await?;
        let digits = said.get(..64).and_then(hash);
        let object = format!("volume {key}");
        digits.ok_or_else(|| {
            self.speaking(&object).error(
                PortErrorKind::Other,
                format!("its SHA-256 is told as {said:?}"),
            )
        })
    }

    async fn stream(
        &self,
        key: &VolumeKey,
        volume: &StorageVol,
        offset: u64,
        length: u64,
        mut take: impl FnMut(&[u8]) + Send,
    ) -> PortResult<()> {
        let bulk = self
            .session
            .bulk(PLACE)
            .await
            .map_err(|e| self.unconnected(&e))?;
        let opened = bulk
            .within(QUICK)
            .storage_vol_download(volume, offset, length, STALL)
            .await;
        let mut stream = opened.map_err(|e| self.of_volume(key, &e))?;
        while let Some(piece) = stream.next().await.map_err(|e| self.of_volume(key, &e))? {
            take(&piece);
        }
        Ok(())
    }

    fn of_volume(&self, key: &VolumeKey, error: &crate::Error) -> vsiflow_steps::ports::PortError {
        self.speaking(&format!("volume {key}")).of(error)
    }
}

fn is_absent(error: &crate::Error, what: Absent) -> bool {
    error.libvirt().and_then(|error| error.absent()) == Some(what)
}

/// Whether libvirt does not know a flag or a call: `VIR_ERR_NO_SUPPORT`, `VIR_ERR_INVALID_ARG`.
fn is_unsupported(error: &crate::Error) -> bool {
    error
        .libvirt()
        .is_some_and(|error| matches!(error.code, 3 | 8))
}

/// The command that tells a file's SHA-256.
///
/// OpenSSL uses what the processor has for it, which coreutils mostly does not: it takes a quarter
/// of the time. Where it is missing, or knows less than it should, coreutils does. Both read
/// standard input, so that neither has to escape the file's name in what it says.
fn hashing(path: &str) -> String {
    let path = quoted(path);
    format!("openssl dgst -sha256 -r <{path} || sha256sum <{path}")
}

fn hash(digits: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let from = at.checked_mul(2)?;
        *byte = u8::from_str_radix(digits.get(from..from.checked_add(2)?)?, 16).ok()?;
    }
    Some(Hash(bytes))
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, path::Path, process::Command};

    use super::*;

    fn said(path: &Path, tools: &Path) -> String {
        let mut shell = Command::new("/bin/sh");
        let shell = shell.env("PATH", tools).arg("-c");
        let output = shell.arg(hashing(path.to_str().unwrap())).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn a_file_is_hashed_with_whatever_the_host_has() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("it's a\\ name\n");
        std::fs::write(&file, b"abc").unwrap();
        let coreutils = dir.path().join("coreutils");
        std::fs::create_dir(&coreutils).unwrap();
        symlink("/usr/bin/sha256sum", coreutils.join("sha256sum")).unwrap();
        for tools in [Path::new("/usr/bin"), &coreutils] {
            let said = said(&file, tools);
            let found = said.get(..64).and_then(hash);
            assert_eq!(found, Some(Hash::of(b"abc")), "{said:?}");
        }
        assert_eq!(said(&dir.path().join("gone"), Path::new("/usr/bin")), "");
    }
}
