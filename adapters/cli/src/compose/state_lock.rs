//! Which folder the state is in, and having it to oneself.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;
use vsiflow_engine::state_dir::{StateDir, StateDirError};

use crate::{
    args::Common,
    daemon,
    exit::{Exit, ExitProblem},
};

const PATIENCE: Duration = Duration::from_secs(2);

const AGAIN: Duration = Duration::from_millis(25);

/// Opens the state directory. One that is held by a command that only reads is free again in a
/// moment; a holder that stays says so by its socket.
pub(crate) async fn open_state(common: &Common, path: &Path) -> Result<StateDir, ExitProblem> {
    let until = Instant::now() + PATIENCE;
    let open: fn(PathBuf) -> Result<StateDir, StateDirError> =
        match common.allow_network_file_system {
            true => StateDir::open_anywhere,
            false => StateDir::open,
        };
    loop {
        let at = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || open(at)).await;
        match opened.map_err(ExitProblem::defect)? {
            Err(StateDirError::InUse { .. })
                if Instant::now() < until && !daemon::is_answering(path) =>
            {
                tokio::time::sleep(AGAIN).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// Where the state is: as said, else by XDG, or `/var/lib/vsiflow` for root.
pub(crate) fn state_path(common: &Common) -> Result<PathBuf, ExitProblem> {
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
        let message = "neither --state nor $HOME says where the state is kept";
        ExitProblem::new(
            Exit::Usage,
            "VSI0802",
            message,
            "name a folder with --state or $VSIFLOW_STATE",
        )
    })
}
