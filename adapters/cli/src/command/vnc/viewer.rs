//! The viewer that is started where the caller has a desktop and one is installed.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    process::Stdio,
};

use tokio::process::{Child, Command};

use crate::output;

/// Variables of which one is set on a desktop.
const DESKTOPS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];

/// Starts one; none where that is not asked for, or none can be.
pub(super) fn start(address: SocketAddr, listen_only: bool) -> Option<Child> {
    let has_desktop = DESKTOPS.iter().any(|name| std::env::var_os(name).is_some());
    if listen_only || !has_desktop || !io::stdout().is_terminal() {
        return None;
    }
    let port = address.port();
    let viewers = [
        ("remote-viewer", format!("vnc://{address}")),
        ("vncviewer", format!("{}::{port}", address.ip())),
    ];
    let started = viewers.iter().find_map(|(program, argument)| {
        let mut command = Command::new(program);
        command.arg(argument).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.kill_on_drop(true).spawn().ok()
    });
    if started.is_none() {
        output::note("no viewer is installed: open the address with one");
    }
    started
}

/// Waits until it ends; for good where none was started.
pub(super) async fn ended(started: Option<Child>) {
    match started {
        Some(mut viewer) => drop(viewer.wait().await),
        None => std::future::pending().await,
    }
}
