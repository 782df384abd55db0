//! Which folder the state is in, and having it to oneself.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;
use vsiflow_engine::state_dir::{StateDir, StateDirError};

use crate::{
    args::Common,
    daemon::socket::is_answering,
    exit::{Exit, ExitProblem},
    output,
};

const PATIENCE: Duration = Duration::from_secs(2);

const AGAIN: Duration = Duration::from_millis(25);

/// Opens the state directory. One that is held by a command that only reads is free again in a
/// moment; a holder that stays says so by its socket.
pub(crate) async fn open_state(common: &Common, path: &Path) -> Result<StateDir, ExitProblem> {
    let open: OpenLock = if common.allow_network_file_system {
        StateDir::open_anywhere
    } else {
        StateDir::open
    };
    once_free(path, open).await
}

/// The same to look at it: nothing needs to be written. One that is not there yet is made, where
/// that can be.
pub(crate) async fn lock_to_read(common: &Common, path: &Path) -> Result<StateDir, ExitProblem> {
    if !path.join("FORMAT").is_file() {
        return open_state(common, path).await;
    }
    let look: OpenLock = if common.allow_network_file_system {
        StateDir::open_to_read_anywhere
    } else {
        StateDir::open_to_read
    };
    once_free(path, look).await
}

type OpenLock = fn(PathBuf) -> Result<StateDir, StateDirError>;

async fn once_free(path: &Path, open: OpenLock) -> Result<StateDir, ExitProblem> {
    let until = Instant::now() + PATIENCE;
    let mut reported = false;
    loop {
        let at = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || open(at)).await;
        let holder = match opened.map_err(ExitProblem::defect)? {
            Err(StateDirError::InUse { holder, .. }) => holder,
            opened => return Ok(opened?),
        };
        // What has an end is waited for.
        let doing = holder.as_ref().and_then(|holder| holder.doing.clone());
        if doing.is_none() && (Instant::now() >= until || is_answering(path)) {
            let path = path.to_owned();
            return Err(StateDirError::InUse { path, holder }.into());
        }
        if let (Some(holder), Some(doing), false) = (&holder, doing, reported) {
            output::note(&format!("waiting: process {} {doing}", holder.pid));
            reported = true;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Where the state is: as said, else by XDG, or `/var/lib/vsiflow` for root.
pub(crate) fn state_path(common: &Common) -> Result<PathBuf, ExitProblem> {
    if let Some(shard) = &common.shard {
        return Ok(shard.folder());
    }
    if let Some(path) = &common.state {
        return Ok(path.clone());
    }
    if rustix::process::getuid().is_root() {
        return Ok(PathBuf::from("/var/lib/vsiflow"));
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    let base = absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    base.map(|base| base.join("vsiflow")).ok_or_else(|| {
        let message = "neither --state nor $HOME names the state directory";
        ExitProblem::new(
            Exit::Usage,
            "VSI0802",
            message,
            "name a folder with --state or $VSIFLOW_STATE",
        )
    })
}
