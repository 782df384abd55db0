//! Measures what a group costs compared with the same VSIs without one, until everything is ready.
//!
//! usage: cluster [--json] [--vsis N] [--hosts N] [--rounds N]
//!
//! `plain` is VSIs with a document each, `pool` is one pool of as many, and `group` is a group of one such
//! pool. All VSIs come from the same template, and placement spreads them over all hosts. The journal and all
//! stores are real; the hosts are simulated in memory and in real time. Each measurement runs in its own
//! process. The result is the median of several rounds, and each round begins with a different way: for a
//! minute after files are deleted, ext4 takes longer to find space for new ones, which would favour the way
//! that always runs first. All files are deleted after the last round.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{
    clock::SystemClock,
    executor::{By, Tuning},
    model::{Actor, EntityId, Text, Who},
    secret::Secret,
    state_dir::StateDir,
};
use vsiflow_steps::sim::{SimHosts, SimSource};
use vsiflow_workflows::{
    fleet::{Fleet, FleetConfig, Verdict},
    hosts::HostDirectory,
    record::{group_entity, pool_entity, vsi_entity},
    spec::{
        DesiredPool, DocumentRef, HostConnection, HostSettings, RecordedFields, Resolved,
        ResolvedPool, ResolvedVsi,
        group::{ResolvedGroup, ResolvedItem, ResolvedWave},
    },
};

/// The allocator that vsiflow itself uses.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The ways to provision the VSIs. They are also the prefixes of the printed figures.
const WAYS: [&str; 3] = ["plain", "pool", "group"];

struct Options {
    json: bool,
    vsis: u32,
    hosts: u32,
    rounds: u32,
    /// Measure this one of [`WAYS`] in this process.
    way: Option<String>,
    /// The folder to use. The parent process creates and deletes it.
    dir: Option<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options {
        json: false,
        vsis: 1_000,
        hosts: 20,
        rounds: 1,
        way: None,
        dir: None,
    };
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut number = || -> Result<u32> {
            let count = words.next().ok_or("a number is missing")?;
            Ok(count.parse::<u32>()?.max(1))
        };
        match word.as_str() {
            "--json" => options.json = true,
            "--vsis" => options.vsis = number()?,
            "--hosts" => options.hosts = number()?,
            "--rounds" => options.rounds = number()?,
            "--way" => options.way = words.next(),
            "--dir" => options.dir = words.next().map(PathBuf::from),
            _ => return Err(format!("{word} is not known").into()),
        }
    }
    Ok(options)
}

impl Options {
    fn hosts(&self) -> BTreeMap<String, HostSettings> {
        let hosts = (0..self.hosts).map(|number| HostConnection::Sim {
            name: Some(format!("host-{number}")),
            upload_limit: None,
            image_policy: None,
        });
        hosts.map(|record| (record.id(), record.into())).collect()
    }

    fn vsi(&self, name: String, uid: Option<Uuid>) -> Result<ResolvedVsi> {
        let candidates: Vec<_> = self.hosts().into_keys().collect();
        let desired = json!({
            "namespace": "default", "name": name, "uid": uid, "host": "", "pool": "images",
            "placement": {"request": {"spread": {"over": "host"}}, "candidates": candidates},
            "image": {"url": "http://images.test/debian.qcow2", "fileName": "debian.qcow2"},
            "bootDisk": {"mode": "copy"}, "guest": {"type": "cloudInit", "hostname": "web"},
            "ready": {"all": [{"cloudInit": {}}]},
            "machine": {"arch": "x86_64", "cpus": 1, "memoryMib": 512},
            "networks": ["default"], "disks": [],
            "updatePolicy": "Automatic", "deletionPolicy": "Delete",
        });
        Ok(ResolvedVsi {
            desired: serde_json::from_value(desired)?,
            contract: Secret::new("#cloud-config\n".to_owned()),
            retains_user_data: false,
            recorded: RecordedFields::default(),
            image_url: None,
            at: at(),
            selects_disks: true,
            selects_networks: true,
            retained_refs: Vec::new(),
            unresolved_refs: Vec::new(),
            placed: None,
        })
    }

    fn pool(&self, name: &str) -> Result<ResolvedPool> {
        Ok(ResolvedPool {
            desired: DesiredPool {
                namespace: "default".to_owned(),
                name: name.to_owned(),
                uid: Some(uid(0)),
                labels: Default::default(),
                replicas: Some(self.vsis),
                strategy: Default::default(),
                update_policy: Default::default(),
                disks: Vec::new(),
                names_guests: true,
                evictable: false,
                of_group: None,
                of_shared_cluster: false,
            },
            template: self.vsi(name.to_owned(), None)?,
            at: at(),
        })
    }

    fn group(&self) -> Result<ResolvedGroup> {
        let mut pool = self.pool("web-all")?;
        pool.desired.uid = None;
        let item = ResolvedItem {
            name: "all".to_owned(),
            single: false,
            remove_after: None,
            pool,
        };
        Ok(ResolvedGroup {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: Some(uid(0)),
            labels: Default::default(),
            release: Default::default(),
            waves: vec![ResolvedWave {
                name: "all".to_owned(),
                gate: Default::default(),
                items: vec![item],
            }],
            outputs: Vec::new(),
            late: Vec::new(),
            of_shared_cluster: false,
            at: at(),
        })
    }

    /// The documents, and the entities that are ready when all VSIs are.
    fn documents(&self, way: &str) -> Result<(Resolved, Vec<EntityId>)> {
        let mut resolved = Resolved {
            hosts: self.hosts(),
            ..Resolved::default()
        };
        let entities = match way {
            "plain" => {
                let numbers = 0..self.vsis;
                let vsis =
                    numbers.map(|number| self.vsi(format!("web-{number}"), Some(uid(number))));
                resolved.vsis = vsis.collect::<Result<_>>()?;
                let all = 0..self.vsis;
                let entities = all.map(|number| vsi_entity(uid(number)));
                entities.collect::<std::result::Result<_, _>>()?
            }
            "pool" => {
                resolved.pools.push(self.pool("web")?);
                vec![pool_entity(uid(0))?]
            }
            "group" => {
                resolved.groups.push(self.group()?);
                vec![group_entity(uid(0))?]
            }
            _ => return Err(format!("{way} is not known").into()),
        };
        Ok((resolved, entities))
    }
}

fn at() -> DocumentRef {
    DocumentRef {
        index: 0,
        source: "cluster".to_owned(),
        line: None,
    }
}

fn uid(number: u32) -> Uuid {
    Uuid::from_u128(0x0102_0304_0506_4708_890a_0000_0000_0000 + u128::from(number))
}

/// Processor seconds of this process so far: user and system time, in `/proc/self/stat`.
fn processor_s() -> Result<f64> {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
    Ok((ticks(11).unwrap_or_default() + ticks(12).unwrap_or_default()) / TICKS)
}

async fn open(state: &StateDir) -> Result<Fleet> {
    let parts = FleetConfig {
        journal: Arc::new(state.journal().await?),
        blobs: Arc::new(state.blobs().await?),
        checkpoints: Arc::new(state.checkpoints().await?),
        secrets: Arc::new(state.secrets().await?),
        clock: Arc::new(SystemClock),
        journal_id: state.journal_id().into(),
        tuning: Tuning::default(),
        room: state.room(),
        lease: state.lease(),
        hosts: Arc::new(SimHosts::in_memory()),
        images: Arc::new(SimSource::with_size(64 << 10)),
        directory: Arc::new(HostDirectory::default()),
    };
    Ok(Fleet::open(parts).await?)
}

/// Provisions all VSIs in an empty folder. Returns wall time and processor time, in seconds.
async fn make(options: &Options, way: &str, dir: &Path) -> Result<Value> {
    let state = StateDir::open(dir.join("state"))?;
    let fleet = open(&state).await?;
    let (resolved, entities) = options.documents(way)?;
    let by = By {
        actor: Actor::Unix {
            uid: 0,
            name: Who::new("bench"),
        },
        reason: Text::new("a benchmark"),
    };
    let (begun, before) = (Instant::now(), processor_s()?);
    Box::pin(fleet.apply(resolved, by)).await?;
    for entity in entities {
        match fleet.decided(&entity).await? {
            Verdict::Reached => {}
            other => return Err(format!("{entity}: {other:?}").into()),
        }
    }
    let (took, processor) = (begun.elapsed().as_secs_f64(), processor_s()? - before);
    let there = fleet.vsis().list(false).await?.len();
    if u32::try_from(there)? != options.vsis {
        return Err(format!("{there} VSIs are there, not {}", options.vsis).into());
    }
    fleet.close().await;
    Ok(json!({"s": took, "cpu_s": processor}))
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = options()?;
    if let Some(way) = &options.way {
        let own = tempfile::tempdir()?;
        let dir = options.dir.as_deref().unwrap_or(own.path());
        let made = Box::pin(make(&options, way, dir)).await?;
        println!("{made}");
        return Ok(());
    }
    let figures = all(&options)?;
    if options.json {
        println!("{}", Value::from(figures));
        return Ok(());
    }
    let figure = |key: String| {
        figures
            .get(&key)
            .and_then(Value::as_f64)
            .unwrap_or_default()
    };
    println!("{} VSIs on {} simulated hosts", options.vsis, options.hosts);
    for way in WAYS {
        let (took, ratio) = (figure(format!("{way}_s")), figure(format!("{way}_ratio")));
        let (processor, of) = (
            figure(format!("{way}_cpu_s")),
            figure(format!("{way}_cpu_ratio")),
        );
        match way {
            "plain" => println!("  {way}: {took:.1} s, {processor:.1} s of processor time"),
            _ => println!(
                "  {way}: {took:.1} s, {ratio:.2} times as long (aim: 1.05), {processor:.1} s of processor time, {of:.2} times"
            ),
        }
    }
    Ok(())
}

/// Measures all ways in turn, so that other load on the machine slows each of them down alike.
fn all(options: &Options) -> Result<Map<String, Value>> {
    let mut seen = BTreeMap::<String, Vec<f64>>::new();
    let all = tempfile::tempdir()?;
    for round in 0..options.rounds {
        let first = usize::try_from(round)? % WAYS.len();
        for way in WAYS.into_iter().cycle().skip(first).take(WAYS.len()) {
            let dir = all.path().join(format!("{round}-{way}"));
            std::fs::create_dir(&dir)?;
            for (key, figure) in in_own_process(options, way, &dir)? {
                let figure = figure.as_f64().ok_or("no number")?;
                seen.entry(format!("{way}_{key}")).or_default().push(figure);
            }
        }
    }
    let medians = seen.into_iter().map(|(key, seen)| (key, median(seen)));
    let medians: BTreeMap<_, _> = medians.collect();
    let mut figures = Map::new();
    for (key, figure) in &medians {
        figures.insert(key.clone(), round(*figure).into());
    }
    for way in WAYS.into_iter().skip(1) {
        for (ratio, key) in [("ratio", "s"), ("cpu_ratio", "cpu_s")] {
            let of = |other_way: &str| {
                medians
                    .get(&format!("{other_way}_{key}"))
                    .copied()
                    .unwrap_or(f64::NAN)
            };
            let figure = round(of(way) / of("plain"));
            figures.insert(format!("{way}_{ratio}"), figure.into());
        }
    }
    figures.insert("vsis".to_owned(), options.vsis.into());
    figures.insert("hosts".to_owned(), options.hosts.into());
    Ok(figures)
}

fn in_own_process(options: &Options, way: &str, dir: &Path) -> Result<Map<String, Value>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--way", way]).arg("--dir").arg(dir);
    command.args(["--vsis", &options.vsis.to_string()]);
    command.args(["--hosts", &options.hosts.to_string()]);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{way} ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
