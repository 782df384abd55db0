//! What the engine costs: many VSIs provisioned on simulated hosts, then watched.
//!
//! usage: fleet [--json] [--vsis N] [--hosts N] [--watch SECONDS] [DIR]
//!
//! The journal and all stores are real ones, in DIR (a temporary folder by default); the hosts are
//! simulated in memory, in real time. Processor time counts the simulation as well.

use std::{collections::BTreeMap, error::Error, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;
use vsiflow_engine::{
    clock::SystemClock,
    executor::{By, Tuning},
    model::{Actor, Text, Who},
    secret::Secret,
    state_dir::StateDir,
};
use vsiflow_steps::sim::{SimHosts, SimSource};
use vsiflow_workflows::{
    fleet::{Fleet, FleetParts, Verdict, WATCHERS},
    hosts::HostDirectory,
    spec::{DocumentRef, HostRecord, HostSettings, Resolved, ResolvedVsi},
    wanted::vsi_entity,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Options {
    json: bool,
    vsis: u32,
    hosts: u32,
    watch: Duration,
    dir: Option<PathBuf>,
}

fn options() -> Result<Options> {
    let mut options = Options {
        json: false,
        vsis: 1_000,
        hosts: 10,
        watch: Duration::from_secs(120),
        dir: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().unwrap_or_default().parse::<u32>();
        match word.as_str() {
            "--json" => options.json = true,
            "--vsis" => options.vsis = number()?,
            "--hosts" => options.hosts = number()?.max(1),
            "--watch" => options.watch = Duration::from_secs(number()?.into()),
            _ if word.starts_with('-') => return Err(format!("{word} is not known").into()),
            _ => options.dir = Some(word.into()),
        }
    }
    Ok(options)
}

fn host(number: u32) -> HostSettings {
    HostSettings {
        record: HostRecord::Sim {
            name: Some(format!("host-{number}")),
            upload_limit: None,
        },
        key: None,
        image_secret: None,
    }
}

fn uid(number: u32) -> Uuid {
    Uuid::from_u128(0x0102_0304_0506_4708_890a_0000_0000_0000 + u128::from(number))
}

fn vsi(number: u32, hosts: u32) -> Result<ResolvedVsi> {
    let desired = serde_json::json!({
        "namespace": "default", "name": format!("vsi-{number}"), "uid": uid(number),
        "host": host(number % hosts).id(), "pool": "images",
        "image": {"url": "http://images.test/hpcr.qcow2", "fileName": "hpcr.qcow2"},
        "bootDisk": {"mode": "copy"},
        "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
        "networks": ["default"], "disks": [],
        "updatePolicy": "Automatic", "deletionPolicy": "Retain",
    });
    Ok(ResolvedVsi {
        desired: serde_json::from_value(desired)?,
        contract: Secret::new("workload: w\nenv: e\n".to_owned()),
        image_url: None,
        at: DocumentRef {
            index: 0,
            source: "fleet".to_owned(),
            line: None,
        },
        selects_disks: true,
        selects_networks: true,
        missing: Vec::new(),
        lacking: Vec::new(),
    })
}

fn documents(options: &Options) -> Result<Resolved> {
    let vsis = (0..options.vsis).map(|number| vsi(number, options.hosts));
    let hosts = (0..options.hosts).map(host);
    Ok(Resolved {
        vsis: vsis.collect::<Result<_>>()?,
        data_disks: Vec::new(),
        hosts: hosts
            .map(|host| (host.id(), host))
            .collect::<BTreeMap<_, _>>(),
        references: Default::default(),
        lacking: Vec::new(),
        directory: None,
    })
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

fn rss_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kib.unwrap_or("0").parse::<f64>()? / 1_024.0)
}

async fn open(state: &StateDir) -> Result<Fleet> {
    let parts = FleetParts {
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

async fn provision(fleet: &Fleet, options: &Options) -> Result<()> {
    let by = By {
        actor: Actor::Unix {
            uid: 0,
            name: Who::new("bench"),
        },
        reason: Text::new("a benchmark"),
    };
    fleet.apply(documents(options)?, by).await?;
    for number in 0..options.vsis {
        match fleet.decided(&vsi_entity(uid(number))?).await? {
            Verdict::Reached => {}
            other => return Err(format!("vsi-{number}: {other:?}").into()),
        }
    }
    Ok(())
}

/// Processor time of one core while everything is watched, in percent, and how many looks at a
/// whole host that were.
async fn watch(fleet: &Fleet, options: &Options) -> Result<(f64, usize)> {
    const EVERY: Duration = Duration::from_secs(30);
    let (sender, mut looks) = mpsc::channel(WATCHERS);
    let watching = fleet.clone();
    let watcher = tokio::spawn(async move { watching.watch(EVERY, sender).await.map(drop) });
    // The first looks come all at once; what is measured is how it goes on.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (begun, before) = (Instant::now(), processor_s()?);
    let mut whole = 0;
    let until = begun + options.watch;
    while let Ok(Some(look)) = tokio::time::timeout_at(until, looks.recv()).await {
        whole += usize::from(look.whole);
        if !look.looked.drifted.is_empty() || !look.looked.unreachable.is_empty() {
            return Err(format!("{:?}", look.looked).into());
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let percent = (processor_s()? - before) / took * 100.0;
    watcher.abort();
    Ok((percent, whole))
}

#[tokio::main]
async fn main() -> Result<()> {
    let options = options()?;
    let temporary = tempfile::tempdir()?;
    let dir = options.dir.clone();
    let dir = dir.unwrap_or_else(|| temporary.path().join("state"));
    let state = StateDir::open(&dir)?;
    let fleet = open(&state).await?;
    let (begun, before) = (Instant::now(), processor_s()?);
    provision(&fleet, &options).await?;
    let provision_s = begun.elapsed().as_secs_f64();
    let engine_ms_per_vsi = (processor_s()? - before) * 1_000.0 / f64::from(options.vsis);
    let (cpu_percent, looks) = watch(&fleet, &options).await?;
    let rss_mib = rss_mib()?;
    fleet.close().await;
    if options.json {
        let result = serde_json::json!({
            "cpu_percent": cpu_percent, "rss_mib": rss_mib, "engine_ms_per_vsi": engine_ms_per_vsi,
            "provision_s": provision_s, "vsis": options.vsis, "hosts": options.hosts,
        });
        println!("{result}");
        return Ok(());
    }
    let (vsis, hosts) = (options.vsis, options.hosts);
    println!("{vsis} VSIs on {hosts} simulated hosts");
    println!(
        "  provisioned in {provision_s:.1} s, {engine_ms_per_vsi:.2} ms of processor time each"
    );
    println!(
        "  watched: {cpu_percent:.2} % of one core ({looks} looks at whole hosts), {rss_mib:.0} MiB"
    );
    Ok(())
}
