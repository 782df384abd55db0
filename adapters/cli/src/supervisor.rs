//! What a service manager gives and is told, by systemd's protocols: sockets that it opened
//! (sd_listen_fds(3)), and how the daemon is (sd_notify(3)). Without one, nothing happens.

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

/// Takes the sockets that this process was started with, before it has any other thread: they are
/// named by the environment, and no child is to take them for its own.
pub(crate) fn take_sockets() {
    let mut sockets = ListenFd::from_env();
    let all =
        (0..sockets.len()).filter_map(|number| sockets.take_unix_listener(number).ok().flatten());
    let mut taken = INHERITED_SOCKETS
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    taken.extend(all);
}

/// The socket that was opened at that path, if one was. It stays when the daemon ends.
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

/// It answers, and works on what is open.
pub(crate) fn ready() {
    notify(NotifyState::Ready);
}

/// It ends.
pub(crate) fn stopping() {
    notify(NotifyState::Stopping);
}

/// Says that the runtime gets on, as often as it was asked to, while it is polled. A process that
/// stands still is ended by the service manager then, which every step survives.
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
        tracing::warn!(%error, "the service manager cannot be told how this process is");
    }
}
