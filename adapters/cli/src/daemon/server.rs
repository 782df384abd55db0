//! Answers for commands that find the state directory in use.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Parser as _;
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixListener, UnixStream},
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use vsiflow_file::InputText;

use super::{
    access::{Access, refused},
    frame::{self, Ask, DaemonFrame, FILES_MAX, VERSION},
    socket,
};
use crate::{
    actor,
    args::Cli,
    command,
    compose::App,
    exit::{Exit, ExitProblem},
    output::{
        self,
        sink::{self, OutputSink},
    },
    work::{self, GivenDocuments},
};

/// Commands answered at a time; others wait.
const AT_A_TIME: usize = 16;
/// How long a caller may take to say what it wants.
const ASKING: Duration = Duration::from_secs(5);

/// How long answers under way may take once the holder is done. A caller that is cut off then
/// does its work itself.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Listens until it is finished or dropped.
pub(crate) struct DaemonServer {
    path: PathBuf,
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
        match bind(&path) {
            Ok(listener) => Some(Self::listening(path, listener, app, Whom::Owner)),
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
    pub(crate) fn start_to_look(app: &App, path: &Path) -> Result<Self, ExitProblem> {
        let listener = free(path).and_then(|()| bind(path));
        let listener = listener.and_then(|listener| share(path).map(|()| listener));
        let listener = listener.map_err(|error| unusable(path, &error))?;
        let path = path.to_owned();
        Ok(Self::listening(path, listener, app, Whom::Looking))
    }

    fn listening(path: PathBuf, listener: UnixListener, app: &App, whom: Whom) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(listen(listener, app.for_others(), whom, stop.clone()));
        Self { path, stop, task }
    }

    /// Takes no more callers, and lets answers under way end.
    pub(crate) async fn finish(mut self) {
        let _ = std::fs::remove_file(&self.path);
        self.stop.cancel();
        let _ = tokio::time::timeout(LAST_WORDS, &mut self.task).await;
    }
}

impl Drop for DaemonServer {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
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

/// Who reaches a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    Owner,
    Looking,
}

impl Whom {
    fn may(self, access: Access) -> bool {
        match self {
            Self::Owner => access != Access::Here,
            Self::Looking => access == Access::Looks,
        }
    }
}

async fn listen(listener: UnixListener, app: App, whom: Whom, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    // Dropped with this task, and every answer with it.
    let mut answers = JoinSet::new();
    while let Some(stream) = next(&listener, &stop).await {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let app = app.clone();
        answers.spawn(async move {
            if let Err(error) = Box::pin(answer(stream, app, whom)).await {
                tracing::debug!(%error, "a caller went away");
            }
            drop(place);
        });
        while answers.try_join_next().is_some() {}
    }
    while answers.join_next().await.is_some() {}
}

/// What keeps a caller from being taken (no more files, say) may pass.
const AGAIN: Duration = Duration::from_millis(100);

async fn next(listener: &UnixListener, stop: &CancellationToken) -> Option<UnixStream> {
    loop {
        let caller = tokio::select! {
            () = stop.cancelled() => return None,
            caller = listener.accept() => caller,
        };
        match caller {
            Ok((stream, _)) => return Some(stream),
            Err(error) => {
                tracing::warn!(%error, "a caller cannot be accepted");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, app: App, whom: Whom) -> io::Result<()> {
    let (ask, given) = tokio::time::timeout(ASKING, read(&mut stream)).await??;
    let asked = command_line(&ask);
    let access = asked.as_ref().map(Access::of);
    if !app.stays() && access == Some(Access::Stays) {
        // Without an answer the caller goes on trying to get the directory for itself.
        return Ok(());
    }
    let cli = asked.filter(|_| access.is_some_and(|access| whom.may(access)));
    let caller = stream.peer_cred()?.uid();
    let sink = Arc::new(OutputSink::default());
    let command = async move {
        match cli {
            Some(cli) => command::run(cli).await,
            None if whom == Whom::Looking => {
                output::problem(&refused());
                Exit::Blocked
            }
            None => Exit::Usage,
        }
    };
    let command = actor::for_caller(caller, work::with_files(given, command));
    let work = sink::with(sink.clone(), app.lend(command));
    let mut work = std::pin::pin!(work);
    let exit = loop {
        tokio::select! {
            exit = &mut work => break exit,
            () = sink.filled() => send(&mut stream, &sink).await?,
        }
    };
    send(&mut stream, &sink).await?;
    frame::write(&mut stream, &DaemonFrame::Exit(exit as u8)).await
}

/// What is asked, as the holder does it: it asks nobody else, whatever its environment says.
fn command_line(ask: &Ask) -> Option<Cli> {
    let mut cli = Cli::try_parse_from(&ask.args).ok()?;
    cli.common.read_only = None;
    (ask.version == VERSION).then_some(cli)
}

/// What a caller asks, and the files it sends along.
async fn read(stream: &mut UnixStream) -> io::Result<(Ask, GivenDocuments)> {
    let (_, ask) = frame::read_block(stream).await?;
    let ask: Ask = serde_json::from_slice(&ask).map_err(io::Error::other)?;
    let lengths = ask.files.iter().map(|(_, length)| *length);
    if lengths.fold(0, u64::saturating_add) > FILES_MAX {
        return Err(io::Error::other("the files are too long"));
    }
    let mut files = Vec::with_capacity(ask.files.len());
    for (name, length) in &ask.files {
        let mut bytes = vec![0; usize::try_from(*length).map_err(io::Error::other)?];
        stream.read_exact(&mut bytes).await?;
        let name = name.clone();
        files.push(InputText { name, bytes });
    }
    let directory = ask.directory.clone();
    Ok((ask, GivenDocuments { files, directory }))
}

async fn send(stream: &mut UnixStream, sink: &OutputSink) -> io::Result<()> {
    for (to_err, bytes) in sink.take() {
        let frame = if to_err {
            DaemonFrame::Err(bytes)
        } else {
            DaemonFrame::Out(bytes)
        };
        frame::write(stream, &frame).await?;
    }
    Ok(())
}
