//! Communicates with a service manager by systemd's protocols: receives the sockets that it opened
//! (sd_listen_fds(3)), and reports the state of the daemon (sd_notify(3)). Without a service
//! manager, nothing happens.

use std::{
    convert::Infallible,
    os::unix::net::UnixListener,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use listenfd::ListenFd;
use sd_notify::NotifyState;

static INHERITED_SOCKETS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Takes the sockets that this process was started with. It must run before other threads start,
/// because the environment names the sockets, and no child process may take them.
pub(crate) fn take_sockets() {
    let mut sockets = ListenFd::from_env();
    let all =
        (0..sockets.len()).filter_map(|number| sockets.take_unix_listener(number).ok().flatten());
    let mut taken = INHERITED_SOCKETS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    taken.extend(all);
}

/// The socket that the service manager opened at that path, if any. It remains when the daemon ends.
pub(crate) fn socket_at(path: &Path) -> Option<UnixListener> {
    let mut sockets = INHERITED_SOCKETS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let is_there = |socket: &UnixListener| {
        let address = socket.local_addr().ok();
        address.is_some_and(|address| address.as_pathname() == Some(path))
    };
    let number = sockets.iter().position(is_there)?;
    Some(sockets.swap_remove(number))
}

/// Reports that the daemon answers and works.
pub(crate) fn ready() {
    notify(NotifyState::Ready);
}

/// Reports that the daemon is stopping.
pub(crate) fn stopping() {
    notify(NotifyState::Stopping);
}

/// Reports that the runtime makes progress, as often as requested, while it is polled. Otherwise
/// the service manager kills the process, which every step survives.
pub(crate) async fn watchdog() -> Infallible {
    let Some(within) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let pause = (within / 3).max(Duration::from_millis(100));
    loop {
        notify(NotifyState::Watchdog);
        tokio::time::sleep(pause).await;
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager cannot be notified");
    }
}
