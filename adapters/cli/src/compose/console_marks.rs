//! Marks of consoles and screens that are open without a daemon, so that their end is recorded even if their
//! process is killed.
//!
//! A mark is a file in the state directory that is locked as long as its process lives. It is made and
//! removed by a process that has the state directory. The next process that opens the directory and finds an
//! unlocked mark records the end.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;
use vsiflow_engine::{executor::By, model::Text};
use vsiflow_workflows::fleet::ConsoleWay;

use super::App;
use crate::{actor, off_runtime::off_runtime};

/// The folder of the marks in the state directory.
const FOLDER: &str = "consoles";
/// The word in the mark of a screen.
const VNC: &str = "vnc";
/// A mark is never longer than this, in bytes.
const MAX_LEN: u64 = 128;

/// The mark of an open console.
pub(crate) struct OpenMark {
    path: PathBuf,
    _locked: File,
}

impl OpenMark {
    /// Makes a mark for a VSI's console that this user opens. The state directory must be held. Blocks.
    pub(crate) fn make(state: &Path, vsi: Uuid, way: ConsoleWay) -> io::Result<Self> {
        let folder = state.join(FOLDER);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let path = folder.join(Uuid::new_v4().to_string());
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let user = rustix::process::getuid().as_raw();
        match way {
            // The format of versions that had no screens.
            ConsoleWay::Serial => write!(file, "{vsi} {user}")?,
            ConsoleWay::Vnc => write!(file, "{vsi} {user} {VNC}")?,
        }
        Ok(Self {
            path,
            _locked: file,
        })
    }

    /// Removes the mark, once the end is recorded.
    pub(crate) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A mark whose process has ended.
struct Orphan {
    path: PathBuf,
    vsi: Uuid,
    user: u32,
    way: ConsoleWay,
}

/// Records the ends of consoles whose processes were killed. The state directory must be held.
pub(crate) async fn record_lost(app: &App) {
    let state = app.state_path().to_owned();
    let orphans = off_runtime(move || orphans(&state)).await;
    for orphan in orphans.unwrap_or_default() {
        let Orphan {
            path,
            vsi,
            user,
            way,
        } = orphan;
        let by = By {
            actor: actor::of(user),
            reason: Text::new(""),
        };
        match app.fleet.vsis().note_console_lost(vsi, way, by).await {
            Ok(()) => {
                let _ = tokio::fs::remove_file(path).await;
            }
            Err(error) => tracing::warn!(%error, "the end of a console is not recorded"),
        }
    }
}

/// All marks whose processes have ended. Blocks.
fn orphans(state: &Path) -> Vec<Orphan> {
    let entries = std::fs::read_dir(state.join(FOLDER));
    let entries = entries.into_iter().flatten().flatten();
    entries.filter_map(|entry| orphan(entry.path())).collect()
}

/// `None` if its process lives, or if the file is not a mark.
fn orphan(path: PathBuf) -> Option<Orphan> {
    let mut file = File::open(&path).ok()?;
    flock(&file, FlockOperation::NonBlockingLockShared).ok()?;
    let mut text = String::new();
    let read = (&mut file).take(MAX_LEN).read_to_string(&mut text);
    read.ok()?;
    let mut words = text.split(' ');
    let (vsi, user) = (words.next()?, words.next()?);
    let way = match words.next() {
        None => ConsoleWay::Serial,
        Some(VNC) => ConsoleWay::Vnc,
        Some(_) => return None,
    };
    Some(Orphan {
        vsi: vsi.parse().ok()?,
        user: user.parse().ok()?,
        way,
        path,
    })
}
