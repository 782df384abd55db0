//! What the program says of its inner life, and where: text, or one JSON object a line for whoever
//! collects logs.
//!
//! `VSIFLOW_LOG` says how much (`info`, or filters such as `vsiflow_libvirt=debug`),
//! `VSIFLOW_LOG_FORMAT=json` in which form. In JSON everything on standard error is an object,
//! also what is said to a person otherwise.

use std::{env, io, io::IsTerminal as _, sync::OnceLock};

use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::sink;
use crate::exit::ExitProblem;

static JSON: OnceLock<bool> = OnceLock::new();

/// Whether standard error is for programs.
pub(crate) fn is_json() -> bool {
    *JSON.get_or_init(|| env::var("VSIFLOW_LOG_FORMAT").is_ok_and(|form| form == "json"))
}

/// Sets it up: nothing is said unless it was asked for, but in JSON. For somebody who is attended
/// to, what the environment says of logs does not count: it was said of the process beside.
pub(crate) fn set_up(verbose: u8, remote_caller: bool) {
    if remote_caller {
        let _ = JSON.set(false);
    }
    let set = if remote_caller {
        None
    } else {
        EnvFilter::try_from_env("VSIFLOW_LOG").ok()
    };
    let filter = set.unwrap_or_else(|| by_default(verbose));
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = if is_json() {
        layer.json().flatten_event(true).boxed()
    } else {
        layer.with_ansi(io::stderr().is_terminal()).boxed()
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .init();
}

fn by_default(verbose: u8) -> EnvFilter {
    EnvFilter::new(match verbose {
        0 if is_json() => "info",
        // What keeps resources from being served is told without being asked for.
        0 => "off,vsiflow_kube=warn",
        1 => "vsiflow=info,vsiflow_engine=info,vsiflow_steps=info,vsiflow_libvirt=info",
        _ => "debug",
    })
}

/// Whether what is said now goes to the log, not to a caller.
pub(super) fn is_asked() -> bool {
    is_json() && !sink::is_for_caller()
}

/// What a person would be told.
pub(super) fn log_line(text: &str) {
    tracing::info!(target: "vsiflow", "{}", plain(text));
}

/// What a person would be warned of.
pub(super) fn warned(text: &str) {
    tracing::warn!(target: "vsiflow", "{}", plain(text));
}

/// Why a command failed.
pub(super) fn failed(problem: &ExitProblem) {
    tracing::error!(
        target: "vsiflow",
        code = %problem.code,
        host = %problem.host,
        object = %problem.object,
        next = %problem.remedy,
        "{}",
        plain(&problem.message)
    );
}

fn plain(text: &str) -> String {
    let text = anstream::adapter::strip_str(text).to_string();
    text.trim_end().to_owned()
}
