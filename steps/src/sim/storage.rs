//! The pools and volumes of a simulated host.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use vsiflow_engine::model::Hash;

use super::{
    Content, Pool, SimHost, SimHostState, Volume,
    host::{Call, object},
    source::qcow2_header,
    upload::{SimPathSink, SimSink},
};
use crate::files::is_device;
use crate::guards::Permit;
use crate::host_text;
use crate::ports::{
    Deletion, FileAt, FileHead, PoolFiles, PoolInfo, PortError, PortErrorKind, PortResult, Removed,
    StoragePort, Synced, Transfer, UploadSink, VolumeFormat, VolumeInfo, VolumeKey, VolumeSpec,
};

/// Number of bytes in one read.
const PIECE: u64 = 1 << 20;

/// The duration of a copy on the host, in milliseconds.
const CLONE_MS: u64 = 300;

/// Whether a copy that ends at this time goes on. None lasts longer than [`CLONE_MS`]: where the clock was set back
/// since a copy began, that copy is over.
fn is_copying(until: u64, now: u64) -> bool {
    until > now && until <= now.saturating_add(CLONE_MS)
}

impl SimHost {
    pub(super) fn pool_of<'a>(
        &self,
        state: &'a mut SimHostState,
        pool: &str,
    ) -> PortResult<&'a mut Pool> {
        let object = format!("pool {pool}");
        match state.pools.get_mut(pool) {
            Some(pool) if pool.active => Ok(pool),
            Some(_) => Err(self.error(PortErrorKind::PoolInactive, &object, "pool is not active")),
            None => Err(self.error(PortErrorKind::PoolMissing, &object, "no such pool")),
        }
    }

    pub(super) fn volume_of<'a>(
        &self,
        state: &'a mut SimHostState,
        key: &VolumeKey,
    ) -> PortResult<&'a mut Volume> {
        let missing = || self.error(PortErrorKind::Missing, &object(key), "no such volume");
        if state.unlisted.contains(&key.to_string()) {
            return Err(missing());
        }
        self.pool_of(state, &key.pool)?
            .volumes
            .get_mut(&key.name)
            .ok_or_else(missing)
    }

    /// A volume that is not being copied from or to.
    fn idle<'a>(
        &self,
        state: &'a mut SimHostState,
        key: &VolumeKey,
        now: u64,
    ) -> PortResult<&'a mut Volume> {
        let volume = self.volume_of(state, key)?;
        if is_copying(volume.busy_until, now) {
            let words = "volume is still in use by another operation";
            return Err(self.error(PortErrorKind::Busy, &object(key), words));
        }
        Ok(volume)
    }

    fn insert(
        &self,
        state: &mut SimHostState,
        key: &VolumeKey,
        volume: Volume,
    ) -> PortResult<VolumeInfo> {
        let pool = self.pool_of(state, &key.pool)?;
        if key.name.is_empty() || key.name.contains('/') {
            let words = "a volume's name has no slash";
            return Err(self.error(PortErrorKind::Rejected, &object(key), words));
        }
        if pool.volumes.contains_key(&key.name) {
            return Err(self.error(PortErrorKind::Exists, &object(key), "volume exists already"));
        }
        if pool.available() < volume.content.len() {
            return Err(self.no_space(key));
        }
        let volume_info = info(pool, key, &volume);
        pool.volumes.insert(key.name.clone(), volume);
        Ok(volume_info)
    }

    fn readable(&self, volume: VolumeInfo) -> PortResult<VolumeInfo> {
        match &volume.unreadable {
            None => Ok(volume),
            Some(why) => Err(self.error(PortErrorKind::Other, &object(&volume.key), why)),
        }
    }

    pub(super) fn no_space(&self, key: &VolumeKey) -> PortError {
        self.error(
            PortErrorKind::NoSpace,
            &object(key),
            "No space left on device",
        )
    }

    /// Waits while the pool copies: it cannot be refreshed during a copy.
    async fn settled(&self, pool: &str) {
        loop {
            let time = self.now();
            let until = {
                let world = self.world.lock().await;
                let pool = world.state.pools.get(pool);
                let volumes = pool.into_iter().flat_map(|pool| pool.volumes.values());
                let ends = volumes.map(|volume| volume.busy_until);
                ends.filter(|until| is_copying(*until, time))
                    .max()
                    .unwrap_or(0)
            };
            if until <= time {
                return;
            }
            tokio::time::sleep(Duration::from_millis(until.saturating_sub(time))).await;
        }
    }

    /// Whether the host can hash a volume while that is being filled.
    async fn reads_along(&self) -> bool {
        let world = self.world.lock().await;
        world.state.shell && world.state.reads_along
    }

    /// Whether images are written into files by commands on the host.
    async fn has_paths(&self) -> bool {
        let world = self.world.lock().await;
        world.state.shell && world.state.by_path
    }

    async fn open(&self, key: &VolumeKey, offset: u64, length: Option<u64>) -> PortResult<SimSink> {
        let id = self
            .call(Call::act("upload", object(key)), |state, now| {
                let id = state.change();
                let volume = self.idle(state, key, now)?;
                let (old, len) = match &volume.content {
                    Content::Stored {
                        id: source_id, len, ..
                    } => (Some(*source_id), *len),
                    Content::Inline(bytes) => (None, bytes.len() as u64),
                };
                let id = old.unwrap_or(id);
                volume.content = Content::Stored {
                    id,
                    len,
                    zero_from: None,
                };
                volume.synced = false;
                Ok(id)
            })
            .await?;
        Ok(SimSink {
            host: self.clone(),
            key: key.clone(),
            id,
            at: offset,
            left: length,
            by_path: false,
        })
    }

    /// Writes what guests wrote into a copy that is complete, unless the host has restarted since it was begun.
    async fn complete_copy(
        &self,
        key: &VolumeKey,
        tokens: BTreeSet<u64>,
        until: u64,
    ) -> PortResult<()> {
        let complete = |state: &mut SimHostState| {
            let pool = state.pools.get_mut(&key.pool)?;
            let copy = pool.volumes.get_mut(&key.name)?;
            let is_whole = copy.busy_until == until;
            is_whole.then(|| copy.tokens.extend(tokens))
        };
        let completed = complete(&mut self.world.lock().await.state);
        completed.ok_or_else(|| {
            let words = "the connection was lost before the copy was complete";
            self.error(PortErrorKind::OutcomeUnknown, &object(key), words)
        })
    }

    async fn content(&self, call: Call, key: &VolumeKey) -> PortResult<(Content, u64)> {
        self.call(call, |state, _| {
            let volume = self.volume_of(state, key)?;
            Ok((volume.content.clone(), volume.physical()))
        })
        .await
    }
}

/// The hash of a file's bytes and of the tokens in it.
fn hash_with(bytes: Hash, tokens: &BTreeSet<u64>) -> Hash {
    if tokens.is_empty() {
        return bytes;
    }
    let mut hasher = Sha256::new();
    hasher.update(bytes.0);
    tokens
        .iter()
        .for_each(|token| hasher.update(token.to_be_bytes()));
    Hash(hasher.finalize().into())
}

fn head_of(state: &SimHostState, path: &str, max: u64) -> FileHead {
    let path = state.resolved(path);
    if !state.shell {
        return FileHead::Nothing;
    }
    let outside = state.outside.get(&path);
    if outside == Some(&None) || state.closed.contains(&path) {
        return FileHead::Unknown("Permission denied".to_owned());
    }
    let head = (outside.cloned().flatten()).or_else(|| state.header_at(&path));
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    head.map_or(FileHead::Nothing, |bytes| {
        FileHead::Bytes(bytes.into_iter().take(max).collect())
    })
}

/// The volume. Like libvirt, the host cannot describe a name with control characters.
fn info(pool: &Pool, key: &VolumeKey, volume: &Volume) -> VolumeInfo {
    if host_text::has_control(&key.name) {
        return VolumeInfo::unreadable(key.clone(), "its name has control characters");
    }
    let path = format!("{}/{}", pool.path, key.name);
    VolumeInfo {
        key: key.clone(),
        format: volume.format.clone(),
        capacity: volume.capacity,
        allocation: volume.content.len(),
        physical: volume.physical(),
        // As libvirt does, which reads no header of a block device.
        backing: volume.backing.clone().filter(|_| !is_device(&path)),
        path,
        modified: Some(volume.modified.to_string()),
        unreadable: None,
    }
}

fn pool_info(name: &str, pool: &Pool) -> PoolInfo {
    PoolInfo {
        name: name.to_owned(),
        active: pool.active,
        capacity: pool.capacity,
        available: pool.available(),
    }
}

#[async_trait]
impl StoragePort for SimHost {
    async fn pools(&self) -> PortResult<Vec<PoolInfo>> {
        self.call(Call::observe("pools", ""), |state, _| {
            Ok(state
                .pools
                .iter()
                .map(|(name, pool)| pool_info(name, pool))
                .collect())
        })
        .await
    }

    async fn pool(&self, name: &str) -> PortResult<Option<PoolInfo>> {
        self.call(Call::observe("pool", format!("pool {name}")), |state, _| {
            Ok(state.pools.get(name).map(|pool| pool_info(name, pool)))
        })
        .await
    }

    async fn volume(&self, key: &VolumeKey) -> PortResult<Option<VolumeInfo>> {
        let observe = || {
            self.call(Call::observe("volume", object(key)), |state, _| {
                state.unlisted.remove(&key.to_string());
                let pool = self.pool_of(state, &key.pool)?;
                Ok(pool
                    .volumes
                    .get(&key.name)
                    .map(|volume| info(pool, key, volume)))
            })
        };
        match observe().await? {
            Some(volume) => self.readable(volume).map(Some),
            None => {
                self.settled(&key.pool).await;
                let volume = observe().await?;
                volume.map(|volume| self.readable(volume)).transpose()
            }
        }
    }

    async fn volumes(&self, name: &str) -> PortResult<Vec<VolumeInfo>> {
        self.settled(name).await;
        self.call(
            Call::observe("volumes", format!("pool {name}")),
            |state, _| {
                let folder = format!("{name}/");
                state.unlisted.retain(|file| !file.starts_with(&folder));
                let pool = self.pool_of(state, name)?;
                let key = |volume: &String| VolumeKey {
                    pool: name.to_owned(),
                    name: volume.clone(),
                };
                Ok(pool
                    .volumes
                    .iter()
                    .map(|(volume_name, volume)| info(pool, &key(volume_name), volume))
                    .collect())
            },
        )
        .await
    }

    async fn create(&self, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        self.call(Call::act("create", object(&spec.key)), |state, _| {
            let backing = spec.backing.as_ref().map(|(path, _)| path.clone());
            if backing
                .as_ref()
                .is_some_and(|path| state.by_path(path).is_none())
            {
                let words = "the backing file is not there";
                return Err(self.error(PortErrorKind::Missing, &object(&spec.key), words));
            }
            let bytes = match spec.format {
                VolumeFormat::Raw => Vec::new(),
                VolumeFormat::Qcow2 => qcow2_header(spec.capacity),
            };
            let modified = state.change();
            let volume = Volume {
                format: spec.format.as_str().to_owned(),
                capacity: spec.capacity,
                content: Content::Inline(bytes),
                backing,
                modified,
                born: modified,
                synced: false,
                unwritten: false,
                busy_until: 0,
                tokens: Default::default(),
            };
            self.insert(state, &spec.key, volume)
        })
        .await
    }

    async fn clone_volume(&self, source: &VolumeKey, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        let copying = self.call(Call::act("clone", object(&spec.key)), |state, now| {
            let until = now.saturating_add(CLONE_MS);
            let original = self.volume_of(state, source)?.clone();
            let modified = state.change();
            let backing = spec.backing.as_ref().map(|(path, _)| path.clone());
            let tokens = state.copied_tokens(&original, backing.as_deref());
            // Until the copy is complete a restart leaves half of it.
            let copy = Volume {
                format: spec.format.as_str().to_owned(),
                backing,
                modified,
                born: modified,
                synced: false,
                unwritten: false,
                busy_until: until,
                tokens: BTreeSet::new(),
                ..original
            };
            let info = self.insert(state, &spec.key, copy)?;
            let copied = self.volume_of(state, source)?;
            let earlier = Some(copied.busy_until).filter(|earlier| is_copying(*earlier, now));
            copied.busy_until = earlier.unwrap_or_default().max(until);
            Ok((info, tokens, until))
        });
        let (info, tokens, until) = copying.await?;
        tokio::time::sleep(Duration::from_millis(CLONE_MS)).await;
        self.complete_copy(&spec.key, tokens, until).await?;
        self.sync(&spec.key).await?;
        Ok(info)
    }

    async fn resize(&self, key: &VolumeKey, capacity: u64) -> PortResult<()> {
        self.call(Call::act("resize", object(key)), |state, now| {
            let change = state.change();
            let volume = self.idle(state, key, now)?;
            if capacity < volume.capacity {
                let words = "a volume is not made smaller";
                return Err(self.error(PortErrorKind::Rejected, &object(key), words));
            }
            (volume.capacity, volume.modified) = (capacity, change);
            Ok(())
        })
        .await
    }

    async fn delete(&self, permit: &Permit<Deletion>) -> PortResult<Removed> {
        let key = &permit.call().key;
        let deleted = self.call(Call::act("delete", object(key)), |state, now| {
            if !self
                .pool_of(state, &key.pool)?
                .volumes
                .contains_key(&key.name)
            {
                return Ok((Removed::Absent, None));
            }
            self.idle(state, key, now)?;
            let gone = self.pool_of(state, &key.pool)?.volumes.remove(&key.name);
            let unheld = match gone.map(|volume| volume.content) {
                Some(Content::Stored { id, .. }) if !state.holds(id) => Some(id),
                _ => None,
            };
            Ok((Removed::Removed, unheld))
        });
        let (removed, unheld) = deleted.await?;
        if let Some(id) = unheld {
            let gone = self.store.on(move |store| store.remove(id)).await;
            gone.map_err(|error| self.store_error(&object(key), &error))?;
        }
        Ok(removed)
    }

    async fn upload(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
    ) -> PortResult<Box<dyn UploadSink>> {
        Ok(Box::new(self.open(key, offset, length).await?))
    }

    async fn fill(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
        transfer: Transfer,
    ) -> PortResult<Box<dyn UploadSink>> {
        let sink = self.open(key, offset, length).await?;
        if transfer == Transfer::Libvirt || !self.has_paths().await {
            return Ok(Box::new(sink));
        }
        let by_path = true;
        Ok(Box::new(SimPathSink::new(SimSink { by_path, ..sink })))
    }

    async fn read(&self, key: &VolumeKey, offset: u64, max: u64) -> PortResult<Bytes> {
        let (content, _) = self
            .content(Call::observe("read", object(key)), key)
            .await?;
        self.store
            .on(move |store| store.read(&content, offset, max))
            .await
            .map(Bytes::from)
            .map_err(|error| self.store_error(&object(key), &error))
    }

    async fn sync(&self, key: &VolumeKey) -> PortResult<()> {
        self.call(Call::act("sync", object(key)), |state, _| {
            self.volume_of(state, key)?.synced = true;
            Ok(())
        })
        .await
    }

    async fn drop_cached(&self, key: &VolumeKey) -> PortResult<()> {
        self.call(Call::act("drop_cached", object(key)), |state, _| {
            self.volume_of(state, key)?.drop_cached();
            Ok(())
        })
        .await
    }

    async fn files(&self, paths: &[String]) -> PortResult<Option<Vec<FileAt>>> {
        self.call(Call::observe("files", ""), |state, _| {
            let file_at = |path: &String| {
                let path = state.resolved(path);
                match state.outside.get(&path) {
                    Some(None) => FileAt::Unknown("Permission denied".to_owned()),
                    None if state.by_path(&path).is_none() => FileAt::Nothing,
                    _ => FileAt::Is(state.identity(path)),
                }
            };
            Ok(state.shell.then(|| paths.iter().map(file_at).collect()))
        })
        .await
    }

    async fn heads(&self, paths: &[String], max: u64) -> PortResult<Vec<FileHead>> {
        self.call(Call::observe("heads", ""), |state, _| {
            let head = |path: &String| head_of(state, path, max);
            Ok(paths.iter().map(head).collect())
        })
        .await
    }

    async fn files_of_inactive(&self, name: &str) -> PortResult<PoolFiles> {
        self.call(Call::observe("files_of_inactive", name), |state, _| {
            let Some(pool) = state.pools.get(name) else {
                return Err(self.error(PortErrorKind::PoolMissing, name, "no such pool"));
            };
            let names = pool.volumes.keys();
            let files = names.map(|file| format!("{}/{file}", pool.path)).collect();
            Ok(if state.shell {
                PoolFiles::Are(files)
            } else {
                PoolFiles::Unknown("no command may be run on the host".to_owned())
            })
        })
        .await
    }

    async fn sha256(&self, key: &VolumeKey) -> PortResult<Hash> {
        let call = Call::observe("sha256", object(key));
        let looked_up = self.call(call, |state, _| {
            let volume = self.volume_of(state, key)?;
            let bytes = (volume.content.clone(), volume.physical());
            Ok((bytes, volume.tokens.clone()))
        });
        let ((content, len), tokens) = looked_up.await?;
        let hash = self
            .store
            .on(move |store| store.sha256(&content, len))
            .await
            .map_err(|error| self.store_error(&object(key), &error))?;
        Ok(hash_with(hash, &tokens))
    }

    async fn sha256_along(
        &self,
        key: &VolumeKey,
        mut synced: watch::Receiver<Synced>,
    ) -> PortResult<Option<Hash>> {
        if !self.reads_along().await {
            return Ok(None);
        }
        let mut reading = Sha256::new();
        let mut position = 0;
        loop {
            let synced_part = *synced.borrow_and_update();
            let (Synced::Prefix(until) | Synced::Whole(until)) = synced_part;
            let call = Call::observe("sha256_along", object(key));
            let (content, len) = self.content(call, key).await?;
            let end = match synced_part {
                Synced::Prefix(_) => until.min(len),
                Synced::Whole(_) => len,
            };
            while position < end {
                let (from, piece) = (content.clone(), end.saturating_sub(position).min(PIECE));
                let piece_bytes = self
                    .store
                    .on(move |store| store.read(&from, position, piece))
                    .await;
                reading
                    .update(piece_bytes.map_err(|error| self.store_error(&object(key), &error))?);
                position = position.saturating_add(piece);
            }
            match synced_part {
                Synced::Whole(_) => return Ok(Some(Hash(reading.finalize().into()))),
                Synced::Prefix(_) if synced.changed().await.is_err() => return Ok(None),
                Synced::Prefix(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_also_where_the_clock_was_set_back() {
        let now = 1_000_000;
        assert!(is_copying(now + 1, now));
        assert!(is_copying(now + CLONE_MS, now));
        for over in [0, now, now + CLONE_MS + 1, u64::MAX] {
            assert!(!is_copying(over, now), "{over}");
        }
    }
}
