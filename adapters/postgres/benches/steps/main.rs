//! Measures the engine on a journal in PostgreSQL: steps per second, the time of a step, and a take-over.
//!
//! ```sh
//! cargo bench -p vsiflow-postgres --bench steps -- postgres://… [--json] [--dbos FILE]
//! ```
//!
//! `tests/bench/run postgres` starts a server, measures DBOS on it and then runs this. `--dbos` adds the
//! figures of DBOS from a file.

mod engine;
mod report;
mod takeover;

use std::{error::Error, path::PathBuf, time::Duration};

use crate::report::Report;

/// The allocator that vsiflow itself uses.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Answer<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// How long each measurement runs.
const TIME: Duration = Duration::from_secs(10);
/// Numbers of concurrent runs.
const CONCURRENCY: [usize; 3] = [1, 16, 64];
/// The open runs of the process that is killed.
const OPEN: usize = 10_000;

struct Args {
    url: String,
    json: bool,
    dbos: Option<PathBuf>,
    /// Opens [`OPEN`] runs and waits to be killed.
    hold: bool,
}

fn args() -> Answer<Args> {
    let mut args = Args {
        url: String::new(),
        json: false,
        dbos: None,
        hold: false,
    };
    // Cargo adds `--bench`.
    let mut words = std::env::args_os().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--json") => args.json = true,
            Some("--dbos") => args.dbos = words.next().map(PathBuf::from),
            Some(takeover::ARGUMENT) => args.hold = true,
            Some(url) => url.clone_into(&mut args.url),
            None => return Err("an address is text".into()),
        }
    }
    if args.url.is_empty() {
        return Err("usage: steps postgres://… [--json] [--dbos FILE]".into());
    }
    Ok(args)
}

/// The address of another journal in the same database.
fn journal(url: &str, name: &str) -> String {
    let mark = if url.contains('?') { '&' } else { '?' };
    format!("{url}{mark}journal={name}")
}

#[tokio::main]
async fn main() -> Answer<()> {
    let args = args()?;
    if args.hold {
        return takeover::hold(&args.url).await;
    }
    let mut report = Report::default();
    if let Some(file) = args.dbos {
        report.read_rival(&std::fs::read_to_string(file)?);
    }
    for count in CONCURRENCY {
        let url = journal(&args.url, &format!("steps{count}"));
        report
            .engine
            .insert(count, engine::rate(&url, count).await?);
    }
    report.takeover_s = takeover::measure(&journal(&args.url, "takeover")).await?;
    report.print();
    if args.json {
        println!("{}", report.json());
    }
    Ok(())
}
