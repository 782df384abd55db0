//! Sabotage: ports that report something wrong.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use uuid::Uuid;
use vsiflow_engine::model::Hash;
use vsiflow_steps::{
    guards::Permit,
    names,
    ports::{
        Deletion, DhcpLease, DiskJob, DomainInfo, DomainPort, DomainSpec, DomainStart, FileAt,
        FileHead, GuestConsole, HostPorts, Hosts, LayerSpec, Leftovers, OwnerMark, PausedStart,
        PoolFiles, PoolInfo, PortResult, Removed, SavedMachine, StoragePort, Undefinition,
        UploadSink, VolumeInfo, VolumeKey, VolumeSpec, conformance::unguarded,
    },
};

/// What is reported wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Twist {
    /// An object that cannot be read is reported as absent.
    UnknownIsAbsent,
    /// Domains and overlays are not reported.
    Blind,
    /// A start is reported as done long before it is.
    EarlyStart,
    /// Each disk is reported as the file of the last definition.
    StaleBase,
    /// The mark of each domain names the snapshot that has a layer in the domain's pool.
    LayersUnmerged,
    /// All cards are defined with one MAC address.
    OneCard,
    /// A guest that was saved with its memory is defined anew when it is taken from those that start with the host.
    DefinedAnew,
}

/// Hosts whose ports report something wrong.
pub struct Twisted {
    inner: Arc<dyn Hosts>,
    twist: Twist,
    defined: DefinedDisks,
    specs: DefinedSpecs,
}

/// The last definition of each domain.
type DefinedSpecs = Arc<Mutex<BTreeMap<Uuid, DomainSpec>>>;

/// The path of each disk in the last definition of its domain, by domain and target.
type DefinedDisks = Arc<Mutex<BTreeMap<(Uuid, String), String>>>;

impl Twisted {
    pub fn new(inner: Arc<dyn Hosts>, twist: Twist) -> Self {
        Self {
            inner,
            twist,
            defined: DefinedDisks::default(),
            specs: DefinedSpecs::default(),
        }
    }
}

#[async_trait]
impl Hosts for Twisted {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        let inner = self.inner.host(id).await?;
        let twisted = Arc::new(TwistedPorts {
            storage: inner.storage.clone(),
            domains: inner.domains.clone(),
            twist: self.twist,
            defined: self.defined.clone(),
            specs: self.specs.clone(),
        });
        let (storage, domains) = (twisted.clone(), twisted);
        Ok(HostPorts {
            storage,
            domains,
            ..inner
        })
    }
}

struct TwistedPorts {
    storage: Arc<dyn StoragePort>,
    domains: Arc<dyn DomainPort>,
    twist: Twist,
    defined: DefinedDisks,
    specs: DefinedSpecs,
}

/// The pool of all volumes.
const POOL: &str = "images";
/// The MAC address of all cards.
const MAC: &str = "52:54:00:00:00:01";

impl TwistedPorts {
    /// The domain with the mark that it has after layers were put over its disks.
    async fn as_layered(&self, mut domain: DomainInfo) -> PortResult<DomainInfo> {
        if self.twist != Twist::LayersUnmerged {
            return Ok(domain);
        }
        let shapes = std::iter::once(&domain.stored).chain(&domain.live);
        let files = shapes.flat_map(|shape| &shape.disks);
        let files: Vec<_> = files.map(|disk| disk.source.clone()).collect();
        let volumes = self.storage.volumes(POOL).await?;
        let layers = volumes.iter().filter(|volume| {
            let below = volume.backing.as_ref();
            below.is_some_and(|below| files.contains(below))
        });
        let mut snapshots = layers.filter_map(|layer| names::snapshot_of(&layer.key.name));
        if let Some((snapshot, mark)) = snapshots.next().zip(domain.mark.as_mut()) {
            mark.snapshot = Some(snapshot);
        }
        Ok(domain)
    }

    fn found<T>(&self, looked: PortResult<Option<T>>) -> PortResult<Option<T>> {
        match self.twist {
            Twist::UnknownIsAbsent => Ok(looked.unwrap_or(None)),
            _ => looked,
        }
    }

    /// The domain with the disks of its last definition.
    fn as_defined(&self, mut domain: DomainInfo) -> DomainInfo {
        if self.twist != Twist::StaleBase {
            return domain;
        }
        let defined = self.defined.lock().unwrap();
        for shape in std::iter::once(&mut domain.stored).chain(&mut domain.live) {
            for disk in &mut shape.disks {
                if let Some(path) = defined.get(&(domain.uuid, disk.target.clone())) {
                    disk.source.clone_from(path);
                }
            }
        }
        domain
    }
}

#[async_trait]
impl StoragePort for TwistedPorts {
    async fn pools(&self) -> PortResult<Vec<PoolInfo>> {
        self.storage.pools().await
    }

    async fn pool(&self, pool: &str) -> PortResult<Option<PoolInfo>> {
        self.storage.pool(pool).await
    }

    async fn volume(&self, key: &VolumeKey) -> PortResult<Option<VolumeInfo>> {
        self.found(self.storage.volume(key).await)
    }

    async fn volumes(&self, pool: &str) -> PortResult<Vec<VolumeInfo>> {
        let mut volumes = self.storage.volumes(pool).await?;
        if self.twist == Twist::Blind {
            volumes.iter_mut().for_each(|volume| volume.backing = None);
        }
        Ok(volumes)
    }

    async fn create(&self, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        self.storage.create(spec).await
    }

    async fn clone_volume(&self, source: &VolumeKey, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        self.storage.clone_volume(source, spec).await
    }

    async fn resize(&self, key: &VolumeKey, capacity: u64) -> PortResult<()> {
        self.storage.resize(key, capacity).await
    }

    async fn delete(&self, permit: &Permit<Deletion>) -> PortResult<Removed> {
        self.storage.delete(permit).await
    }

    async fn upload(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
    ) -> PortResult<Box<dyn UploadSink>> {
        self.storage.upload(key, offset, length).await
    }

    async fn read(&self, key: &VolumeKey, offset: u64, max: u64) -> PortResult<Bytes> {
        self.storage.read(key, offset, max).await
    }

    async fn sync(&self, key: &VolumeKey) -> PortResult<()> {
        self.storage.sync(key).await
    }

    async fn drop_cached(&self, key: &VolumeKey) -> PortResult<()> {
        self.storage.drop_cached(key).await
    }

    async fn files(&self, paths: &[String]) -> PortResult<Option<Vec<FileAt>>> {
        self.storage.files(paths).await
    }

    async fn heads(&self, paths: &[String], max: u64) -> PortResult<Vec<FileHead>> {
        self.storage.heads(paths, max).await
    }

    async fn files_of_inactive(&self, pool: &str) -> PortResult<PoolFiles> {
        self.storage.files_of_inactive(pool).await
    }

    async fn sha256(&self, key: &VolumeKey) -> PortResult<Hash> {
        self.storage.sha256(key).await
    }
}

#[async_trait]
impl DomainPort for TwistedPorts {
    async fn domain(&self, uuid: Uuid) -> PortResult<Option<DomainInfo>> {
        match self.found(self.domains.domain(uuid).await)? {
            Some(domain) => Ok(Some(self.as_layered(self.as_defined(domain)).await?)),
            None => Ok(None),
        }
    }

    async fn domains(&self) -> PortResult<Vec<DomainInfo>> {
        match self.twist {
            Twist::Blind => Ok(Vec::new()),
            _ => {
                let domains = self.domains.domains().await?;
                Ok(domains.into_iter().map(|d| self.as_defined(d)).collect())
            }
        }
    }

    async fn define(&self, permit: &Permit<DomainSpec>) -> PortResult<DomainInfo> {
        let mut spec = permit.call().clone();
        if self.twist == Twist::OneCard {
            let cards = spec.nics.iter_mut();
            cards.for_each(|card| MAC.clone_into(&mut card.mac));
        }
        let defined = self.domains.define(&unguarded::definition(&spec)).await?;
        let disks = spec.disks.iter();
        let disks = disks.map(|disk| ((spec.uuid, disk.target.clone()), disk.path.clone()));
        self.defined.lock().unwrap().extend(disks);
        self.specs.lock().unwrap().insert(spec.uuid, spec);
        Ok(defined)
    }

    async fn start(&self, permit: &Permit<DomainStart>) -> PortResult<()> {
        if self.twist != Twist::EarlyStart {
            return self.domains.start(permit).await;
        }
        let (domains, permit) = (self.domains.clone(), permit.clone());
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            domains.start(&permit).await
        });
        Ok(())
    }

    async fn shutdown(&self, uuid: Uuid) -> PortResult<()> {
        self.domains.shutdown(uuid).await
    }

    async fn suspend(&self, uuid: Uuid) -> PortResult<()> {
        self.domains.suspend(uuid).await
    }

    async fn resume(&self, uuid: Uuid) -> PortResult<()> {
        self.domains.resume(uuid).await
    }

    async fn grow_disk(&self, uuid: Uuid, path: &str, capacity: u64) -> PortResult<()> {
        self.domains.grow_disk(uuid, path, capacity).await
    }

    async fn agent(&self, uuid: Uuid, command: &str, within: Duration) -> PortResult<String> {
        self.domains.agent(uuid, command, within).await
    }

    async fn add_layers(&self, uuid: Uuid, layers: &[LayerSpec], quiesce: bool) -> PortResult<()> {
        self.domains.add_layers(uuid, layers, quiesce).await
    }

    async fn save_with_layers(
        &self,
        uuid: Uuid,
        layers: &[LayerSpec],
        memory: &str,
    ) -> PortResult<()> {
        self.domains.save_with_layers(uuid, layers, memory).await
    }

    async fn saved_machine(&self, memory: &str) -> PortResult<SavedMachine> {
        self.domains.saved_machine(memory).await
    }

    async fn start_saved(&self, permit: &Permit<DomainStart>, memory: &str) -> PortResult<()> {
        self.domains.start_saved(permit, memory).await
    }

    async fn begin_merge(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        self.domains.begin_merge(uuid, target).await
    }

    async fn disk_job(&self, uuid: Uuid, target: &str) -> PortResult<Option<DiskJob>> {
        self.domains.disk_job(uuid, target).await
    }

    async fn end_merge(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        self.domains.end_merge(uuid, target).await
    }

    async fn start_paused(&self, permit: &Permit<PausedStart>) -> PortResult<()> {
        self.domains.start_paused(permit).await
    }

    async fn set_autostart(&self, uuid: Uuid, on: bool) -> PortResult<()> {
        let spec = self.specs.lock().unwrap().get(&uuid).cloned();
        if let Some(spec) = spec.filter(|_| self.twist == Twist::DefinedAnew && !on)
            && let Some(domain) = self.domains.domain(uuid).await?
            && domain.saved
        {
            let undefinition = unguarded::undefinition(uuid, Leftovers::Delete);
            self.domains.undefine(&undefinition).await?;
            self.domains.define(&unguarded::definition(&spec)).await?;
        }
        self.domains.set_autostart(uuid, on).await
    }

    async fn addresses(&self, uuid: Uuid) -> PortResult<Vec<DhcpLease>> {
        self.domains.addresses(uuid).await
    }

    async fn open_console(&self, uuid: Uuid, force: bool) -> PortResult<Box<dyn GuestConsole>> {
        self.domains.open_console(uuid, force).await
    }

    async fn open_screen(&self, uuid: Uuid) -> PortResult<Box<dyn GuestConsole>> {
        self.domains.open_screen(uuid).await
    }

    async fn set_mark(&self, uuid: Uuid, mark: &OwnerMark) -> PortResult<()> {
        self.domains.set_mark(uuid, mark).await
    }

    async fn destroy(&self, uuid: Uuid) -> PortResult<()> {
        self.domains.destroy(uuid).await
    }

    async fn undefine(&self, permit: &Permit<Undefinition>) -> PortResult<Removed> {
        self.domains.undefine(permit).await
    }
}
