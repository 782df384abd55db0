//! `vnc`: a VSI's screen at a port of this machine.
//!
//! The port is on 127.0.0.1. Each viewer that connects has its own connection to the screen, through the host
//! or through the daemon that has the state directory. The first connection is made before the port is
//! announced, so that problems are reported immediately; the first viewer uses it.

mod viewer;

use std::{io, net::Ipv4Addr, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use vsiflow_api::{DaemonAddress, wire};
use vsiflow_workflows::fleet::{ConsoleAccess, ConsoleWay, OpenConsole};

use super::console;
use crate::{
    args::VncArgs,
    daemon,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, terminal,
};

/// How many viewers are served at the same time; more wait.
const VIEWERS: usize = 8;
/// The delay after a connection could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// Directly through the host.
pub(super) async fn here(access: &ConsoleAccess, args: &VncArgs) -> CommandOutcome {
    let listener = listen(args.port).await?;
    let way = ScreenRoute::Here(access);
    let first = way.open().await?;
    show(listener, args, &way, first).await
}

/// Through a daemon; `None` if none answers at that address.
pub(super) async fn through(place: &DaemonAddress, args: &VncArgs) -> Option<CommandOutcome> {
    let way = ScreenRoute::There(place, args);
    match way.open().await {
        // The daemon may end; then another process has the state directory next.
        Err(problem) if problem.code == SILENT => None,
        Err(problem) => Some(Err(problem)),
        Ok(first) => Some(match listen(args.port).await {
            Ok(listener) => show(listener, args, &way, first).await,
            Err(problem) => Err(problem),
        }),
    }
}

/// The code for a daemon that does not answer.
const SILENT: &str = "VSI0025";

/// How a screen is reached.
enum ScreenRoute<'a> {
    /// Through the host.
    Here(&'a ConsoleAccess),
    /// Through a daemon.
    There(&'a DaemonAddress, &'a VncArgs),
}

/// A connection to a screen.
enum OpenScreen {
    Here(OpenConsole),
    There(Box<dyn ViewerConnection>),
}

trait ViewerConnection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ViewerConnection for T {}

impl ScreenRoute<'_> {
    async fn open(&self) -> Result<OpenScreen, ExitProblem> {
        match self {
            Self::Here(access) => Ok(OpenScreen::Here(access.open(false).await?)),
            Self::There(place, args) => {
                let name = args.target.name();
                let target = (args.target.namespace.as_str(), name.as_str());
                let how = (ConsoleWay::Vnc, false);
                let opened = daemon::console(place, target, how).await;
                let opened = opened.ok_or_else(|| console::silent(place, ConsoleWay::Vnc))?;
                Ok(OpenScreen::There(Box::new(opened?)))
            }
        }
    }
}

impl OpenScreen {
    /// Carries bytes both ways until the viewer or the screen ends it.
    async fn carry(self, mut viewer: TcpStream) -> Result<(), ExitProblem> {
        match self {
            Self::Here(console) => {
                let (typed, keys) = wire::queue();
                let (shown, show) = wire::queue();
                let viewer = wire::both_ways(viewer, typed, show);
                let (carried, ()) = tokio::join!(console.carry(keys, shown), viewer);
                Ok(carried?)
            }
            Self::There(mut screen) => {
                // An error means the same as the end: there is nothing more to show.
                let _ = tokio::io::copy_bidirectional(&mut viewer, &mut screen).await;
                Ok(())
            }
        }
    }
}

async fn listen(port: u16) -> Result<TcpListener, ExitProblem> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.map_err(|error| deaf(port, &error))
}

/// Announces the port and serves viewers, until interrupted or until the started viewer ends.
async fn show(
    listener: TcpListener,
    args: &VncArgs,
    way: &ScreenRoute<'_>,
    first: OpenScreen,
) -> CommandOutcome {
    let address = listener.local_addr().map_err(ExitProblem::defect)?;
    output::line(&format!("vnc://{address}"));
    let started = viewer::start(address, args.listen_only);
    let mut ended = std::pin::pin!(terminal::ended());
    let mut left = std::pin::pin!(viewer::ended(started));
    let (mut first, mut open) = (Some(first), FuturesUnordered::new());
    loop {
        tokio::select! {
            accepted = listener.accept(), if open.len() < VIEWERS => match accepted {
                Ok((viewer, _)) => open.push(serve(way, first.take(), viewer)),
                Err(error) => {
                    output::warning(&format!("a viewer cannot be accepted: {error}"));
                    sleep(PAUSE).await;
                }
            },
            Some(served) = open.next() => if let Err(problem) = served {
                let ExitProblem { code, message, .. } = problem;
                output::warning(&format!("{message} ({code})"));
            },
            () = &mut ended => return Ok(Exit::Done),
            () = &mut left => return Ok(Exit::Done),
        }
    }
}

async fn serve(
    way: &ScreenRoute<'_>,
    first: Option<OpenScreen>,
    viewer: TcpStream,
) -> Result<(), ExitProblem> {
    let screen = match first {
        Some(screen) => screen,
        None => way.open().await?,
    };
    screen.carry(viewer).await
}

fn deaf(port: u16, error: &io::Error) -> ExitProblem {
    let message = format!("nothing can be answered at 127.0.0.1:{port}: {error}");
    let remedy = "name another --port, or end the process that uses it";
    ExitProblem::new(Exit::Failed, "VSI0807", message, remedy)
}
