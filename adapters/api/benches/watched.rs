//! Measures how much watching slows the engine down: VSIs are provisioned without a watcher, with a page
//! open, and with many readers of events.
//!
//! usage: watched [--json] [--vsis N] [--hosts N] [--readers N] [--rounds N]
//!
//! The journal and all stores are real; the hosts are simulated in memory and in real time. Each measurement
//! runs in its own process. A second process watches it over the unix socket, on the same machine, so the
//! work of the readers counts as well. `page` follows the events and requests the fleet again as the page's
//! script does. The result is the median of several rounds, and each round begins with a different way of
//! watching.

use std::{
    collections::BTreeMap,
    error::Error,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vsiflow_api::{Api, ApiPorts, OWNER, Rights, serve_unix};
use vsiflow_engine::{
    clock::SystemClock,
    executor::{By, Tuning},
    model::{Actor, Text, Who},
    secret::Secret,
    state_dir::StateDir,
};
use vsiflow_steps::sim::{SimHosts, SimSource};
use vsiflow_workflows::{
    fleet::{Fleet, FleetConfig, Verdict},
    hosts::HostDirectory,
    record::vsi_entity,
    spec::{DocumentRef, HostConnection, HostSettings, RecordedFields, Resolved, ResolvedVsi},
};

/// The allocator that vsiflow itself uses.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The ways of watching. They are also the prefixes of the printed figures.
const WAYS: [&str; 3] = ["alone", "page", "readers"];
/// The longest pause of a page that shows the current state, between two requests.
const PAUSE: Duration = Duration::from_secs(1);
/// The shortest such pause, in milliseconds for each event since the last request.
const REST_MS: u64 = 10;
/// The upper limit of that shortest pause.
const REST: Duration = Duration::from_millis(500);

struct Options {
    json: bool,
    vsis: u32,
    hosts: u32,
    readers: u32,
    rounds: u32,
}

fn options(words: &[String]) -> Result<Options> {
    let mut options = Options {
        json: false,
        vsis: 2_000,
        hosts: 20,
        readers: 200,
        rounds: 5,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut number = || -> Result<u32> {
            let count = words.next().ok_or("a number is missing")?;
            Ok(count.parse::<u32>()?.max(1))
        };
        match word.as_str() {
            "--json" => options.json = true,
            "--vsis" => options.vsis = number()?,
            "--hosts" => options.hosts = number()?,
            "--readers" => options.readers = number()?,
            "--rounds" => options.rounds = number()?,
            _ => return Err(format!("{word} is not known").into()),
        }
    }
    Ok(options)
}

fn actor() -> Actor {
    Actor::Unix {
        uid: 0,
        name: Who::new("bench"),
    }
}

fn uid(number: u32) -> Uuid {
    Uuid::from_u128(0x0102_0304_0506_4708_890a_0000_0000_0000 + u128::from(number))
}

fn host(number: u32) -> HostSettings {
    let record = HostConnection::Sim {
        name: Some(format!("host-{number}")),
        upload_limit: None,
        image_policy: None,
    };
    record.into()
}

fn vsi(number: u32, hosts: u32) -> Result<ResolvedVsi> {
    let desired = json!({
        "namespace": "default", "name": format!("vsi-{number}"), "uid": uid(number),
        "host": host(number % hosts).id(), "pool": "images",
        "image": {"url": "http://images.test/hpcr.qcow2", "fileName": "hpcr.qcow2"},
        "bootDisk": {"mode": "copy"}, "guest": null, "ready": null,
        "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
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
            source: "watched".to_owned(),
            line: None,
        },
        selects_disks: true,
        selects_networks: true,
        retained_refs: Vec::new(),
        unresolved_refs: Vec::new(),
        placed: None,
    })
}

fn documents(vsis: u32, hosts: u32) -> Result<Resolved> {
    let made = (0..vsis).map(|number| vsi(number, hosts));
    let settings = (0..hosts).map(host).map(|host| (host.id(), host));
    Ok(Resolved {
        vsis: made.collect::<Result<_>>()?,
        hosts: settings.collect::<BTreeMap<_, _>>(),
        ..Resolved::default()
    })
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

/// Provisions in this process while `way` watches. Returns the seconds until every VSI is ready.
async fn provisioned(way: &str, options: &Options, dir: &Path) -> Result<f64> {
    let state = StateDir::open(dir.join("state"))?;
    let fleet = open(&state).await?;
    let socket = dir.join("socket");
    let (listener, stop) = (UnixListener::bind(&socket)?, CancellationToken::new());
    let service =
        Api::new(fleet.clone(), ApiPorts::default(), Arc::default()).service(Rights::Everything);
    let service = TowerToHyperService::new(service);
    let serving = tokio::spawn(serve_unix(listener, service, OWNER, stop.clone()));
    let watcher = watcher(way, options.readers, &socket)?;
    let begun = Instant::now();
    let by = By {
        actor: actor(),
        reason: Text::new("a benchmark"),
    };
    fleet
        .apply(documents(options.vsis, options.hosts)?, by)
        .await?;
    for number in 0..options.vsis {
        match fleet.decided(&vsi_entity(uid(number))?).await? {
            Verdict::Reached => {}
            other => return Err(format!("vsi-{number}: {other:?}").into()),
        }
    }
    let took = begun.elapsed().as_secs_f64();
    if let Some(mut watcher) = watcher {
        watcher.kill()?;
        watcher.wait()?;
    }
    stop.cancel();
    serving.await?;
    fleet.close().await;
    Ok(took)
}

/// Starts the process that watches, and returns when it has begun to read.
fn watcher(way: &str, readers: u32, socket: &Path) -> Result<Option<Child>> {
    if way == "alone" {
        return Ok(None);
    }
    let readers = if way == "page" { 1 } else { readers };
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["--watch", way, &readers.to_string()])
        .arg(socket);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().ok_or("its output is not there")?;
    BufReader::new(output).read_line(&mut line)?;
    Ok(Some(child))
}

fn get(socket: &Path, path: &str, accept: &str) -> std::io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    )?;
    Ok(stream)
}

/// Reads until the process is killed.
fn watch(way: &str, readers: u32, socket: &Path) -> Result<()> {
    let end = Arc::new(AtomicU64::new(0));
    for _ in 0..readers {
        let path = if way == "page" { "/live" } else { "/v1/events" };
        let mut stream = get(socket, path, "text/event-stream")?;
        let mut bytes = vec![0; 64 << 10];
        // The head of the response: the stream follows new events after this.
        let _ = stream.read(&mut bytes)?;
        let end = end.clone();
        thread::Builder::new()
            .stack_size(128 << 10)
            .spawn(move || {
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    let newest = newest_in(bytes.get(..read).unwrap_or_default());
                    end.fetch_max(newest, Ordering::Relaxed);
                }
            })?;
    }
    println!("reads");
    let mut shown = 0;
    loop {
        let came = end.load(Ordering::Relaxed).saturating_sub(shown);
        if way != "page" || came == 0 {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        shown = shown.saturating_add(came);
        let begun = Instant::now();
        let mut page = Vec::new();
        get(socket, "/", "text/html")?.read_to_end(&mut page)?;
        let rest = Duration::from_millis(came.saturating_mul(REST_MS)).min(REST);
        thread::sleep(begun.elapsed().clamp(rest, PAUSE));
    }
}

/// The last `id:` in these lines, or 0.
fn newest_in(bytes: &[u8]) -> u64 {
    let lines = bytes.rsplit(|byte| *byte == b'\n');
    let mut ids = lines.filter_map(|line| std::str::from_utf8(line.strip_prefix(b"id: ")?).ok());
    ids.find_map(|id| id.trim().parse().ok()).unwrap_or(0)
}

/// Runs [`provisioned`] in a new process, so that each measurement begins with empty memory.
fn measured(way: &str, options: &Options) -> Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--way", way]);
    command.args(["--vsis", &options.vsis.to_string()]);
    command.args(["--hosts", &options.hosts.to_string()]);
    command.args(["--readers", &options.readers.to_string()]);
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{way} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

fn all(options: &Options) -> Result<()> {
    let mut took: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for round in 0..options.rounds as usize {
        let begins = round % WAYS.len();
        for way in WAYS.into_iter().cycle().skip(begins).take(WAYS.len()) {
            took.entry(way).or_default().push(measured(way, options)?);
        }
    }
    let took: BTreeMap<_, _> = took
        .into_iter()
        .map(|(way, all)| (way, median(all)))
        .collect();
    let seconds = |way: &str| took.get(way).copied().unwrap_or_default();
    let alone = seconds("alone");
    let percent = |way: &str| ((seconds(way) / alone - 1.0) * 1_000.0).round() / 10.0;
    let (page, readers) = (percent("page"), percent("readers"));
    if options.json {
        let figures = json!({
            "vsis": options.vsis, "alone_s": alone, "page_effect_percent": page,
            "readers_effect_percent": readers, "readers": options.readers,
        });
        println!("{figures}");
        return Ok(());
    }
    println!("{} VSIs provisioned in {alone:.2} s", options.vsis);
    println!("  with a page open {page} % slower (aim: 3)");
    println!("  with {} readers {readers} % slower", options.readers);
    Ok(())
}

fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let words: Vec<_> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--watch", way, readers, socket] => watch(way, readers.parse()?, Path::new(socket)),
        ["--way", way, ..] => {
            let options = options(words.get(2..).unwrap_or_default())?;
            let dir = tempfile::tempdir()?;
            let runtime = tokio::runtime::Runtime::new()?;
            let took: Value = runtime
                .block_on(provisioned(way, &options, dir.path()))?
                .into();
            println!("{took}");
            Ok(())
        }
        _ => all(&options(&words)?),
    }
}
