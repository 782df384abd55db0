//! Benchmark: measures the journal and the engine against what the disk itself can do.
//!
//! ```sh
//! cargo bench -p vsiflow-engine --bench journal -- [DIR] [--json] [--restate FILE]
//! ```
//!
//! Compare the figures only with the raw disk figures of the same run, not with those of another
//! run. `--restate` adds the figures of Restate, measured on the same machine.

mod appends;
mod engine;
mod raw;
mod report;
mod restart;
mod sample;

use std::{
    error::Error,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::report::Report;

/// The same allocator as the product's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Answer<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long each figure is measured.
const TIME: Duration = Duration::from_secs(3);
/// The levels of concurrency that are measured.
const CONCURRENCY: [usize; 4] = [1, 16, 64, 256];

#[derive(Default)]
struct Args {
    dir: Option<PathBuf>,
    json: bool,
    restate: Option<PathBuf>,
    restart: bool,
    fill: bool,
    only_restart: bool,
    /// Measure only appends, with this concurrency, for a profiler.
    appends: Option<usize>,
    /// Measure only runs of the engine, with this concurrency, for a profiler.
    engine: Option<usize>,
}

fn args() -> Args {
    let mut args = Args::default();
    // Cargo adds `--bench`.
    let mut words = std::env::args_os().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--json") => args.json = true,
            Some("--restate") => args.restate = words.next().map(PathBuf::from),
            Some(restart::ARGUMENT) => args.restart = true,
            // Only writes the journal of the restart, for a profiler.
            Some("--fill") => args.fill = true,
            Some("--only-restart") => args.only_restart = true,
            Some("--only-appends") => args.appends = number(words.next()),
            Some("--only-engine") => args.engine = number(words.next()),
            _ => args.dir = Some(PathBuf::from(word)),
        }
    }
    args
}

fn number(word: Option<OsString>) -> Option<usize> {
    word?.to_str()?.parse().ok()
}

async fn measure(dir: &Path, report: &mut Report, only_restart: bool) -> Answer<()> {
    for count in CONCURRENCY.into_iter().filter(|_| !only_restart) {
        let before = raw::rate(dir, count)?;
        let journal = appends::rate(dir, count).await?;
        if count == 1 {
            report.raw_by_thread = raw::rate_by_thread(dir).await?;
        }
        // The machine's other load changes by the second, so the raw rate is measured before and
        // after.
        let after = raw::rate(dir, count)?;
        report.raw.insert(count, f64::midpoint(before, after));
        report.journal.insert(count, journal);
        report.engine.insert(count, engine::rate(dir, count).await?);
    }
    let journal = dir.join("restart");
    report.bytes_per_event = restart::fill(&journal).await?;
    // A restart ends the one open run, so the copy is made first.
    let without_index = dir.join("rebuild");
    restart::copy_without_index(&journal, &without_index)?;
    report.restart = restart::in_another_process(&journal)?;
    report.at_1m_ms = restart::at(&journal).await?;
    report.rebuild = restart::in_another_process(&without_index)?;
    Ok(())
}

async fn compare_appends(dir: &Path, count: usize) -> Answer<()> {
    let before = raw::rate(dir, count)?;
    let journal = appends::rate(dir, count).await?;
    let raw = f64::midpoint(before, raw::rate(dir, count)?);
    println!("{journal:.0} of {raw:.0} events/s: {:.2}", journal / raw);
    if count == 1 {
        let by_thread = raw::rate_by_thread(dir).await?;
        println!("{:.2} of {by_thread:.0} by a thread", journal / by_thread);
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Answer<()> {
    let args = args();
    let dir = args.dir.unwrap_or_else(std::env::temp_dir);
    if args.restart {
        return restart::measure(&dir).await;
    }
    if args.fill {
        println!("{:.0} bytes an event", restart::fill(&dir).await?);
        return Ok(());
    }
    let mut report = Report::default();
    if let Some(file) = args.restate {
        report.read_rival(&std::fs::read_to_string(file)?);
    }
    let room = tempfile::tempdir_in(dir)?;
    if let Some(count) = args.appends {
        return compare_appends(room.path(), count).await;
    }
    if let Some(count) = args.engine {
        let rate = engine::rate(room.path(), count).await?;
        println!("{:.0} steps/s, p99 {:.1} ms", rate.steps_per_s, rate.p99_ms);
        return Ok(());
    }
    measure(room.path(), &mut report, args.only_restart).await?;
    report.print();
    if args.json {
        println!("{}", report.json());
    }
    Ok(())
}
