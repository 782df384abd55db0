//! The binary `vsiflow`, which assembles all other crates.
//!
//! `args` is the command line, `command` has a file for each command, `compose` assembles journal,
//! engine, hosts and image sources, and `output` formats results. Nothing here decides what happens
//! to a VSI; the fleet does.
//!
//! ```console
//! vsiflow --host sim: apply -f deploy/examples/hello.yaml --wait
//! vsiflow history hello
//! ```

// A command is one deeply nested future, down to HTTP clients.
#![recursion_limit = "256"]

mod actor;
mod args;
mod bundle_file;
mod command;
mod complete;
mod compose;
mod daemon;
mod documents;
mod ending;
mod exit;
mod folder;
mod inspection;
mod journal_file;
mod key_file;
mod membership;
mod metrics;
mod off_runtime;
mod output;
mod plugin;
mod runner;
mod service;
mod serving;
mod shards;
mod ssh;
mod supervisor;
mod terminal;
mod user_file;
mod work;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Cli, exit::Exit, plugin::Called};

/// Reading a long journal is faster than with glibc's allocator (`tests/bench/run journal`).
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The stack size of a worker thread, in bytes; only the used part takes memory.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    harden();
    runner::install(command::runner());
    match plugin::called() {
        None => vsiflow(),
        Some(Called::Plugin) => kubectl_vsi(),
        Some(Called::Completion) => plugin::complete(),
    }
}

fn kubectl_vsi() -> ExitCode {
    match plugin::read() {
        Ok(plugin) => {
            output::log::set_up(0, true);
            run(plugin::run(plugin))
        }
        Err(exit) => exit,
    }
}

fn vsiflow() -> ExitCode {
    complete::answer();
    match Cli::try_parse() {
        Ok(cli) => {
            supervisor::take_sockets();
            compose::journal_key::comes_from(&cli.common);
            output::log::set_up(cli.common.verbose, cli.common.remote_caller);
            run(async {
                let exit = command::run(cli).await;
                compose::database::release_leases().await;
                exit
            })
        }
        Err(error) => output::usage_error(error),
    }
}

fn run(command: impl Future<Output = Exit>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // A daemon runs whole commands on its workers, which need as much stack as the main thread has.
        .thread_stack_size(STACK)
        .build();
    let exit = match runtime {
        Ok(runtime) => {
            let exit = runtime.block_on(async {
                let _handler = keep_file_limit_an_error();
                command.await
            });
            // A blocked read of standard input or of a file must not delay the end.
            runtime.shutdown_timeout(std::time::Duration::from_secs(2));
            output::ended(exit)
        }
        Err(error) => {
            anstream::eprintln!("error: the runtime cannot be started: {error}");
            Exit::Failed
        }
    };
    exit.into()
}

/// Keeps the limit of a file's size from killing this process: a write beyond it fails as on a full disk, and
/// programs that are started have the usual behaviour.
fn keep_file_limit_an_error() -> Option<tokio::signal::unix::Signal> {
    use tokio::signal::unix::{SignalKind, signal};
    let limit = rustix::process::Signal::XFSZ.as_raw();
    signal(SignalKind::from_raw(limit)).ok()
}

/// Disables core files, which would hold keys and contracts. That includes those piped to a program
/// in `core_pattern`, which ignores the size limit. It also prevents other processes of the same
/// user from reading this one's memory.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        anstream::eprintln!("warning: this process cannot be closed to others: {error}");
    }
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        anstream::eprintln!("warning: core files cannot be forbidden: {error}");
    }
}
