//! Directs output: to this process's own streams, or to a caller whose command runs here.

use std::{
    future::Future,
    io::{self, Write as _},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::Notify,
};
use vsiflow_api::{Caller, UnreadBytes};

tokio::task_local! {
    static CALLER: Arc<OutputSink>;
}

/// The first error of this process's standard output.
static FAILURE: OnceLock<String> = OnceLock::new();
/// Whether the user has read of it.
static REPORTED: AtomicBool = AtomicBool::new(false);
/// Whether this process was started without standard output. The standard library then opens `/dev/null` in its place
/// before `main`, so that no other file gets its number.
static IS_CLOSED: AtomicBool = AtomicBool::new(false);
/// Whether this process had results.
static HAS_RESULTS: AtomicBool = AtomicBool::new(false);
/// Notified when nobody receives the results any more: of each error, and of a closed pipe.
static UNHEARD: Notify = Notify::const_new();

/// Runs before the standard library has replaced a standard output that is closed.
#[ctor::ctor]
fn look_at_standard_output() {
    let is_closed = rustix::io::fcntl_getfd(rustix::stdio::stdout()).is_err();
    IS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Results that were lost.
pub(super) struct LostOutput {
    pub(super) error: String,
    pub(super) is_reported: bool,
}

/// Output that waits to be sent to a caller.
#[derive(Default)]
pub(crate) struct OutputSink {
    /// What waits for the caller, of all commands together.
    unread: UnreadBytes,
    /// Whether the caller wants trees in ASCII.
    ascii: bool,
    waiting: Mutex<Vec<(bool, Vec<u8>)>>,
    /// Whether output was dropped.
    is_cut: AtomicBool,
    /// The code of the first error that was printed.
    first_code: OnceLock<String>,
    filled: Notify,
    taken: Notify,
}

/// How many bytes may wait while long results are printed piece by piece.
const PIECES: usize = 1024 * 1024;

impl OutputSink {
    /// Output for a caller, with trees in ASCII or not.
    pub(crate) fn for_caller(caller: &Caller, ascii: bool) -> Self {
        Self {
            unread: UnreadBytes::of(caller),
            ascii,
            waiting: Mutex::default(),
            is_cut: AtomicBool::new(false),
            first_code: OnceLock::new(),
            filled: Notify::new(),
            taken: Notify::new(),
        }
    }

    fn put(&self, to_err: bool, bytes: &[u8]) {
        if !self.unread.add(bytes.len()) {
            return self.is_cut.store(true, Ordering::Relaxed);
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.last_mut() {
            Some((kind, last)) if *kind == to_err => last.extend_from_slice(bytes),
            _ => waiting.push((to_err, bytes.to_vec())),
        }
        self.filled.notify_one();
    }

    /// Whether output was dropped, because the caller does not read.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Relaxed)
    }

    /// The code of the first error that was printed.
    pub(crate) fn first_code(&self) -> Option<String> {
        self.first_code.get().cloned()
    }

    fn held(&self) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        length_of(&waiting)
    }

    /// Waits until the caller has taken most of it. Cancel safe.
    async fn drained(&self) {
        while self.held() > PIECES {
            self.taken.notified().await;
        }
    }

    /// The output since the last call: whether it is for standard error, and the bytes.
    pub(crate) fn take(&self) -> Vec<(bool, Vec<u8>)> {
        self.taken.notify_one();
        let taken =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        self.unread.remove(length_of(&taken));
        taken
    }

    /// Waits until there is something to take. Cancel safe.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }
}

impl Drop for OutputSink {
    fn drop(&mut self) {
        self.unread.remove(self.held());
    }
}

fn length_of(pieces: &[(bool, Vec<u8>)]) -> usize {
    pieces.iter().map(|(_, bytes)| bytes.len()).sum()
}

/// Runs a caller's command with its output sent to `sink`.
pub(crate) async fn with<T>(sink: Arc<OutputSink>, work: impl Future<Output = T>) -> T {
    CALLER.scope(sink, work).await
}

/// Notes the code of an error that is printed: who asked for a command by other means than its text is told the first
/// one.
pub(crate) fn note_code(code: &str) {
    let _ = CALLER.try_with(|sink| sink.first_code.set(code.to_owned()));
}

/// Whether a caller's command runs here.
pub(crate) fn is_for_caller() -> bool {
    CALLER.try_with(|_| ()).is_ok()
}

/// Whether the caller whose command runs here wants trees in ASCII; `None` if there is no caller.
pub(super) fn callers_ascii() -> Option<bool> {
    CALLER.try_with(|sink| sink.ascii).ok()
}

/// Waits until this process's results cannot be written, or nobody reads them. Never for a caller's command.
pub(crate) async fn unheard() {
    if is_for_caller() {
        return std::future::pending().await;
    }
    UNHEARD.notified().await;
}

/// Notes that results were written to standard output, or why not, for the end of the process.
pub(crate) fn printed(written: io::Result<()>) -> io::Result<()> {
    HAS_RESULTS.store(true, Ordering::Relaxed);
    noted(written)
}

/// Notes an error of standard output, for the end of the process.
fn noted(written: io::Result<()>) -> io::Result<()> {
    if let Err(error) = &written {
        if error.kind() != io::ErrorKind::BrokenPipe {
            let _ = FAILURE.set(error.to_string());
        }
        UNHEARD.notify_one();
    }
    written
}

/// The user reads of the error of standard output now.
pub(super) fn report() {
    REPORTED.store(true, Ordering::Relaxed);
}

/// Whether results were lost.
pub(crate) fn has_failed() -> bool {
    FAILURE.get().is_some()
}

/// Whether results could be written: a command that had none is not to succeed where they would be lost.
fn accepts_output() -> io::Result<()> {
    if IS_CLOSED.load(Ordering::Relaxed) {
        let has_results = HAS_RESULTS.load(Ordering::Relaxed);
        let lost = has_results.then(|| rustix::io::Errno::BADF.into());
        return lost.map_or(Ok(()), Err);
    }
    rustix::io::write(io::stdout(), &[])?;
    Ok(())
}

/// Writes what is left, and returns the error if results were lost.
pub(super) fn finish() -> Option<LostOutput> {
    let _ = noted(io::stdout().flush());
    let _ = noted(accepts_output());
    let error = FAILURE.get()?.clone();
    let is_reported = REPORTED.load(Ordering::Relaxed);
    Some(LostOutput { error, is_reported })
}

/// Writes results without colours for a caller.
pub(super) fn out(bytes: &[u8]) -> std::io::Result<()> {
    match CALLER.try_with(|sink| sink.put(false, &plain(bytes))) {
        Ok(()) => Ok(()),
        Err(_) => printed(anstream::stdout().write_all(bytes)),
    }
}

/// Writes results unchanged, including escape sequences.
pub(super) fn out_raw(bytes: &[u8]) -> std::io::Result<()> {
    match CALLER.try_with(|sink| sink.put(false, bytes)) {
        Ok(()) => Ok(()),
        Err(_) => printed(std::io::stdout().write_all(bytes)),
    }
}

/// Waits until a caller has taken most of what was printed: between the parts of a long result. Cancel safe.
pub(crate) async fn drained() {
    if let Ok(sink) = CALLER.try_with(Arc::clone) {
        sink.drained().await;
    }
}

/// Prints long results completely, however slowly a caller reads them.
pub(crate) async fn out_all(from: &mut (impl AsyncRead + Unpin)) -> std::io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut piece).await?;
        let Some(piece) = piece.get(..length).filter(|piece| !piece.is_empty()) else {
            return Ok(());
        };
        out_raw(piece)?;
        drained().await;
    }
}

/// Writes progress to standard error. A closed terminal is not an error.
pub(super) fn err(bytes: &[u8]) {
    if CALLER
        .try_with(|sink| sink.put(true, &plain(bytes)))
        .is_err()
    {
        let _ = anstream::stderr().write_all(bytes);
    }
}

/// Removes colours: this process does not know the caller's terminal.
fn plain(bytes: &[u8]) -> Vec<u8> {
    anstream::adapter::strip_bytes(bytes).into_vec()
}

#[cfg(test)]
mod tests {
    use vsiflow_api::Rights;
    use vsiflow_engine::model::{Actor, Who};

    use super::*;

    /// What may wait for one caller.
    const MAX: usize = 32 << 20;

    fn sink_of(name: &str, rights: Rights) -> OutputSink {
        let actor = Actor::Token(Who::new(name));
        OutputSink::for_caller(&Caller { actor, rights }, false)
    }

    #[test]
    fn what_waits_for_one_caller_is_counted_over_all_commands() {
        let half = vec![0; MAX / 2];
        let commands = [(); 3].map(|()| sink_of("reads-nothing", Rights::Look));
        commands
            .iter()
            .for_each(|command| command.put(false, &half));
        let cut = commands.iter().map(OutputSink::is_cut);
        assert_eq!(cut.collect::<Vec<_>>(), [false, false, true]);
        for (name, rights) in [
            ("other", Rights::Look),
            ("reads-nothing", Rights::Everything),
        ] {
            let other = sink_of(name, rights);
            other.put(false, &half);
            assert!(!other.is_cut(), "{name}");
        }
        let [taken, dropped, _] = commands;
        assert_eq!(taken.take().len(), 1);
        drop(dropped);
        let next = sink_of("reads-nothing", Rights::Look);
        next.put(false, &half);
        next.put(true, &half);
        assert!(!next.is_cut());
    }
}
