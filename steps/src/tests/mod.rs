//! Tests of steps on the simulated host, with a harness that runs a step as the engine does.

mod behind;
mod boot_disks;
mod console;
mod disks;
mod early_ends;
mod endings;
mod faults;
mod filling;
mod guarded_names;
mod guests;
mod hostile;
mod images;
mod incarnations;
mod memory;
mod moved;
mod own_disks;
mod provision;
mod removal;
mod resume;
mod simulated;
mod snapshots;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vsiflow_engine::{
    checkpoint::{Checkpoints as _, MemoryCheckpoints},
    model::{EntityId, Failure, FailureClass, Name, ObjectInUse, Objects, RunId, Text},
    secret::{MemorySecrets, Secret, Secrets as _},
    step::{
        Done, ObjectChange, ObjectFact, ObjectLedger, Observed, ReconcileStatus, Recorded, Step,
        StepContext,
    },
};

use crate::{
    image::{self, BaseImage},
    names,
    ports::{HostPorts, Hosts, PortResult, VolumeKey, conformance::unguarded},
    sim::{SimHost, SimHosts, SimSource},
    vsi,
};

pub(crate) const HOST: &str = "lpar-1";
pub(crate) const POOL: &str = "images";
pub(crate) const URL: &str = "http://images.test/hpcr.qcow2";
pub(crate) const INTERVAL: u64 = 64 * 1024;
pub(crate) const CONTRACT: &str = "workload: w\nenv: e\n";

/// A journal's records of one VSI and its image, on one simulated host.
pub(crate) struct World {
    pub(crate) hosts: Arc<SimHosts>,
    pub(crate) source: Arc<SimSource>,
    pub(crate) secrets: Arc<MemorySecrets>,
    checkpoints: Arc<MemoryCheckpoints>,
    outputs: Mutex<BTreeMap<Name, Vec<u8>>>,
    intents: Mutex<BTreeSet<&'static str>>,
    pub(crate) previous: Mutex<Option<Vec<u8>>>,
    pub(crate) uuid: Uuid,
    pub(crate) journal: &'static str,
    pub(crate) contract: Name,
    pub(crate) sequence: u64,
    runs: Mutex<u32>,
    /// The number of the next attempt.
    pub(crate) number: AtomicU32,
    /// What the journal records of attempts and of objects.
    pub(crate) attempted: Arc<Mutex<Attempted>>,
    pub(crate) stopped: CancellationToken,
    pub(crate) ledger: Arc<Ledger>,
}

/// What a journal records of attempts and of objects.
#[derive(Default)]
pub(crate) struct Attempted {
    steps: BTreeSet<(RunId, Name)>,
    /// Whether another run waits for the entity.
    awaited: bool,
    /// The objects of other entities.
    pub(crate) others: BTreeMap<EntityId, Objects>,
}

/// The hosts of a journal that was restored from a backup, which may have forgotten what it did there.
pub(crate) struct HostsOfRestored(pub(crate) Arc<SimHosts>);

#[async_trait]
impl Hosts for HostsOfRestored {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        self.0.host(id).await
    }

    async fn others(&self, id: &str) -> Vec<String> {
        self.0.others(id).await
    }

    fn has_forgotten(&self) -> bool {
        true
    }
}

struct Book(Arc<Mutex<Attempted>>);

impl Recorded for Book {
    fn was_attempted(&self, run: RunId, step: &Name) -> bool {
        self.0.lock().unwrap().steps.contains(&(run, step.clone()))
    }

    fn status_of(&self, _: &EntityId) -> Option<ReconcileStatus> {
        None
    }

    fn was_intended(&self, _: &EntityId, step: &Name) -> bool {
        let attempted = &self.0.lock().unwrap().steps;
        attempted.iter().any(|(_, attempted)| attempted == step)
    }

    fn has_open_run(&self, _: &EntityId) -> bool {
        false
    }

    fn is_awaited(&self, _: &EntityId) -> bool {
        self.0.lock().unwrap().awaited
    }

    fn objects_of(&self, owner: &EntityId) -> Option<Objects> {
        self.0.lock().unwrap().others.get(owner).cloned()
    }
}

/// The objects of the entity, and whether their destruction is ordered.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) objects: Objects,
    pub(crate) unordered: AtomicBool,
    pub(crate) facts: Mutex<Vec<ObjectFact>>,
}

impl Ledger {
    /// What the steps recorded of the objects of other entities.
    pub(crate) fn others(&self) -> BTreeMap<EntityId, Objects> {
        let mut others: BTreeMap<EntityId, Objects> = BTreeMap::new();
        for fact in self.facts.lock().unwrap().iter() {
            let ObjectFact::Of {
                owner,
                object,
                change,
            } = fact
            else {
                continue;
            };
            let objects = others.entry(owner.clone()).or_default();
            objects.begun.remove(object);
            match change {
                ObjectChange::Begun => {
                    objects.begun.insert(object.clone());
                    objects.newest = Some(object.clone());
                }
                ObjectChange::Made(identity) => {
                    objects.made.insert(object.clone(), identity.clone());
                }
                ObjectChange::InUse => {
                    objects.in_use = Some(ObjectInUse {
                        object: object.clone(),
                        generation: 1,
                    });
                }
                ObjectChange::Gone => {
                    objects.made.remove(object);
                }
            }
        }
        others
    }
}

#[async_trait]
impl ObjectLedger for Ledger {
    fn objects(&self) -> &Objects {
        &self.objects
    }

    async fn record(&self, fact: ObjectFact) -> Result<(), Failure> {
        let destroys = matches!(
            fact,
            ObjectFact::Destroying { .. } | ObjectFact::Replacing { .. }
        );
        if destroys && self.unordered.load(Ordering::Relaxed) {
            return Err(Failure::new(
                FailureClass::Blocked,
                "VSI0041",
                "not ordered",
            ));
        }
        self.facts.lock().unwrap().push(fact);
        Ok(())
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_contract(CONTRACT).await
    }

    pub(crate) async fn with_contract(contract: &str) -> Self {
        let secrets = Arc::new(MemorySecrets::new());
        let contract = secrets.put(Secret::new(contract)).await.unwrap();
        Self {
            hosts: Arc::new(SimHosts::in_memory()),
            source: Arc::new(SimSource::with_size(300_000)),
            secrets,
            checkpoints: Arc::new(MemoryCheckpoints::default()),
            outputs: Mutex::default(),
            intents: Mutex::default(),
            previous: Mutex::default(),
            journal: "journal-a",
            uuid: Uuid::from_u128(0x0102_0304_0506_4708_890a_0b0c_0d0e_0f10),
            contract,
            sequence: 5,
            runs: Mutex::new(1),
            number: AtomicU32::new(1),
            attempted: Arc::default(),
            stopped: CancellationToken::new(),
            ledger: Arc::default(),
        }
    }

    /// Sets whether an open run waits for the entity, in the journal's records.
    pub(crate) fn is_awaited(&self, awaited: bool) {
        self.attempted.lock().unwrap().awaited = awaited;
    }

    fn run(&self) -> RunId {
        format!("{:026}", self.runs.lock().unwrap())
            .parse()
            .unwrap()
    }

    pub(crate) async fn sim(&self) -> Arc<SimHost> {
        self.hosts.sim(HOST).await.unwrap()
    }

    pub(crate) async fn ports(&self) -> HostPorts {
        self.hosts.host(HOST).await.unwrap()
    }

    /// The guest is off at once, by nobody's step.
    pub(crate) async fn power_off(&self) {
        let domains = self.ports().await.domains;
        domains.destroy(self.uuid).await.unwrap();
    }

    pub(crate) fn cx(&self, node: &str, intended_before: bool) -> StepContext {
        StepContext {
            entity: EntityId::new(Name::of("vsi"), self.uuid.to_string()).unwrap(),
            generation: 1,
            run: self.run(),
            node: Name::of(node),
            attempt: self.number.load(Ordering::Relaxed),
            intended_before,
            journal_id: self.journal.into(),
            sequence: self.sequence,
            recorded: Arc::new(Book(self.attempted.clone())),
            stopped: self.stopped.clone(),
            outputs: Arc::new(self.outputs.lock().unwrap().clone()),
            previous: self.previous.lock().unwrap().clone().map(Into::into),
            checkpoints: self.checkpoints.clone(),
            progress: Arc::new(|_| ()),
            ledger: self.ledger.clone(),
            advanced: Arc::default(),
        }
    }

    /// Makes one attempt as the engine does: the intent is recorded once `observe` found work to do.
    pub(crate) async fn attempt<S: Step>(
        &self,
        step: &S,
        params: &S::Params,
    ) -> Result<Done<S::Output>, Failure> {
        let intended = self.intents.lock().unwrap().contains(S::NAME);
        let cx = self.cx(S::NAME, intended);
        let begun = (cx.run, Name::of(S::NAME));
        self.attempted.lock().unwrap().steps.insert(begun);
        let done = match step.observe(&cx, params).await? {
            Observed::Present(output) => Done::present(output),
            Observed::Needed => {
                self.intents.lock().unwrap().insert(S::NAME);
                step.run(&cx, params).await?
            }
        };
        self.record(S::NAME, &done.output);
        Ok(done)
    }

    /// Makes attempts until the step is done; a failure that is not transient ends it.
    pub(crate) async fn drive<S: Step>(
        &self,
        step: &S,
        params: &S::Params,
    ) -> Result<Done<S::Output>, Failure> {
        for _ in 0..30 {
            match self.attempt(step, params).await {
                Err(failure) if failure.class == FailureClass::Transient => {}
                decided => return decided,
            }
        }
        panic!("{} never ends", S::NAME);
    }

    pub(crate) fn record<T: serde::Serialize>(&self, node: &str, output: &T) {
        let bytes = serde_json::to_vec(output).unwrap();
        self.outputs.lock().unwrap().insert(Name::of(node), bytes);
    }

    /// Replaces the journal by an older copy, without the attempts so far.
    pub(crate) fn roll_back(&self) {
        self.attempted.lock().unwrap().steps.clear();
    }

    pub(crate) fn intend(&self, step: &'static str) {
        self.intents.lock().unwrap().insert(step);
    }

    /// Begins a new run of the same entity, after one that succeeded with this output.
    pub(crate) async fn next_run(&self, previous: Option<&BaseImage>) {
        self.checkpoints.forget(self.run()).await.unwrap();
        *self.runs.lock().unwrap() += 1;
        self.outputs.lock().unwrap().clear();
        *self.previous.lock().unwrap() = previous.map(|image| serde_json::to_vec(image).unwrap());
    }

    /// An administrator of the host deletes the volume.
    pub(crate) async fn delete_by_hand(&self, key: &VolumeKey) {
        let storage = self.ports().await.storage;
        storage.delete(&unguarded::deletion(key)).await.unwrap();
    }

    /// An administrator of the host starts the domain.
    pub(crate) async fn start_by_hand(&self) {
        let domains = self.ports().await.domains;
        domains.start(&unguarded::start(self.uuid)).await.unwrap();
    }

    pub(crate) fn key(&self, name: &str) -> VolumeKey {
        VolumeKey {
            pool: POOL.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn boot(&self) -> VolumeKey {
        names::boot_disk(POOL, self.uuid, 0)
    }

    pub(crate) fn cidata(&self) -> VolumeKey {
        names::cidata(POOL, self.uuid)
    }

    pub(crate) fn console(&self) -> VolumeKey {
        names::console_log(POOL, self.uuid)
    }

    pub(crate) fn image_params(&self) -> image::Params {
        image::Params {
            host: HOST.to_owned(),
            volume: self.key("hpcr.qcow2"),
            url: URL.to_owned(),
            checksum: None,
        }
    }

    /// Runs the image's step graph to its end.
    pub(crate) async fn ensure_image(&self, params: &image::Params) -> Result<BaseImage, Failure> {
        let (hosts, source) = (self.hosts.clone(), self.source.clone());
        self.drive(&image::Claim::new(hosts.clone(), source.clone()), params)
            .await?;
        self.drive(
            &image::ProbeSource::new(hosts.clone(), source.clone()),
            params,
        )
        .await?;
        self.drive(&self.upload_chunks(), params).await?;
        self.drive(&image::VerifyImage::new(hosts.clone(), source), params)
            .await?;
        Ok(self
            .drive(&image::MarkWhole::new(hosts), params)
            .await?
            .output)
    }

    /// Runs the first step of an image.
    pub(crate) async fn claim(&self, params: &image::Params) -> image::claim::Output {
        let claim = image::Claim::new(self.hosts.clone(), self.source.clone());
        self.attempt(&claim, params).await.unwrap().output
    }

    /// The upload step, which sends small images in many pieces.
    pub(crate) fn upload_chunks(&self) -> image::UploadChunks {
        image::UploadChunks::new(self.hosts.clone(), self.source.clone()).with_interval(INTERVAL)
    }

    /// Runs the VSI's step graph up to its definition.
    pub(crate) async fn define(&self) -> Result<(), Failure> {
        let hosts = self.hosts.clone();
        self.drive(&vsi::ResolveHost::new(hosts.clone()), &self.resolve_host())
            .await?;
        let image = self.ensure_image(&self.image_params()).await?;
        self.record("ensure_base_image", &image);
        self.drive(
            &vsi::CloneBootDisk::new(hosts.clone()),
            &self.clone_boot_disk(),
        )
        .await?;
        let cidata = vsi::WriteCidata::new(hosts.clone(), self.secrets.clone());
        self.drive(&cidata, &self.write_cidata()).await?;
        let log = vsi::CreateConsoleLog::new(hosts.clone());
        self.drive(&log, &self.create_console_log()).await?;
        let disks = vsi::AttachDataDisks::new(hosts.clone());
        self.drive(&disks, &self.attach_data_disks()).await?;
        let networks = vsi::ResolveNetworks::new(hosts.clone());
        self.drive(&networks, &self.resolve_networks()).await?;
        self.drive(&vsi::DefineDomain::new(hosts), &self.define_domain())
            .await?;
        Ok(())
    }

    /// Runs the VSI's whole step graph.
    pub(crate) async fn provision(&self) -> Result<vsi::await_ready::Output, Failure> {
        self.define().await?;
        let hosts = self.hosts.clone();
        self.drive(&vsi::StartDomain::new(hosts.clone()), &self.start_domain())
            .await?;
        let monitor = vsi::AwaitReady::new(hosts);
        Ok(self.drive(&monitor, &self.monitor_console()).await?.output)
    }

    pub(crate) fn resolve_host(&self) -> vsi::resolve_host::Params {
        vsi::resolve_host::Params {
            host: HOST.to_owned(),
            arch: "s390x".to_owned(),
            pool: POOL.to_owned(),
            new: true,
            uuid: None,
            title: String::new(),
            secure: Default::default(),
        }
    }

    pub(crate) fn clone_boot_disk(&self) -> vsi::clone_boot_disk::Params {
        vsi::clone_boot_disk::Params {
            host: HOST.to_owned(),
            uuid: self.uuid,
            volume: self.boot(),
            size: None,
            mode: vsi::clone_boot_disk::Mode::Copy,
            written: false,
            for_start: false,
            new: false,
            replaces: None,
        }
    }

    pub(crate) fn write_cidata(&self) -> vsi::write_cidata::Params {
        vsi::write_cidata::Params {
            host: HOST.to_owned(),
            uuid: self.uuid,
            volume: self.cidata(),
            hostname: "web-1".to_owned(),
            contract: self.contract.clone(),
            network_config: None,
            instance: None,
            seed: Default::default(),
        }
    }

    pub(crate) fn create_console_log(&self) -> vsi::create_console_log::Params {
        vsi::create_console_log::Params {
            host: HOST.to_owned(),
            volume: self.console(),
        }
    }

    pub(crate) fn attach_data_disks(&self) -> vsi::attach_data_disks::Params {
        use crate::{ports::VolumeFormat, vsi::attach_data_disks as step};
        step::Params {
            host: HOST.to_owned(),
            uuid: self.uuid,
            disks: vec![step::Disk {
                name: "data".to_owned(),
                volume: self.key("data-1"),
                create: Some(step::Create {
                    size: 1 << 30,
                    format: VolumeFormat::Qcow2,
                    recorded: false,
                }),
                serial: None,
                format: None,
            }],
            named: Vec::new(),
        }
    }

    pub(crate) fn resolve_networks(&self) -> vsi::resolve_networks::Params {
        let networks = vec!["default".to_owned()];
        vsi::resolve_networks::Params {
            host: HOST.to_owned(),
            networks,
        }
    }

    pub(crate) fn define_domain(&self) -> vsi::define_domain::Params {
        vsi::define_domain::Params {
            boot: Some(self.boot()),
            replaces: None,
            disposable: false,
            host: HOST.to_owned(),
            uuid: self.uuid,
            title: "default/web-1".to_owned(),
            cpus: 2,
            memory_mib: 4096,
            secure: vsi::define_domain::Secure::Auto,
            macs: Vec::new(),
            autostart: true,
            while_running: false,
            platform: None,
            named: Vec::new(),
        }
    }

    pub(crate) fn start_domain(&self) -> vsi::start_domain::Params {
        let (host, uuid, console) = (HOST.to_owned(), self.uuid, self.console());
        vsi::start_domain::Params {
            host,
            uuid,
            console,
            last_boot: Default::default(),
            memory: None,
            named: Vec::new(),
        }
    }

    pub(crate) fn monitor_console(&self) -> vsi::await_ready::Params {
        let (host, uuid, console) = (HOST.to_owned(), self.uuid, self.console());
        vsi::await_ready::Params {
            host,
            uuid,
            namespace: "default".to_owned(),
            console,
            deadline_s: 60,
            cards: Vec::new(),
            guest: Default::default(),
            probes: Vec::new(),
        }
    }
}

pub(crate) fn code<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    result.unwrap_err().code.to_string()
}
