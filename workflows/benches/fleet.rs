//! Measures what the engine costs: provisions many VSIs on simulated hosts, then watches them.
//!
//! usage: fleet [--json] [--vsis N] [--hosts N] [--watch SECONDS] [--probes] [DIR]
//!        fleet --stage record [--vsis N] [--hosts N] DIR
//!
//! With `--probes` the guests have cloud-init, an agent and ports, and these are also checked after they were
//! ready.
//!
//! `--stage record` makes the state directory DIR/state for a benchmark of `vsiflow` itself. Its VSIs ran on
//! hosts that are reached over SSH and do not answer any more.
//!
//! The journal and all stores are real, in DIR (a temporary folder by default). The hosts are simulated
//! in real time: in memory to measure provisioning, and on disk to measure watching, where one process
//! makes the VSIs and another one watches them. Processor time includes the simulation.

use std::{
    collections::BTreeMap,
    error::Error,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use serde_json::{Map, Value};

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
    fleet::{Fleet, FleetConfig, SCAN_QUEUE, Verdict},
    hosts::HostDirectory,
    record::vsi_entity,
    spec::{DocumentRef, HostConnection, HostSettings, RecordedFields, Resolved, ResolvedVsi},
};

/// The allocator that vsiflow itself uses.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Options {
    json: bool,
    vsis: u32,
    hosts: u32,
    watch: Duration,
    probes: bool,
    dir: Option<PathBuf>,
    stage: Stage,
}

#[derive(Clone, Copy)]
enum Stage {
    All,
    Provision,
    Make,
    Watch,
    Record,
}

fn number(word: Option<String>) -> Result<u32> {
    Ok(word.unwrap_or_default().parse()?)
}

fn options() -> Result<Options> {
    let mut options = Options {
        json: false,
        vsis: 1_000,
        hosts: 10,
        watch: Duration::from_secs(120),
        probes: false,
        dir: None,
        stage: Stage::All,
    };
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match word.as_str() {
            "--json" => options.json = true,
            "--probes" => options.probes = true,
            "--stage" => {
                options.stage = match words.next().as_deref() {
                    Some("provision") => Stage::Provision,
                    Some("make") => Stage::Make,
                    Some("record") => Stage::Record,
                    _ => Stage::Watch,
                }
            }
            "--vsis" => options.vsis = number(words.next())?,
            "--hosts" => options.hosts = number(words.next())?.max(1),
            "--watch" => options.watch = Duration::from_secs(number(words.next())?.into()),
            _ if word.starts_with('-') => return Err(format!("{word} is not known").into()),
            _ => options.dir = Some(word.into()),
        }
    }
    Ok(options)
}

impl Options {
    fn host(&self, number: u32) -> Result<HostSettings> {
        let record = match self.stage {
            // Nothing listens on these ports of this machine.
            Stage::Record => {
                let ssh =
                    serde_json::json!({"host": "127.0.0.1", "port": number + 1, "user": "root"});
                HostConnection::Ssh(serde_json::from_value(ssh)?)
            }
            _ => HostConnection::Sim {
                name: Some(format!("host-{number}")),
                upload_limit: None,
                image_policy: None,
            },
        };
        Ok(record.into())
    }
}

fn uid(number: u32) -> Uuid {
    Uuid::from_u128(0x0102_0304_0506_4708_890a_0000_0000_0000 + u128::from(number))
}

fn vsi(number: u32, options: &Options) -> Result<ResolvedVsi> {
    let (arch, guest, ready) = if options.probes {
        (
            "x86_64",
            serde_json::json!({"type": "cloudInit", "hostname": "web"}),
            serde_json::json!({"all": [
                {"cloudInit": {}}, {"agent": {}}, {"tcp": 22}, {"http": {"port": 80, "path": "/"}},
            ]}),
        )
    } else {
        ("s390x", Value::Null, Value::Null)
    };
    let desired = serde_json::json!({
        "namespace": "default", "name": format!("vsi-{number}"), "uid": uid(number),
        "host": options.host(number % options.hosts)?.id(), "pool": "images",
        "image": {"url": "http://images.test/hpcr.qcow2", "fileName": "hpcr.qcow2"},
        "bootDisk": {"mode": "copy"}, "guest": guest, "ready": ready,
        "machine": {"arch": arch, "cpus": 2, "memoryMib": 4096},
        "networks": ["default"], "disks": [],
        "updatePolicy": "Automatic", "deletionPolicy": "Retain",
    });
    Ok(ResolvedVsi {
        desired: serde_json::from_value(desired)?,
        contract: Secret::new("workload: w\nenv: e\n".to_owned()),
        retains_user_data: false,
        recorded: RecordedFields::default(),
        image_url: None,
        at: DocumentRef {
            index: 0,
            source: "fleet".to_owned(),
            line: None,
        },
        selects_disks: true,
        selects_networks: true,
        retained_refs: Vec::new(),
        unresolved_refs: Vec::new(),
        placed: None,
    })
}

fn documents(options: &Options) -> Result<Resolved> {
    let vsis = (0..options.vsis).map(|number| vsi(number, options));
    let hosts = (0..options.hosts).map(|number| options.host(number));
    let hosts = hosts.map(|host| host.map(|host| (host.id(), host)));
    Ok(Resolved {
        vsis: vsis.collect::<Result<_>>()?,
        hosts: hosts.collect::<Result<BTreeMap<_, _>>>()?,
        ..Resolved::default()
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

async fn open(state: &StateDir, hosts: SimHosts) -> Result<Fleet> {
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
        hosts: Arc::new(hosts),
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

/// Processor time while everything is watched, in percent of one core, and the number of scans of
/// whole hosts.
async fn watch(fleet: &Fleet, options: &Options) -> Result<(f64, usize)> {
    const INTERVAL: Duration = Duration::from_secs(30);
    let (sender, mut looks) = mpsc::channel(SCAN_QUEUE);
    let watching = fleet.clone();
    let watcher =
        tokio::spawn(async move { watching.hosts().watch(INTERVAL, sender).await.map(drop) });
    // The first scans all start together, so the measurement begins after them.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (begun, before) = (Instant::now(), processor_s()?);
    let mut whole = 0;
    let until = begun + options.watch;
    while let Ok(Some(look)) = tokio::time::timeout_at(until, looks.recv()).await {
        whole += usize::from(look.whole);
        if !look.report.drifted.is_empty() || !look.report.unreachable.is_empty() {
            return Err(format!("{:?}", look.report).into());
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
    let dir = options.dir.clone();
    match (options.stage, dir) {
        (Stage::All, dir) => all(&options, dir),
        (_, None) => Err("a stage needs a folder".into()),
        (Stage::Provision, Some(dir)) => {
            let hosts = SimHosts::in_memory();
            let (state, fleet) = start(&dir, hosts).await?;
            let figures = provisioned(&fleet, &options).await?;
            fleet.close().await;
            drop(state);
            println!("{figures}");
            Ok(())
        }
        (Stage::Record, Some(dir)) => {
            let (_state, fleet) = start(&dir, SimHosts::in_memory()).await?;
            provision(&fleet, &options).await?;
            fleet.close().await;
            Ok(())
        }
        (Stage::Make, Some(dir)) => {
            let hosts = SimHosts::in_folder(dir.join("hosts"));
            let (_state, fleet) = start(&dir, hosts).await?;
            provision(&fleet, &options).await?;
            fleet.close().await;
            println!("{{}}");
            Ok(())
        }
        (Stage::Watch, Some(dir)) => {
            let hosts = SimHosts::in_folder(dir.join("hosts"));
            let (_state, fleet) = start(&dir, hosts).await?;
            fleet.drive_all().await?;
            let (cpu_percent, looks) = watch(&fleet, &options).await?;
            let figures = serde_json::json!({
                "cpu_percent": round(cpu_percent), "rss_mib": round(rss_mib()?), "looks": looks,
            });
            fleet.close().await;
            println!("{figures}");
            Ok(())
        }
    }
}

async fn start(dir: &Path, hosts: SimHosts) -> Result<(StateDir, Fleet)> {
    let state = StateDir::open(dir.join("state"))?;
    let fleet = open(&state, hosts).await?;
    Ok((state, fleet))
}

async fn provisioned(fleet: &Fleet, options: &Options) -> Result<Value> {
    let (begun, before) = (Instant::now(), processor_s()?);
    provision(fleet, options).await?;
    let took = begun.elapsed().as_secs_f64();
    let each = (processor_s()? - before) * 1_000.0 / f64::from(options.vsis);
    Ok(serde_json::json!({"provision_s": round(took), "engine_ms_per_vsi": round(each)}))
}

/// Runs each stage in its own process: the one that watches did not make the VSIs, and its memory
/// holds no simulated disk.
fn all(options: &Options, dir: Option<PathBuf>) -> Result<()> {
    let temporary = tempfile::tempdir()?;
    let dir = dir.unwrap_or_else(|| temporary.path().to_owned());
    let (memory, disk) = (dir.join("provision"), dir.join("watch"));
    let mut figures = stage("provision", &memory, options)?;
    stage("make", &disk, options)?;
    figures.extend(stage("watch", &disk, options)?);
    figures.insert("vsis".to_owned(), options.vsis.into());
    figures.insert("hosts".to_owned(), options.hosts.into());
    if options.json {
        println!("{}", Value::from(figures));
        return Ok(());
    }
    let figure = |key: &str| {
        figures
            .get(key)
            .map(ToString::to_string)
            .unwrap_or_default()
    };
    println!(
        "{} VSIs on {} simulated hosts",
        figure("vsis"),
        figure("hosts")
    );
    let (took, each) = (figure("provision_s"), figure("engine_ms_per_vsi"));
    println!(
        "  provisioned in {took} s, {each} ms of processor time each, the simulation included"
    );
    let (cpu, looks, rss) = (figure("cpu_percent"), figure("looks"), figure("rss_mib"));
    println!(
        "  watched: {cpu} % of one core (aim: 5; {looks} looks at whole hosts), {rss} MiB (aim: 150)"
    );
    Ok(())
}

fn stage(name: &str, dir: &Path, options: &Options) -> Result<Map<String, Value>> {
    std::fs::create_dir_all(dir)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--stage", name]).arg(dir);
    command.args(["--vsis", &options.vsis.to_string()]);
    command.args(["--hosts", &options.hosts.to_string()]);
    command.args(["--watch", &options.watch.as_secs().to_string()]);
    command.args(options.probes.then_some("--probes"));
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("stage {name} ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn round(figure: f64) -> f64 {
    (figure * 100.0).round() / 100.0
}
