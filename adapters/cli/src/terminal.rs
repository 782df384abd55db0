//! Connects the user's terminal to a guest's console: every key goes to the guest, and the guest's
//! output is shown unchanged.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use bytes::Bytes;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::{
    exit::{Exit, ExitProblem},
    output::sink,
};

/// The key `^]`, which leaves the console.
const LEAVES: u8 = 0x1d;
/// The most bytes of input that are read at a time.
const PIECE: usize = 1_024;

/// Sets the terminal to raw mode until it is dropped, also by a panic.
pub(crate) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Sets standard input to raw mode if it is a terminal.
    ///
    /// # Errors
    /// When it is a terminal and its mode cannot be set.
    pub(crate) fn begin() -> io::Result<Option<Self>> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Some(Self { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Unread input was meant for the guest, so it is discarded.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Refuses a standard input that is not a terminal, unless `--stdin` is given.
pub(crate) fn check(piped: bool) -> Result<(), ExitProblem> {
    if piped || io::stdin().is_terminal() {
        return Ok(());
    }
    let message = "standard input is not a terminal";
    let remedy = "call it on a terminal, or add `--stdin` where something else types";
    Err(ExitProblem::new(Exit::Usage, "VSI0816", message, remedy))
}

/// Sends the input. It ends at the end of standard input and, on a terminal, at `^]`.
pub(crate) fn keys(to: mpsc::Sender<Bytes>) {
    let leaves = io::stdin().is_terminal();
    // In a separate thread: a read that never ends must not delay the end of this process.
    std::thread::spawn(move || {
        let mut piece = [0; PIECE];
        loop {
            let typed = match io::stdin().read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => piece.get(..read.unwrap_or(0)).unwrap_or_default(),
            };
            let left = typed.iter().position(|key| leaves && *key == LEAVES);
            let meant = typed.get(..left.unwrap_or(typed.len())).unwrap_or_default();
            let gone =
                !meant.is_empty() && to.blocking_send(Bytes::copy_from_slice(meant)).is_err();
            if gone || left.is_some() || typed.is_empty() {
                return;
            }
        }
    });
}

/// Writes the guest's output unchanged, until it ends or standard output is closed.
pub(crate) async fn show(mut output: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = output.recv().await {
        let write = move || {
            let mut out = io::stdout().lock();
            sink::printed(out.write_all(&bytes).and_then(|()| out.flush()))
        };
        // A stopped terminal blocks only a thread for such work.
        if !matches!(tokio::task::spawn_blocking(write).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Waits for a signal that ends this process.
pub(crate) async fn ended() {
    let kinds = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::quit(),
    ];
    let ends = kinds.into_iter().filter_map(|kind| signal(kind).ok());
    let ends = ends.map(|mut signal| Box::pin(async move { signal.recv().await }));
    let ends: Vec<_> = ends.collect();
    if ends.is_empty() {
        return std::future::pending().await;
    }
    futures::future::select_all(ends).await;
}
