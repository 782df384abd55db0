//! Measures a restart of the operator, from opening the state directory until the process is idle.
//!
//! usage: operator [--json] [--resources N]… [DIR]
//!
//! For each count, one process creates the resources and another one starts on them, with the
//! journal and all stores on disk. The API server is the fake of the unit tests. It runs in the same
//! process, so it counts in time and memory. All VSIs are on one simulated host. The process is idle
//! when it has scanned the host and then used less than a twentieth of one processor for a second.

use std::{
    error::Error,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;
use vsiflow_engine::{
    clock::{Clock, SystemClock},
    executor::Tuning,
    model::Timestamp,
    secret::HeldSecrets,
    state_dir::StateDir,
};
use vsiflow_kube::{Namespaces, Operator};
use vsiflow_steps::sim::{SimHosts, SimSource};
use vsiflow_workflows::{
    fleet::{Fleet, FleetConfig, HostScan, SCAN_QUEUE},
    hosts::HostDirectory,
    spec::HostSettings,
};

#[allow(
    dead_code,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::string_slice
)]
#[path = "../src/fake.rs"]
mod fake;

/// The allocator that vsiflow itself uses.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HOST: &str = "sim:a";
const VSIS: &str = "onprem-hpcrs";
/// How often hosts are scanned.
const INTERVAL: Duration = Duration::from_secs(30);
/// The process is idle in a second in which it uses less than this share of a processor.
const QUIET: f64 = 0.05;
/// The age of the resources at the restart, in milliseconds, so that none of their changes counts as recent.
const AGE_MS: u64 = 3_600_000;

/// A clock that is [`AGE_MS`] behind: the process that restarts sees old events only.
struct PastClock;

#[async_trait]
impl Clock for PastClock {
    fn now(&self) -> Timestamp {
        Timestamp(SystemClock.now().0.saturating_sub(AGE_MS))
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

struct Serving {
    server: fake::FakeServer,
    fleet: Fleet,
    state: StateDir,
    looks: mpsc::Receiver<HostScan>,
}

/// Serves the resources of the API server, as `serve --kube` does.
async fn serve(
    dir: &Path,
    server: fake::FakeServer,
    hosts: Arc<SimHosts>,
    clock: Arc<dyn Clock>,
) -> Result<Serving> {
    let state = StateDir::open(dir.join("state"))?;
    let stored = state.secrets().await?;
    let held = HeldSecrets::instead_of(&stored, state.journal_id()).await?;
    let parts = FleetConfig {
        journal: Arc::new(state.journal().await?),
        blobs: Arc::new(state.blobs().await?),
        checkpoints: Arc::new(state.checkpoints().await?),
        secrets: Arc::new(held),
        clock,
        journal_id: state.journal_id().into(),
        tuning: Tuning::default(),
        room: state.room(),
        lease: state.lease(),
        hosts,
        images: Arc::new(SimSource::with_size(64 << 10)),
        directory: Arc::new(HostDirectory::default()),
    };
    let fleet = Fleet::open(parts).await?;
    let host: HostSettings = HOST.parse().map_err(|_| "no host")?;
    let namespaces = Namespaces::These(vec!["default".to_owned()]);
    let operator = Operator::new(server.client(), fleet.clone(), &namespaces, Some(host));
    let mut delivered = operator.delivered();
    tokio::spawn(operator.run());
    delivered.wait_for(|done| *done).await?;
    fleet.drive_all().await?;
    let (sender, looks) = mpsc::channel(SCAN_QUEUE);
    let watching = fleet.clone();
    tokio::spawn(async move { watching.hosts().watch(INTERVAL, sender).await.map(drop) });
    Ok(Serving {
        server,
        fleet,
        state,
        looks,
    })
}

fn resource(number: u32) -> Value {
    json!({
        "apiVersion": "hpse.ibm.com/v1", "kind": "HyperProtectContainerRuntimeOnPrem",
        "spec": {
            "contract": format!("workload: w{number}\nenv: e\n"),
            "imageURL": "http://images.test/hpcr.qcow2",
            "storagePool": "images",
            "targetSelector": {"matchLabels": {"config": "a"}},
        },
    })
}

async fn make(dir: &Path, resources: u32) -> Result<()> {
    let server = fake::FakeServer::new();
    for number in 0..resources {
        // The MAC address is derived from the first six bytes, so these differ.
        let uid = Uuid::from_u128((u128::from(number) << 88) + 0x4708_890a_0000_0000_0000);
        server.apply(VSIS, &format!("vsi-{number}"), uid, resource(number));
    }
    let hosts = Arc::new(SimHosts::in_memory());
    let sim = hosts.sim(HOST).await?;
    let mut serving = serve(dir, server, hosts, Arc::new(PastClock)).await?;
    loop {
        let received = tokio::time::timeout(Duration::from_secs(1), serving.looks.recv());
        let _ = received.await;
        let all = serving.server.all(VSIS);
        let phase = |object: &Value| object.pointer("/status/phase").cloned();
        let ready = all
            .iter()
            .filter(|one| phase(one) == Some(json!("Running")));
        let ready = ready.count();
        eprint!("\r{ready} of {resources} are made ");
        if ready == all.len() && serving.fleet.is_quiet() {
            break;
        }
    }
    eprintln!();
    // By then the last changes are in the status.
    tokio::time::sleep(Duration::from_secs(5)).await;
    serving.fleet.close().await;
    let objects = serde_json::to_vec(&serving.server.all(VSIS))?;
    std::fs::write(dir.join("objects.json"), objects)?;
    let folder = dir.join("hosts").join("host-sim%3aa");
    std::fs::create_dir_all(&folder)?;
    let state = sim.with(|state| serde_json::to_vec(state)).await?;
    std::fs::write(folder.join("state.json"), state)?;
    drop(serving.state);
    Ok(())
}

async fn restart(dir: &Path) -> Result<Value> {
    let server = fake::FakeServer::new();
    let objects: Vec<Value> = serde_json::from_slice(&std::fs::read(dir.join("objects.json"))?)?;
    for object in objects {
        server.load(VSIS, object);
    }
    let hosts = Arc::new(SimHosts::in_folder(dir.join("hosts")));
    let begun = Instant::now();
    let mut serving = serve(dir, server, hosts, Arc::new(SystemClock)).await?;
    let opened = begun.elapsed();
    let look = serving.looks.recv().await.ok_or("nobody looks")?;
    if !look.report.drifted.is_empty() || !look.report.unreachable.is_empty() {
        return Err(format!("{:?}", look.report).into());
    }
    let took = begun.elapsed();
    let quiet = quiet_after(begun).await?;
    let writes = ["PATCH ", "PUT ", "POST "].map(|method| serving.server.requests(&[method]));
    let figures = json!({
        "restart_s": round(quiet.as_secs_f64()), "opened_s": round(opened.as_secs_f64()),
        "looked_s": round(took.as_secs_f64()), "processor_s": round(processor_s()?),
        "rss_mib": round(rss_mib()?), "writes": writes.iter().sum::<usize>(),
    });
    serving.fleet.close().await;
    Ok(figures)
}

/// The time from `begun` until the process became idle.
async fn quiet_after(begun: Instant) -> Result<Duration> {
    loop {
        let (quiet, before) = (begun.elapsed(), processor_s()?);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if processor_s()? - before < QUIET {
            return Ok(quiet);
        }
    }
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

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}

/// Runs a stage in its own process, so that the restarted process holds no memory of creating the resources.
fn stage(name: &str, dir: &Path, resources: u32) -> Result<Value> {
    std::fs::create_dir_all(dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--stage", name, "--resources", &resources.to_string()]);
    let output = command.arg(dir).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("stage {name} ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn all(counts: &[u32], dir: &Path, as_json: bool) -> Result<()> {
    let mut figures = serde_json::Map::new();
    for count in counts {
        let dir = dir.join(count.to_string());
        stage("make", &dir, *count)?;
        let found = stage("restart", &dir, *count)?;
        let name = match count % 1_000 {
            0 => format!("{}k", count / 1_000),
            _ => count.to_string(),
        };
        let part = |key: &str| found.get(key).cloned().unwrap_or_default();
        if !as_json {
            let (took, rss) = (part("restart_s"), part("rss_mib"));
            println!("{count} resources: quiet after {took} s, {rss} MiB");
        }
        figures.insert(format!("restart_{name}_s"), part("restart_s"));
        figures.insert(format!("processor_{name}_s"), part("processor_s"));
        figures.insert(format!("writes_{name}"), part("writes"));
        figures.insert("rss_mib".to_owned(), part("rss_mib"));
    }
    if as_json {
        println!("{}", Value::from(figures));
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let (mut as_json, mut counts, mut dir) = (false, Vec::new(), None::<PathBuf>);
    let mut which = "all".to_owned();
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => as_json = true,
            "--stage" => which = words.next().unwrap_or_default(),
            "--resources" => counts.push(words.next().unwrap_or_default().parse()?),
            _ if word.starts_with('-') => return Err(format!("{word} is not known").into()),
            _ => dir = Some(word.into()),
        }
    }
    let temporary = tempfile::tempdir()?;
    let dir = dir.unwrap_or_else(|| temporary.path().to_owned());
    match (which.as_str(), counts.as_slice()) {
        ("make", [resources]) => {
            make(&dir, *resources).await?;
            println!("{{}}");
        }
        ("restart", _) => println!("{}", restart(&dir).await?),
        // The largest count is last, because `rss_mib` reports the last one.
        (_, []) => all(&[1_000, 10_000], &dir, as_json)?,
        (_, counts) => all(counts, &dir, as_json)?,
    }
    Ok(())
}
