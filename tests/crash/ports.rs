//! Wraps all ports of a host, so that each call passes a [`CallPath`]: the crash gate, or the audit.

use std::{fmt, future::Future, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Mutex;
use uuid::Uuid;
use vsiflow_engine::model::Hash;
use vsiflow_steps::{
    guards::Permit,
    ports::{
        ConsoleChunk, ConsolePort, ConsolePosition, Deletion, DeletionGround, DhcpLease, DiskJob,
        DomainInfo, DomainPort, DomainSpec, DomainStart, FileAt, FileHead, GuestConsole,
        GuestStream, GuestSupport, HostCapacity, HostFacts, HostPort, HostPorts, HostRoute, Hosts,
        LayerSpec, NetworkChange, NetworkInfo, NetworkPort, NetworkSpec, OwnerMark, PausedStart,
        PoolFiles, PoolInfo, PortResult, Removed, SavedMachine, StoragePort, Transfer,
        Undefinition, UploadSink, VolumeInfo, VolumeKey, VolumeSpec,
    },
};

use super::gate::{CallKind, CrashGate};

/// The object of a call.
#[derive(Clone, Debug)]
pub enum CallObject {
    Host,
    Pool(String),
    Volume(VolumeKey),
    Domain(Uuid),
    Network(String),
}

/// A call of a port.
#[derive(Clone, Debug)]
pub struct PortCall {
    pub host: String,
    pub name: &'static str,
    pub object: CallObject,
    pub kind: CallKind,
    /// Why a volume is deleted; `None` for any other call.
    pub ground: Option<DeletionGround>,
}

impl fmt::Display for CallObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => Ok(()),
            Self::Pool(name) | Self::Network(name) => f.write_str(name),
            Self::Volume(key) => key.fmt(f),
            Self::Domain(uuid) => uuid.fmt(f),
        }
    }
}

impl PortCall {
    pub fn describe(&self) -> String {
        format!("{} {} on {}", self.name, self.object, self.host)
    }
}

/// A path that calls take: the crash gate or the audit.
pub trait CallPath: Send + Sync + 'static {
    fn go<T: Send + 'static>(
        &self,
        call: PortCall,
        work: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> impl Future<Output = PortResult<T>> + Send;
}

impl CallPath for CrashGate {
    async fn go<T: Send + 'static>(
        &self,
        call: PortCall,
        work: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> PortResult<T> {
        let kind = call.kind;
        self.pass(move || call.describe(), kind, work).await
    }
}

/// Hosts whose calls all take this path.
pub struct Through<W> {
    pub inner: Arc<dyn Hosts>,
    pub way: Arc<W>,
}

#[async_trait]
impl<W: CallPath> Hosts for Through<W> {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        let ports = Arc::new(GatedPorts {
            inner: self.inner.host(id).await?,
            host: id.to_owned(),
            way: self.way.clone(),
        });
        Ok(HostPorts {
            host: ports.clone(),
            storage: ports.clone(),
            domains: ports.clone(),
            networks: ports.clone(),
            console: ports,
            upload_limit: None,
            full_verification: false,
            transfer: Transfer::Auto,
        })
    }
}

struct GatedPorts<W> {
    inner: HostPorts,
    host: String,
    way: Arc<W>,
}

impl<W: CallPath> GatedPorts<W> {
    async fn look<T: Send + 'static>(
        &self,
        name: &'static str,
        object: CallObject,
        work: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> PortResult<T> {
        let (host, kind) = (self.host.clone(), CallKind::Plain);
        self.way
            .go(
                PortCall {
                    host,
                    name,
                    object,
                    kind,
                    ground: None,
                },
                work,
            )
            .await
    }

    async fn act<T: Send + 'static>(
        &self,
        name: &'static str,
        object: CallObject,
        work: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> PortResult<T> {
        let (host, kind) = (self.host.clone(), CallKind::Effect);
        self.way
            .go(
                PortCall {
                    host,
                    name,
                    object,
                    kind,
                    ground: None,
                },
                work,
            )
            .await
    }
}

#[async_trait]
impl<W: CallPath> HostPort for GatedPorts<W> {
    fn name(&self) -> &str {
        &self.host
    }

    async fn facts(&self) -> PortResult<HostFacts> {
        let port = self.inner.host.clone();
        self.look("facts", CallObject::Host, async move { port.facts().await })
            .await
    }

    async fn capacity(&self) -> PortResult<Option<HostCapacity>> {
        let port = self.inner.host.clone();
        self.look("capacity", CallObject::Host, async move {
            port.capacity().await
        })
        .await
    }

    async fn guest_support(&self, arch: &str) -> PortResult<Option<GuestSupport>> {
        let (port, arch) = (self.inner.host.clone(), arch.to_owned());
        let work = async move { port.guest_support(&arch).await };
        self.look("guest_support", CallObject::Host, work).await
    }
}

#[async_trait]
impl<W: CallPath> StoragePort for GatedPorts<W> {
    async fn pools(&self) -> PortResult<Vec<PoolInfo>> {
        let port = self.inner.storage.clone();
        self.look("pools", CallObject::Host, async move { port.pools().await })
            .await
    }

    async fn pool(&self, pool: &str) -> PortResult<Option<PoolInfo>> {
        let (port, pool) = (self.inner.storage.clone(), pool.to_owned());
        let object = CallObject::Pool(pool.clone());
        self.look("pool", object, async move { port.pool(&pool).await })
            .await
    }

    async fn volume(&self, key: &VolumeKey) -> PortResult<Option<VolumeInfo>> {
        let (port, key) = (self.inner.storage.clone(), key.clone());
        let object = CallObject::Volume(key.clone());
        self.look("volume", object, async move { port.volume(&key).await })
            .await
    }

    async fn volumes(&self, pool: &str) -> PortResult<Vec<VolumeInfo>> {
        let (port, pool) = (self.inner.storage.clone(), pool.to_owned());
        let object = CallObject::Pool(pool.clone());
        self.look("volumes", object, async move { port.volumes(&pool).await })
            .await
    }

    async fn create(&self, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        let (port, spec) = (self.inner.storage.clone(), spec.clone());
        let object = CallObject::Volume(spec.key.clone());
        self.act("create", object, async move { port.create(&spec).await })
            .await
    }

    async fn clone_volume(&self, source: &VolumeKey, spec: &VolumeSpec) -> PortResult<VolumeInfo> {
        let (port, source, spec) = (self.inner.storage.clone(), source.clone(), spec.clone());
        let object = CallObject::Volume(spec.key.clone());
        let work = async move { port.clone_volume(&source, &spec).await };
        self.act("clone", object, work).await
    }

    async fn resize(&self, key: &VolumeKey, capacity: u64) -> PortResult<()> {
        let (port, key) = (self.inner.storage.clone(), key.clone());
        let object = CallObject::Volume(key.clone());
        self.act("resize", object, async move {
            port.resize(&key, capacity).await
        })
        .await
    }

    async fn delete(&self, permit: &Permit<Deletion>) -> PortResult<Removed> {
        let (port, permit) = (self.inner.storage.clone(), permit.clone());
        let deletion = permit.call();
        let call = PortCall {
            host: self.host.clone(),
            name: "delete",
            object: CallObject::Volume(deletion.key.clone()),
            kind: CallKind::Effect,
            ground: Some(deletion.ground),
        };
        self.way
            .go(call, async move { port.delete(&permit).await })
            .await
    }

    async fn upload(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
    ) -> PortResult<Box<dyn UploadSink>> {
        let (port, volume) = (self.inner.storage.clone(), key.clone());
        let object = CallObject::Volume(key.clone());
        let work = async move { port.upload(&volume, offset, length).await };
        let inner = Arc::new(Mutex::new(Some(self.act("upload", object, work).await?)));
        let (host, key, way) = (self.host.clone(), key.clone(), self.way.clone());
        Ok(Box::new(Sink {
            inner,
            host,
            key,
            way,
        }))
    }

    async fn read(&self, key: &VolumeKey, offset: u64, max: u64) -> PortResult<Bytes> {
        let (port, key) = (self.inner.storage.clone(), key.clone());
        let object = CallObject::Volume(key.clone());
        self.look(
            "read",
            object,
            async move { port.read(&key, offset, max).await },
        )
        .await
    }

    async fn sync(&self, key: &VolumeKey) -> PortResult<()> {
        let (port, key) = (self.inner.storage.clone(), key.clone());
        let object = CallObject::Volume(key.clone());
        self.act("sync", object, async move { port.sync(&key).await })
            .await
    }

    async fn drop_cached(&self, key: &VolumeKey) -> PortResult<()> {
        let (port, key) = (self.inner.storage.clone(), key.clone());
        let object = CallObject::Volume(key.clone());
        self.look("drop_cached", object, async move {
            port.drop_cached(&key).await
        })
        .await
    }

    async fn files(&self, paths: &[String]) -> PortResult<Option<Vec<FileAt>>> {
        let (port, paths) = (self.inner.storage.clone(), paths.to_vec());
        let work = async move { port.files(&paths).await };
        self.look("files", CallObject::Host, work).await
    }

    async fn heads(&self, paths: &[String], max: u64) -> PortResult<Vec<FileHead>> {
        let (port, paths) = (self.inner.storage.clone(), paths.to_vec());
        let work = async move { port.heads(&paths, max).await };
        self.look("heads", CallObject::Host, work).await
    }

    async fn files_of_inactive(&self, pool: &str) -> PortResult<PoolFiles> {
        let (port, pool) = (self.inner.storage.clone(), pool.to_owned());
        let object = CallObject::Pool(pool.clone());
        let work = async move { port.files_of_inactive(&pool).await };
        self.look("files_of_inactive", object, work).await
    }

    async fn sha256(&self, key: &VolumeKey) -> PortResult<Hash> {
        let (port, key) = (self.inner.storage.clone(), key.clone());
        let object = CallObject::Volume(key.clone());
        self.look("sha256", object, async move { port.sha256(&key).await })
            .await
    }
}

#[async_trait]
impl<W: CallPath> DomainPort for GatedPorts<W> {
    async fn domain(&self, uuid: Uuid) -> PortResult<Option<DomainInfo>> {
        let port = self.inner.domains.clone();
        self.look("domain", CallObject::Domain(uuid), async move {
            port.domain(uuid).await
        })
        .await
    }

    async fn domains(&self) -> PortResult<Vec<DomainInfo>> {
        let port = self.inner.domains.clone();
        self.look(
            "domains",
            CallObject::Host,
            async move { port.domains().await },
        )
        .await
    }

    async fn define(&self, permit: &Permit<DomainSpec>) -> PortResult<DomainInfo> {
        let (port, permit) = (self.inner.domains.clone(), permit.clone());
        let object = CallObject::Domain(permit.call().uuid);
        self.act("define", object, async move { port.define(&permit).await })
            .await
    }

    async fn start(&self, permit: &Permit<DomainStart>) -> PortResult<()> {
        let (port, permit) = (self.inner.domains.clone(), permit.clone());
        let object = CallObject::Domain(permit.call().uuid);
        self.act("start", object, async move { port.start(&permit).await })
            .await
    }

    async fn shutdown(&self, uuid: Uuid) -> PortResult<()> {
        let port = self.inner.domains.clone();
        self.act("shutdown", CallObject::Domain(uuid), async move {
            port.shutdown(uuid).await
        })
        .await
    }

    async fn suspend(&self, uuid: Uuid) -> PortResult<()> {
        let port = self.inner.domains.clone();
        let work = async move { port.suspend(uuid).await };
        self.act("suspend", CallObject::Domain(uuid), work).await
    }

    async fn resume(&self, uuid: Uuid) -> PortResult<()> {
        let port = self.inner.domains.clone();
        let work = async move { port.resume(uuid).await };
        self.act("resume", CallObject::Domain(uuid), work).await
    }

    async fn grow_disk(&self, uuid: Uuid, path: &str, capacity: u64) -> PortResult<()> {
        let (port, path) = (self.inner.domains.clone(), path.to_owned());
        let work = async move { port.grow_disk(uuid, &path, capacity).await };
        self.act("grow_disk", CallObject::Domain(uuid), work).await
    }

    async fn add_layers(&self, uuid: Uuid, layers: &[LayerSpec], quiesce: bool) -> PortResult<()> {
        let (port, layers) = (self.inner.domains.clone(), layers.to_vec());
        let work = async move { port.add_layers(uuid, &layers, quiesce).await };
        self.act("add_layers", CallObject::Domain(uuid), work).await
    }

    async fn save_with_layers(
        &self,
        uuid: Uuid,
        layers: &[LayerSpec],
        memory: &str,
    ) -> PortResult<()> {
        let (port, layers) = (self.inner.domains.clone(), layers.to_vec());
        let memory = memory.to_owned();
        let work = async move { port.save_with_layers(uuid, &layers, &memory).await };
        self.act("save_with_layers", CallObject::Domain(uuid), work)
            .await
    }

    async fn saved_machine(&self, memory: &str) -> PortResult<SavedMachine> {
        let (port, memory) = (self.inner.domains.clone(), memory.to_owned());
        let work = async move { port.saved_machine(&memory).await };
        self.look("saved_machine", CallObject::Host, work).await
    }

    async fn start_saved(&self, permit: &Permit<DomainStart>, memory: &str) -> PortResult<()> {
        let (port, permit) = (self.inner.domains.clone(), permit.clone());
        let object = CallObject::Domain(permit.call().uuid);
        let memory = memory.to_owned();
        let work = async move { port.start_saved(&permit, &memory).await };
        self.act("start_saved", object, work).await
    }

    async fn begin_merge(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        let (port, target) = (self.inner.domains.clone(), target.to_owned());
        let work = async move { port.begin_merge(uuid, &target).await };
        self.act("begin_merge", CallObject::Domain(uuid), work)
            .await
    }

    async fn disk_job(&self, uuid: Uuid, target: &str) -> PortResult<Option<DiskJob>> {
        let (port, target) = (self.inner.domains.clone(), target.to_owned());
        let work = async move { port.disk_job(uuid, &target).await };
        self.look("disk_job", CallObject::Domain(uuid), work).await
    }

    async fn end_merge(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        let (port, target) = (self.inner.domains.clone(), target.to_owned());
        let work = async move { port.end_merge(uuid, &target).await };
        self.act("end_merge", CallObject::Domain(uuid), work).await
    }

    async fn start_paused(&self, permit: &Permit<PausedStart>) -> PortResult<()> {
        let (port, permit) = (self.inner.domains.clone(), permit.clone());
        let object = CallObject::Domain(permit.call().uuid);
        let work = async move { port.start_paused(&permit).await };
        self.act("start_paused", object, work).await
    }

    async fn set_autostart(&self, uuid: Uuid, on: bool) -> PortResult<()> {
        let port = self.inner.domains.clone();
        let work = async move { port.set_autostart(uuid, on).await };
        self.act("set_autostart", CallObject::Domain(uuid), work)
            .await
    }

    async fn addresses(&self, uuid: Uuid) -> PortResult<Vec<DhcpLease>> {
        let port = self.inner.domains.clone();
        let work = async move { port.addresses(uuid).await };
        self.look("addresses", CallObject::Domain(uuid), work).await
    }

    async fn agent(&self, uuid: Uuid, command: &str, within: Duration) -> PortResult<String> {
        let (port, command) = (self.inner.domains.clone(), command.to_owned());
        let work = async move { port.agent(uuid, &command, within).await };
        self.look("agent", CallObject::Domain(uuid), work).await
    }

    async fn open_console(&self, uuid: Uuid, force: bool) -> PortResult<Box<dyn GuestConsole>> {
        let port = self.inner.domains.clone();
        let work = async move { port.open_console(uuid, force).await };
        self.look("open_console", CallObject::Domain(uuid), work)
            .await
    }

    async fn open_screen(&self, uuid: Uuid) -> PortResult<Box<dyn GuestConsole>> {
        let port = self.inner.domains.clone();
        let work = async move { port.open_screen(uuid).await };
        self.look("open_screen", CallObject::Domain(uuid), work)
            .await
    }

    async fn set_mark(&self, uuid: Uuid, mark: &OwnerMark) -> PortResult<()> {
        let (port, mark) = (self.inner.domains.clone(), mark.clone());
        let work = async move { port.set_mark(uuid, &mark).await };
        self.act("set_mark", CallObject::Domain(uuid), work).await
    }

    async fn destroy(&self, uuid: Uuid) -> PortResult<()> {
        let port = self.inner.domains.clone();
        self.act("destroy", CallObject::Domain(uuid), async move {
            port.destroy(uuid).await
        })
        .await
    }

    async fn undefine(&self, permit: &Permit<Undefinition>) -> PortResult<Removed> {
        let (port, permit) = (self.inner.domains.clone(), permit.clone());
        let object = CallObject::Domain(permit.call().uuid);
        let work = async move { port.undefine(&permit).await };
        self.act("undefine", object, work).await
    }
}

#[async_trait]
impl<W: CallPath> NetworkPort for GatedPorts<W> {
    async fn network(&self, name: &str) -> PortResult<Option<NetworkInfo>> {
        let (port, name) = (self.inner.networks.clone(), name.to_owned());
        let object = CallObject::Network(name.clone());
        self.look("network", object, async move { port.network(&name).await })
            .await
    }

    async fn leases(&self, name: &str) -> PortResult<Vec<DhcpLease>> {
        let (port, name) = (self.inner.networks.clone(), name.to_owned());
        let object = CallObject::Network(name.clone());
        self.look("leases", object, async move { port.leases(&name).await })
            .await
    }

    async fn networks(&self) -> PortResult<Vec<NetworkInfo>> {
        let port = self.inner.networks.clone();
        let work = async move { port.networks().await };
        self.look("networks", CallObject::Host, work).await
    }

    async fn routes(&self) -> PortResult<Option<Vec<HostRoute>>> {
        let port = self.inner.networks.clone();
        let work = async move { port.routes().await };
        self.look("routes", CallObject::Host, work).await
    }

    async fn bridges(&self) -> PortResult<Option<Vec<String>>> {
        let port = self.inner.networks.clone();
        let work = async move { port.bridges().await };
        self.look("bridges", CallObject::Host, work).await
    }

    async fn define_network(&self, spec: &NetworkSpec) -> PortResult<()> {
        let (port, spec) = (self.inner.networks.clone(), spec.clone());
        let object = CallObject::Network(spec.name.clone());
        let work = async move { port.define_network(&spec).await };
        self.act("define_network", object, work).await
    }

    async fn start_network(&self, name: &str) -> PortResult<()> {
        let (port, name) = (self.inner.networks.clone(), name.to_owned());
        let object = CallObject::Network(name.clone());
        let work = async move { port.start_network(&name).await };
        self.act("start_network", object, work).await
    }

    async fn remove_network(&self, name: &str, uuid: Uuid) -> PortResult<Removed> {
        let (port, name) = (self.inner.networks.clone(), name.to_owned());
        let object = CallObject::Network(name.clone());
        let work = async move { port.remove_network(&name, uuid).await };
        self.act("remove_network", object, work).await
    }

    async fn change_network(
        &self,
        name: &str,
        uuid: Uuid,
        change: &NetworkChange,
    ) -> PortResult<()> {
        let (port, name) = (self.inner.networks.clone(), name.to_owned());
        let (object, change) = (CallObject::Network(name.clone()), change.clone());
        let work = async move { port.change_network(&name, uuid, &change).await };
        self.act("change_network", object, work).await
    }

    async fn dial(
        &self,
        address: IpAddr,
        port: u16,
        within: Duration,
    ) -> PortResult<Box<dyn GuestStream>> {
        let networks = self.inner.networks.clone();
        let work = async move { networks.dial(address, port, within).await };
        self.look("dial", CallObject::Host, work).await
    }
}

#[async_trait]
impl<W: CallPath> ConsolePort for GatedPorts<W> {
    async fn read(
        &self,
        log: &VolumeKey,
        position: ConsolePosition,
        max: u64,
    ) -> PortResult<ConsoleChunk> {
        let (port, log) = (self.inner.console.clone(), log.clone());
        let object = CallObject::Volume(log.clone());
        let work = async move { port.read(&log, position, max).await };
        self.look("console_read", object, work).await
    }

    async fn end(&self, log: &VolumeKey) -> PortResult<ConsolePosition> {
        let (port, log) = (self.inner.console.clone(), log.clone());
        let object = CallObject::Volume(log.clone());
        self.look("console_end", object, async move { port.end(&log).await })
            .await
    }
}

struct Sink<W> {
    /// Locked by each piece until it was sent, even if its caller is dead, so that pieces arrive in order.
    inner: SharedSink,
    host: String,
    key: VolumeKey,
    way: Arc<W>,
}

type SharedSink = Arc<Mutex<Option<Box<dyn UploadSink>>>>;

const OVER: &str = "the upload is over";

impl<W> Sink<W> {
    fn call(&self, name: &'static str) -> PortCall {
        PortCall {
            host: self.host.clone(),
            name,
            object: CallObject::Volume(self.key.clone()),
            kind: CallKind::Effect,
            ground: None,
        }
    }
}

#[async_trait]
impl<W: CallPath> UploadSink for Sink<W> {
    async fn send(&mut self, bytes: Bytes) -> PortResult<()> {
        let shared = self.inner.clone();
        let work = async move {
            let mut held = shared.lock().await;
            held.as_mut().expect(OVER).send(bytes).await
        };
        self.way.go(self.call("send"), work).await
    }

    async fn send_hole(&mut self, length: u64) -> PortResult<()> {
        let shared = self.inner.clone();
        let work = async move {
            let mut held = shared.lock().await;
            held.as_mut().expect(OVER).send_hole(length).await
        };
        self.way.go(self.call("send_hole"), work).await
    }

    async fn finish(self: Box<Self>) -> PortResult<Option<String>> {
        let shared = self.inner.clone();
        let work = async move {
            let sink = shared.lock().await.take().expect(OVER);
            sink.finish().await
        };
        self.way.go(self.call("finish"), work).await
    }

    async fn abort(self: Box<Self>) {
        if let Some(sink) = self.inner.lock().await.take() {
            sink.abort().await;
        }
    }
}
