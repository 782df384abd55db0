//! The caller's terminal as a guest's console: every key goes to the guest, and what the guest says
//! comes as it is.

use std::io::{self, IsTerminal as _, Read as _, Write as _};

use bytes::Bytes;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use crate::exit::{Exit, ExitProblem};

/// `^]`, which leaves.
const LEAVES: u8 = 0x1d;
/// The longest piece that is typed at once, in bytes.
const PIECE: usize = 1_024;

/// A terminal that hands on each key, until this is dropped: by a panic as well.
pub(crate) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Where standard input is a terminal, it hands on each key from now on.
    ///
    /// # Errors
    /// When it is a terminal and cannot be set.
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
        // What was typed and not read was for the guest.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// Refuses a standard input that is no terminal, unless it is meant.
pub(crate) fn check(piped: bool) -> Result<(), ExitProblem> {
    if piped || io::stdin().is_terminal() {
        return Ok(());
    }
    let message = "standard input is no terminal";
    let remedy = "call it on a terminal, or add `--stdin` where something else types";
    Err(ExitProblem::new(Exit::Usage, "VSI0816", message, remedy))
}

/// What is typed; it ends at the end of standard input and, on a terminal, at `^]`.
pub(crate) fn keys(to: mpsc::Sender<Bytes>) {
    let leaves = io::stdin().is_terminal();
    // A thread of its own: a read that nothing ends must not hold up the end of this process.
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

/// Writes what the guest says, as it is, to its end or until nobody reads it.
pub(crate) async fn show(mut output: mpsc::Receiver<Bytes>) {
    while let Some(bytes) = output.recv().await {
        let write = move || {
            let mut out = io::stdout().lock();
            out.write_all(&bytes).and_then(|()| out.flush())
        };
        // Whoever stops a terminal holds up a thread for such work, and nothing else.
        if !matches!(tokio::task::spawn_blocking(write).await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Whatever ends this process from outside and can be heard of.
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
