//! Measures what many VSIs cost a set of journals in a database: it provisions them on simulated hosts and
//! checks that they are ready.
//!
//! ```sh
//! cargo bench -p vsiflow --bench set -- postgres://… [--json] [--vsis N,N,…] [--journals N] [--server PID]
//! ```
//!
//! For each number of VSIs, a separate process makes a set, assigns the hosts, takes all journals, claims
//! names and applies, as a process of `serve --shards auto` does. Processor time includes the simulation;
//! with `--server` the database's processes are measured, too. `tests/bench/run postgres` starts a server and
//! runs this.

mod journals;
mod processor;
mod report;
mod stored;
mod vsis;

use std::{error::Error, process::Command};

use crate::report::{Figures, Report};

/// The allocator that vsiflow itself uses.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Answer<T> = Result<T, Box<dyn Error>>;

/// VSIs per host.
const ON_A_HOST: u32 = 125;
/// The argument of a child process: measure one size.
const ONE: &str = "--one";

struct Args {
    url: String,
    json: bool,
    sizes: Vec<u32>,
    journals: u16,
    server: Option<u32>,
    one: bool,
}

fn args() -> Answer<Args> {
    let mut args = Args {
        url: String::new(),
        json: false,
        sizes: vec![1_000, 10_000, 100_000],
        journals: 8,
        server: None,
        one: false,
    };
    // Cargo adds `--bench`.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default();
        match word.as_str() {
            "--json" => args.json = true,
            ONE => args.one = true,
            "--vsis" => {
                let sizes = value();
                let sizes = sizes.split(',').map(str::parse::<u32>);
                args.sizes = sizes.collect::<Result<_, _>>()?;
            }
            "--journals" => args.journals = value().parse()?,
            "--server" => args.server = Some(value().parse()?),
            _ => args.url = word,
        }
    }
    if args.url.is_empty() || args.sizes.contains(&0) {
        return Err(
            "usage: set postgres://… [--json] [--vsis N,N,…] [--journals N] [--server PID]".into(),
        );
    }
    Ok(args)
}

/// Measures each size in its own process, so that no memory is left over from the previous one.
fn each(args: &Args) -> Answer<Report> {
    let mut report = Report::default();
    for vsis in &args.sizes {
        let before = args.server.map(processor::of_server).transpose()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([&args.url, ONE, "--vsis", &vsis.to_string()]);
        command.args(["--journals", &args.journals.to_string()]);
        let output = command.stderr(std::process::Stdio::inherit()).output()?;
        if !output.status.success() {
            return Err(format!("{vsis} VSIs: it ended with {}", output.status).into());
        }
        let mut figures: Figures = serde_json::from_slice(&output.stdout)?;
        if let (Some(server), Some(before)) = (args.server, before) {
            // The server's processes for this client have ended, so their time is counted with the parent.
            let used = processor::of_server(server)? - before;
            figures.server_us_per_event = Some(used * 1e6 / figures.events as f64);
        }
        report.add(*vsis, figures);
    }
    Ok(report)
}

fn main() -> Answer<()> {
    let args = args()?;
    if args.one {
        let runtime = tokio::runtime::Runtime::new()?;
        let vsis = args.sizes.first().copied().unwrap_or_default();
        let figures =
            runtime.block_on(Box::pin(journals::measure(&args.url, vsis, args.journals)))?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    let report = each(&args)?;
    report.print();
    if args.json {
        println!("{}", report.json());
    }
    report.all_ready()
}
