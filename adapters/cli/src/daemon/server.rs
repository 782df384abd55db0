//! Answers for commands that find the state directory in use.

use std::{
    fs::Permissions,
    io,
    os::unix::fs::PermissionsExt as _,
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
    client::{may_forward, only_a_daemon},
    frame::{self, Ask, DaemonFrame, FILES_MAX, VERSION},
    socket,
};
use crate::{
    actor,
    args::Cli,
    command,
    compose::App,
    exit::Exit,
    output::sink::{self, OutputSink},
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
            Ok(listener) => {
                let stop = CancellationToken::new();
                let task = tokio::spawn(listen(listener, app.for_others(), stop.clone()));
                Some(Self { path, stop, task })
            }
            Err(error) => {
                tracing::warn!(%error, "no socket for other commands");
                None
            }
        }
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

async fn listen(listener: UnixListener, app: App, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    // Dropped with this task, and every answer with it.
    let mut answers = JoinSet::new();
    while let Some(stream) = next(&listener, &stop).await {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let app = app.clone();
        answers.spawn(async move {
            if let Err(error) = Box::pin(answer(stream, app)).await {
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
                tracing::warn!(%error, "a caller is not taken");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, app: App) -> io::Result<()> {
    let (ask, given) = tokio::time::timeout(ASKING, read(&mut stream)).await??;
    let cli = Cli::try_parse_from(&ask.args).ok();
    let cli = cli.filter(|cli| ask.version == VERSION && may_forward(&cli.command));
    if !app.stays() && cli.as_ref().is_some_and(|cli| only_a_daemon(&cli.command)) {
        // Without an answer the caller goes on trying to get the directory for itself.
        return Ok(());
    }
    let caller = stream.peer_cred()?.uid();
    let sink = Arc::new(OutputSink::default());
    let command = async move {
        match cli {
            Some(cli) => command::run(cli).await,
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
