//! The program's own log on standard error: text, or one JSON object a line for log collectors.
//!
//! `VSIFLOW_LOG` sets the level (`info`, or filters such as `vsiflow_libvirt=debug`), and
//! `VSIFLOW_LOG_FORMAT=json` the format. In JSON everything on standard error is an object,
//! including messages that are otherwise for the user.

use std::{env, io, io::IsTerminal as _, sync::OnceLock};

use tracing_subscriber::{
    EnvFilter, Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::sink;
use crate::exit::ExitProblem;

static JSON: OnceLock<bool> = OnceLock::new();

/// Whether standard error is in JSON.
pub(crate) fn is_json() -> bool {
    *JSON.get_or_init(|| env::var("VSIFLOW_LOG_FORMAT").is_ok_and(|form| form == "json"))
}

/// Sets up the log: off unless requested, except in JSON. For a remote caller the environment's
/// settings are ignored: they are meant for the daemon beside this process.
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
        // Reasons why resources are not served are always shown.
        0 => "off,vsiflow_kube=warn",
        1 => "vsiflow=info,vsiflow_engine=info,vsiflow_steps=info,vsiflow_libvirt=info",
        _ => "debug",
    })
}

/// Whether messages go to the log, and not to a caller.
pub(crate) fn is_asked() -> bool {
    is_json() && !sink::is_for_caller()
}

/// Logs a message that would otherwise be shown to the user.
pub(super) fn log_line(text: &str) {
    tracing::info!(target: "vsiflow", "{}", plain(text));
}

/// Logs a warning that would otherwise be shown to the user.
pub(super) fn warned(text: &str) {
    tracing::warn!(target: "vsiflow", "{}", plain(text));
}

/// Logs why a command failed.
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
