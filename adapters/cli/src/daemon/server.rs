//! Answers for commands that find the state directory in use.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper_util::service::TowerToHyperService;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use vsiflow_api::{Api, JournalSet, LOOKING, OWNER, Rights, serve_unix};

use super::{commands::CallersCommands, socket::socket};
use crate::{
    args::Common,
    compose::App,
    exit::{Exit, ExitProblem},
    supervisor,
};

/// How long answers under way may take once the holder is done. A caller that is cut off then
/// does its work itself.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Listens until it is finished or dropped.
pub(crate) struct DaemonServer {
    /// Its socket, where it made that itself, and which it is.
    made: Option<(PathBuf, Option<u64>)>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl DaemonServer {
    /// Begins to listen, unless this is a caller's command itself. Without a socket the command
    /// works all the same; others are told that the directory is in use.
    pub(crate) fn start(app: &App) -> Option<Self> {
        if app.is_borrowed() {
            return None;
        }
        let path = socket(app.state_path());
        if let Some(listener) = activated(&path) {
            return Some(Self::listening(
                None,
                listener,
                api(app),
                Rights::Everything,
            ));
        }
        Self::at(path, api(app))
    }

    /// Begins to listen for the owner of a folder that other processes of a set may have, too: any of them answers for all.
    /// None where one does.
    pub(crate) async fn start_for_set(api: &Api, state: &Path) -> Option<Self> {
        let path = socket(state);
        if let Some(listener) = activated(&path) {
            return Some(Self::listening(
                None,
                listener,
                api.clone(),
                Rights::Everything,
            ));
        }
        // What lies there may be of one that was killed.
        if UnixStream::connect(&path).await.is_ok() {
            return None;
        }
        Self::at(path, api.clone())
    }

    fn at(path: PathBuf, api: Api) -> Option<Self> {
        match bind(&path) {
            Ok(listener) => Some(Self::listening(
                Some(path),
                listener,
                api,
                Rights::Everything,
            )),
            Err(error) => {
                tracing::warn!(%error, "no socket for other commands");
                None
            }
        }
    }

    /// Begins to listen there for people who may look: those of the group of its folder.
    ///
    /// # Errors
    /// When nobody could get there: it was asked for.
    pub(crate) fn start_view_socket(app: &App, path: &Path) -> Result<Self, ExitProblem> {
        if let Some(listener) = activated(path) {
            return Ok(Self::listening(None, listener, api(app), Rights::Look));
        }
        let listener = free(path).and_then(|()| bind(path));
        let listener = listener.and_then(|listener| share(path).map(|()| listener));
        let listener = listener.map_err(|error| unusable(path, &error))?;
        let path = path.to_owned();
        Ok(Self::listening(
            Some(path),
            listener,
            api(app),
            Rights::Look,
        ))
    }

    fn listening(path: Option<PathBuf>, listener: UnixListener, api: Api, rights: Rights) -> Self {
        let stop = CancellationToken::new();
        let made = path.map(|path| (path.clone(), inode(&path)));
        let limits = match rights {
            Rights::Look => LOOKING,
            Rights::Operate | Rights::Everything => OWNER,
        };
        let stopped = stop.clone();
        // Callers wait for their answers meanwhile, and nobody else does.
        let task = tokio::spawn(async move {
            let service = TowerToHyperService::new(api.service(rights));
            serve_unix(listener, service, limits, stopped).await;
            api.end_consoles().await;
        });
        Self { made, stop, task }
    }

    /// Takes no more callers, and lets answers under way end.
    pub(crate) async fn finish(mut self) {
        self.remove();
        self.stop.cancel();
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.task).await;
    }

    fn remove(&self) {
        // Another one of a set may have put its own in its place.
        if let Some((path, _)) = self.made.as_ref().filter(|(path, own)| inode(path) == *own) {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Drop for DaemonServer {
    fn drop(&mut self) {
        self.task.abort();
        self.remove();
    }
}

/// What answers others out of what this process has open.
pub(crate) fn api(app: &App) -> Api {
    let app = app.for_others();
    let fleet = app.fleet.clone();
    Api::new(fleet, Arc::new(CallersCommands::OnJournal(Box::new(app))))
}

/// What answers others for a whole set, which `common` names.
pub(crate) fn api_of_set(set: Arc<dyn JournalSet>, common: &Common) -> Api {
    let commands = CallersCommands::OnSet(Box::new(common.clone()));
    Api::of_set(set, Arc::new(commands))
}

/// The socket that a service manager opened there.
fn activated(path: &Path) -> Option<UnixListener> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let listener = supervisor::socket_at(&path)?;
    let listener = listener.set_nonblocking(true).map(|()| listener);
    let listener = listener.and_then(UnixListener::from_std);
    listener
        .inspect_err(|error| tracing::warn!(%error, "the socket that was given cannot be used"))
        .ok()
}

/// Listens there, for the owner of the directory alone. Only the directory's holder comes here:
/// what lies there is of one that was killed. A socket is open to everybody until it is told
/// otherwise, so it gets its name only then.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

fn inode(path: &Path) -> Option<u64> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some(found.ino())
}

/// What is no socket is somebody's file.
fn free(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Lets those of the group of its folder get there.
fn share(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let group = std::fs::metadata(folder)?.gid();
    std::os::unix::fs::chown(path, None, Some(group))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))
}

fn unusable(path: &Path, error: &io::Error) -> ExitProblem {
    let message = format!("nobody can look through {}: {error}", path.display());
    let remedy = "name a --read-only PATH in a folder that this user may write to";
    ExitProblem::new(Exit::Failed, "VSI0021", message, remedy)
}
