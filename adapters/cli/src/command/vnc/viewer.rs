//! Starts a VNC viewer, if the user has a desktop and a viewer is installed.

use std::{
    io::{self, IsTerminal as _},
    net::SocketAddr,
    process::Stdio,
};

use tokio::process::{Child, Command};

use crate::output;

/// Environment variables; a desktop sets one of them.
const DESKTOPS: [&str; 2] = ["DISPLAY", "WAYLAND_DISPLAY"];

/// Starts a viewer; `None` if that is not requested or no viewer can be started.
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

/// Waits until the viewer ends; forever if none was started.
pub(super) async fn ended(started: Option<Child>) {
    match started {
        Some(mut viewer) => drop(viewer.wait().await),
        None => std::future::pending().await,
    }
}
