//! Directs output: to this process's own streams, or to a caller whose command runs here.

use std::{
    future::Future,
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    sync::Notify,
};

tokio::task_local! {
    static CALLER: Arc<OutputSink>;
}

/// Output that waits to be sent to a caller.
#[derive(Default)]
pub(crate) struct OutputSink {
    waiting: Mutex<Vec<(bool, Vec<u8>)>>,
    filled: Notify,
    taken: Notify,
}

/// How many bytes may wait while long results are printed piece by piece.
const PIECES: usize = 1024 * 1024;

/// The most bytes that are held for a caller that does not read; further output is dropped.
const MAX: usize = 32 * 1024 * 1024;

impl OutputSink {
    fn put(&self, to_err: bool, bytes: &[u8]) {
        if self.held().saturating_add(bytes.len()) > MAX {
            return;
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.last_mut() {
            Some((kind, last)) if *kind == to_err => last.extend_from_slice(bytes),
            _ => waiting.push((to_err, bytes.to_vec())),
        }
        self.filled.notify_one();
    }

    fn held(&self) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().map(|(_, bytes)| bytes.len()).sum()
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
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until there is something to take. Cancel safe.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }
}

/// Runs a caller's command with its output sent to `sink`.
pub(crate) async fn with<T>(sink: Arc<OutputSink>, work: impl Future<Output = T>) -> T {
    CALLER.scope(sink, work).await
}

/// Whether a caller's command runs here.
pub(crate) fn is_for_caller() -> bool {
    CALLER.try_with(|_| ()).is_ok()
}

/// Writes results without colours for a caller.
pub(super) fn out(bytes: &[u8]) -> std::io::Result<()> {
    match CALLER.try_with(|sink| sink.put(false, &plain(bytes))) {
        Ok(()) => Ok(()),
        Err(_) => anstream::stdout().write_all(bytes),
    }
}

/// Writes results unchanged, including escape sequences.
pub(super) fn out_raw(bytes: &[u8]) -> std::io::Result<()> {
    match CALLER.try_with(|sink| sink.put(false, bytes)) {
        Ok(()) => Ok(()),
        Err(_) => std::io::stdout().write_all(bytes),
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
        if let Ok(sink) = CALLER.try_with(Arc::clone) {
            sink.drained().await;
        }
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
