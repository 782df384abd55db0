//! Finds the state directory and locks it.

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

const TIMEOUT: Duration = Duration::from_secs(2);

const RETRY_DELAY: Duration = Duration::from_millis(25);

/// Opens the state directory. A reading command releases it within moments; a daemon that holds it
/// shows that by its socket.
pub(crate) async fn open_state(common: &Common, path: &Path) -> Result<StateDir, ExitProblem> {
    let open: OpenLock = if common.allow_network_file_system {
        StateDir::open_anywhere
    } else {
        StateDir::open
    };
    once_free(path, open).await
}

/// Opens the state directory for reading: nothing is written. A missing one is made if possible.
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
    let until = Instant::now() + TIMEOUT;
    let mut reported = false;
    loop {
        let at = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || open(at)).await;
        let holder = match opened.map_err(ExitProblem::defect)? {
            Err(StateDirError::InUse { holder, .. }) => holder,
            opened => return Ok(opened?),
        };
        // Work that ends is waited for.
        let doing = holder.as_ref().and_then(|holder| holder.doing.clone());
        if doing.is_none() && (Instant::now() >= until || is_answering(path)) {
            let path = path.to_owned();
            return Err(StateDirError::InUse { path, holder }.into());
        }
        if let (Some(holder), Some(doing), false) = (&holder, doing, reported) {
            output::note(&format!("waiting: process {} {doing}", holder.pid));
            reported = true;
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// The path of the state directory: the given one, else by XDG, or `/var/lib/vsiflow` for root.
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
