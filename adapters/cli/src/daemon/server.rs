//! Answers commands that find the state directory in use.

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
use uuid::Uuid;
use vsiflow_api::{Api, ApiPorts, JournalSet, LOOKING, OWNER, Rights, SocketPath, serve_unix};

use super::{commands::CallersCommands, socket::socket};
use crate::{
    args::Common,
    compose::App,
    documents::JournalDocuments,
    ending::defect,
    exit::{Exit, ExitProblem},
    inspection::{Inspection, SetInspection},
    membership::SetPlace,
    output, supervisor,
};

/// How long answers in progress may take once this process is done. A caller that is disconnected
/// then does its work itself.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// A server that listens until it is finished or dropped.
pub(crate) struct DaemonServer {
    /// The path of the socket and its inode, if this process made it.
    made: Option<(PathBuf, Option<u64>)>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl DaemonServer {
    /// Starts listening, unless this is a caller's command itself. The command also works without a
    /// socket; other commands then report that the directory is in use.
    pub(crate) fn start(app: &App) -> Option<Self> {
        if app.is_borrowed() {
            return None;
        }
        Self::start_for_daemon(app)
            .inspect_err(|problem| output::warning(&problem.message))
            .ok()
    }

    /// Starts listening for a process whose work is to answer.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn start_for_daemon(app: &App) -> Result<Self, ExitProblem> {
        let path = socket(app.state_path());
        if let Some(listener) = activated(&path) {
            return Ok(Self::listening(
                None,
                listener,
                api(app),
                Rights::Everything,
            ));
        }
        Self::at(path, api(app))
    }

    /// Starts listening for the owner of a state directory that several processes of a set may share: any of
    /// them can answer. `None` if another one already does.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) async fn start_for_set(
        api: &Api,
        state: &Path,
    ) -> Result<Option<Self>, ExitProblem> {
        let path = socket(state);
        if let Some(listener) = activated(&path) {
            let api = api.clone();
            return Ok(Some(Self::listening(
                None,
                listener,
                api,
                Rights::Everything,
            )));
        }
        // The socket may be left from a killed process.
        if is_answered(&path).await {
            return Ok(None);
        }
        Self::at(path, api.clone()).map(Some)
    }

    fn at(path: PathBuf, api: Api) -> Result<Self, ExitProblem> {
        let listener = bind(&path).map_err(|error| unusable_state(&path, &error))?;
        Ok(Self::listening(
            Some(path),
            listener,
            api,
            Rights::Everything,
        ))
    }

    /// Starts listening for users who may read: the group of the socket's folder.
    ///
    /// # Errors
    /// When the socket cannot be made, because it was requested.
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
        // In a task of its own, so that only callers wait for the answers.
        let task = tokio::spawn(async move {
            let service = TowerToHyperService::new(api.service(rights));
            serve_unix(listener, service, limits, stopped).await;
            api.end_consoles().await;
        });
        Self { made, stop, task }
    }

    /// Waits for the end of the task that answers. Nobody stops it, so it panicked: nothing would be answered any
    /// more. Cancel safe.
    pub(crate) async fn ended(&mut self) -> ExitProblem {
        let ended = (&mut self.task).await;
        let why = ended.map_or_else(|error| error.to_string(), |()| "it ended".to_owned());
        defect(&format!("a socket is not answered any more: {why}"))
    }

    /// Accepts no more callers, and lets answers in progress finish.
    pub(crate) async fn finish(mut self) {
        self.remove();
        self.stop.cancel();
        if self.task.is_finished() {
            return;
        }
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, &mut self.task).await;
    }

    fn remove(&self) {
        // Another process of a set may have replaced the socket with its own.
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

/// The API for the journal that this process has open.
pub(crate) fn api(app: &App) -> Api {
    api_with(app, JournalDocuments::of(app.for_others()))
}

/// The same, with other work on documents.
pub(crate) fn api_with(app: &App, documents: JournalDocuments) -> Api {
    let app = app.for_others();
    let fleet = app.fleet.clone();
    let moments = app.moments().clone();
    let ports = ApiPorts {
        audits: Arc::new(Inspection::Held(Box::new(app.clone()))),
        commands: Arc::new(CallersCommands::OnJournal(Box::new(app))),
        documents: Arc::new(documents),
    };
    Api::new(fleet, ports, moments)
}

/// The API for the whole set that `common` names.
pub(crate) fn api_of_set(set: Arc<dyn JournalSet>, place: SetPlace, common: &Common) -> Api {
    let ports = ApiPorts {
        commands: Arc::new(CallersCommands::OnSet(Box::new(common.clone()))),
        audits: Arc::new(SetInspection::new(place, common)),
        ..ApiPorts::default()
    };
    Api::of_set(set, ports)
}

/// The socket at that path that a service manager opened.
fn activated(path: &Path) -> Option<UnixListener> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let listener = supervisor::socket_at(&path)?;
    let listener = listener.set_nonblocking(true).map(|()| listener);
    let listener = listener.and_then(UnixListener::from_std);
    listener
        .inspect_err(|error| tracing::warn!(%error, "the socket that was given cannot be used"))
        .ok()
}

/// Listens at a path, for the owner of the directory only. The caller holds the directory, so an
/// existing socket is left from a killed process. A new socket is open to all users until its mode
/// is set, so it gets its name only afterwards. Until then its name is this call's own, because
/// processes of a set that share the directory start together.
fn bind(path: &Path) -> io::Result<UnixListener> {
    // The socket is made under another name, and is to be reached under its own.
    SocketPath::of(path)?;
    let new = path.with_file_name(format!(".{}.new", Uuid::new_v4().simple()));
    let listener = UnixListener::bind(SocketPath::of(&new)?.as_path())?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&new, path))
        .inspect_err(|_| {
            let _ = std::fs::remove_file(&new);
        })?;
    Ok(listener)
}

async fn is_answered(path: &Path) -> bool {
    match SocketPath::of(path) {
        Ok(reached) => UnixStream::connect(reached.as_path()).await.is_ok(),
        Err(_) => false,
    }
}

fn inode(path: &Path) -> Option<u64> {
    let found = std::fs::symlink_metadata(path).ok()?;
    Some(found.ino())
}

/// Checks that the path is free or a socket; any other file is not replaced.
fn free(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Gives the group of the socket's folder access.
fn share(path: &Path) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let group = std::fs::metadata(folder)?.gid();
    std::os::unix::fs::chown(path, None, Some(group))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o660))
}

fn unusable_state(path: &Path, error: &io::Error) -> ExitProblem {
    let message = format!(
        "no other command can be answered: the socket {} cannot be made: {error}",
        path.display()
    );
    let remedy = "name a --state DIR in which this user may make sockets, on a local file system";
    ExitProblem::new(Exit::Failed, "VSI0021", message, remedy)
}

fn unusable(path: &Path, error: &io::Error) -> ExitProblem {
    let message = format!(
        "the viewers' socket {} cannot be opened: {error}",
        path.display()
    );
    let remedy = match error.kind() {
        io::ErrorKind::InvalidInput => "name a --read-only PATH whose file has a shorter name",
        _ => "name a --read-only PATH in a folder that this user may write to",
    };
    ExitProblem::new(Exit::Failed, "VSI0021", message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_whose_task_panics_ends_what_serves_it() {
        let mut server = DaemonServer {
            made: None,
            stop: CancellationToken::new(),
            task: tokio::spawn(async { panic!("the test asked for it") }),
        };
        assert_eq!(server.ended().await.code, "VSI0001");
        server.finish().await;
    }

    #[tokio::test]
    async fn a_socket_that_is_answered_ends_nothing() {
        let mut server = DaemonServer {
            made: None,
            stop: CancellationToken::new(),
            task: tokio::spawn(std::future::pending()),
        };
        let ended = tokio::time::timeout(Duration::from_millis(10), server.ended());
        assert!(ended.await.is_err());
    }

    #[tokio::test]
    async fn a_socket_that_nobody_can_reach_by_its_name_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x".repeat(120));
        let error = bind(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let problem = unusable(&path, &error);
        assert!(problem.message.contains("too long for a socket"));
        assert!(problem.remedy.contains("shorter name"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Processes of a set that share a state directory start together.
    #[tokio::test(flavor = "multi_thread")]
    async fn who_makes_a_socket_at_the_same_time_disturbs_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vsiflow.sock");
        for _ in 0..50 {
            let binding = (0..4).map(|_| {
                let path = path.clone();
                tokio::task::spawn_blocking(move || bind(&path))
            });
            let bound = futures::future::join_all(binding.collect::<Vec<_>>()).await;
            let listeners: Result<Vec<_>, _> = bound.into_iter().map(Result::unwrap).collect();
            let listeners = listeners.unwrap();
            assert!(is_answered(&path).await);
            drop(listeners);
        }
        let files = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(files.count(), 1, "only the socket is left");
    }
}
