//! Measures a restart with a long history: the time until the first step runs, memory, and idle
//! CPU.

use std::{
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use vsiflow_engine::{
    executor::{Drive, StateAsOf},
    journal::{Append, DiskJournal, Journal as _},
    model::{
        EntityId, Event, EventKind, Failure, FailureClass, Name, Payload, Precedence, RunResult,
        StreamId, Text, Timestamp, Wait,
    },
};

use crate::{Answer, engine, sample};

/// The argument that makes this process only do a restart.
pub(crate) const ARGUMENT: &str = "--restart";

const ENTITIES: u64 = 1_000;
const RUNS_EACH: u64 = 9;
/// Failed attempts of each run; they give the run its length.
const RETRIES: u32 = 28;
const IDLE: Duration = Duration::from_secs(5);

/// What was measured of a restart.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Restart {
    pub(crate) seconds: f64,
    pub(crate) rss_mib: f64,
    pub(crate) idle_cpu_percent: f64,
}

/// The events of a run whose host was unreachable for a while. An unfinished run ends before its
/// first step.
fn run_events(entity: &EntityId, generation: u64, finished: bool) -> Vec<Event> {
    let mut kinds = vec![EventKind::RunStarted {
        entity: entity.clone(),
        generation,
        graph: sample::graph(),
    }];
    if !finished {
        return kinds.into_iter().map(sample::event).collect();
    }
    let mut attempt = 1;
    let node = Name::of(sample::STEPS[0]);
    kinds.push(EventKind::StepStarted {
        node: node.clone(),
        attempt,
    });
    for _ in 0..RETRIES {
        let failure = Failure::new(
            FailureClass::Transient,
            "VSI0301",
            "the host cannot be reached",
        )
        .with_remedy("see that it is up and that its SSH port can be reached");
        let retry = Some(Wait {
            delay_ms: 1_000,
            due: Timestamp(1_800_000_001_000),
        });
        kinds.push(EventKind::StepFailed {
            node: node.clone(),
            attempt,
            failure,
            retry,
        });
        kinds.push(EventKind::TimerDue { node: node.clone() });
        attempt += 1;
        kinds.push(EventKind::StepStarted {
            node: node.clone(),
            attempt,
        });
    }
    let mut events: Vec<_> = kinds.into_iter().map(sample::event).collect();
    events.push(sample::succeeded(sample::STEPS[0], attempt));
    for step in &sample::STEPS[1..] {
        let started = Name::of(step);
        events.push(sample::event(EventKind::StepStarted {
            node: started,
            attempt: 1,
        }));
        events.push(sample::succeeded(step, 1));
    }
    let result = RunResult::Succeeded;
    events.push(sample::event(EventKind::RunFinished { result }));
    events
}

fn entity_events(run: u64, generation: u64, finished: bool) -> Vec<Event> {
    let (run, workflow) = (sample::run(run), Name::of("provision_vsi"));
    let state = |name| EventKind::StateChanged {
        state: Name::of(name),
        detail: Text::default(),
    };
    let mut kinds = vec![
        EventKind::Desired {
            generation,
            workflow: workflow.clone(),
            precedence: Precedence::Supersede,
            desired: Payload::Inline(vec![b'x'; 600]),
        },
        EventKind::RunOpened {
            run,
            workflow,
            generation,
        },
        state("Provisioning"),
    ];
    if finished {
        kinds.push(EventKind::RunClosed {
            run,
            result: RunResult::Succeeded,
        });
        kinds.push(state("Running"));
    }
    kinds.into_iter().map(sample::event).collect()
}

/// Writes a journal of 10,000 streams and 1,000,000 events; returns its bytes on disk per event.
pub(crate) async fn fill(dir: &Path) -> Answer<f64> {
    let journal = DiskJournal::open(dir, "bench").await?;
    let mut count = 0;
    for number in 0..ENTITIES {
        let entity = EntityId::new(Name::of("vsi"), number.to_string())?;
        let mut seq = 0;
        for generation in 1..=RUNS_EACH {
            let run = number * RUNS_EACH + generation;
            // The very last run remains open.
            let finished = run < ENTITIES * RUNS_EACH;
            let of_entity = entity_events(run, generation, finished);
            let of_run = run_events(&entity, generation, finished);
            count += of_entity.len() + of_run.len();
            let next = of_entity.len() as u64;
            let batch = vec![
                Append {
                    stream: StreamId::Entity(entity.clone()),
                    expected_seq: seq,
                    events: of_entity,
                },
                Append {
                    stream: sample::stream(run),
                    expected_seq: 0,
                    events: of_run,
                },
            ];
            journal.append(batch).await?;
            seq += next;
            if journal.base_is_due() {
                let past = StateAsOf::load(&journal, u64::MAX).await?;
                journal.write_base(past.states()).await?;
            }
        }
    }
    journal.close().await;
    // Opening and closing the engine writes the index, as in real use.
    let (engine, stored) = engine::open(dir, Arc::new(|| {})).await?;
    engine.close().await;
    stored.close().await;
    let sizes = ["log", "index", "archive"].map(|folder| size(&dir.join(folder)));
    let sizes: Vec<_> = sizes.into_iter().collect::<Answer<_>>()?;
    Ok(sizes.iter().sum::<u64>() as f64 / count as f64)
}

/// The longest time, in milliseconds, to load the journal's state as of several past moments.
pub(crate) async fn at(dir: &Path) -> Answer<f64> {
    let journal = DiskJournal::open_to_read(dir, "bench").await?;
    let mut longest: f64 = 0.0;
    for share in 1..=8 {
        let start = Instant::now();
        let past = StateAsOf::load(&journal, share * 123_456).await?;
        std::hint::black_box(past.entities().len());
        longest = longest.max(start.elapsed().as_secs_f64() * 1000.0);
    }
    journal.close().await;
    Ok(longest)
}

/// Copies the journal without its index, as after a power cut.
pub(crate) fn copy_without_index(dir: &Path, to: &Path) -> Answer<()> {
    let copied = Command::new("cp").arg("-a").arg(dir).arg(to).status()?;
    if !copied.success() {
        return Err("the journal cannot be copied".into());
    }
    Ok(std::fs::remove_dir_all(to.join("index"))?)
}

/// The bytes that a folder's files occupy on the disk.
fn size(dir: &Path) -> Answer<u64> {
    let mut bytes = 0;
    if !dir.exists() {
        return Ok(0);
    }
    for entry in std::fs::read_dir(dir)? {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes)
}

/// Measures the restart in another process, so that only its own memory is counted.
pub(crate) fn in_another_process(dir: &Path) -> Answer<Restart> {
    let output = Command::new(std::env::current_exe()?)
        .arg(ARGUMENT)
        .arg(dir)
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers: Vec<f64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    match numbers.as_slice() {
        [seconds, rss_mib, idle_cpu_percent] => Ok(Restart {
            seconds: *seconds,
            rss_mib: *rss_mib,
            idle_cpu_percent: *idle_cpu_percent,
        }),
        _ => Err(format!(
            "the restart said: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
        .into()),
    }
}

/// Restarts on the journal in `dir` and prints seconds, mebibytes and percent of a core.
pub(crate) async fn measure(dir: &Path) -> Answer<()> {
    let start = Instant::now();
    let first = Arc::new(OnceLock::new());
    let (seen, (sender, ran)) = (first.clone(), tokio::sync::oneshot::channel());
    let sender = std::sync::Mutex::new(Some(sender));
    let notify = move || {
        seen.get_or_init(|| start.elapsed());
        let sender = sender.lock().ok().and_then(|mut sender| sender.take());
        sender.map(|sender| sender.send(()));
    };
    let (engine, journal) = engine::open(dir, Arc::new(notify)).await?;
    engine.drive(Drive::All).await?;
    ran.await?;
    let resident = resident_mib()?;
    let seconds = first.get().copied().unwrap_or_default().as_secs_f64();
    // The one open run ends in this second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = cpu_ticks()?;
    tokio::time::sleep(IDLE).await;
    let ticks = cpu_ticks()? - before;
    println!("{seconds} {resident} {}", ticks / IDLE.as_secs_f64());
    engine.close().await;
    journal.close().await;
    Ok(())
}

fn resident_mib() -> Answer<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line.unwrap_or("0").trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// The CPU time of this process in hundredths of a second.
fn cpu_ticks() -> Answer<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let mut fields = rest.split_whitespace().skip(11);
    let mut next = || fields.next().unwrap_or("0").parse::<f64>();
    Ok(next()? + next()?)
}
