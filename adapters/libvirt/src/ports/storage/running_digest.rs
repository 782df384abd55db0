//! Computes the SHA-256 of a volume while it is being filled, with one process on the host that reads it in
//! order.
//!
//! The process ([`script`]) opens the file once and reads it in steps of a few MiB into one SHA-256. Its
//! standard input says how many blocks to read next. When the session ends in any way, the process reads the
//! end of its input, and ends after the requested blocks. If the session hangs, it ends after a minute
//! without input. It writes nothing and reports the file that it read: at the end the volume's path must lead
//! to that same file.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use vsiflow_engine::model::Hash;
use vsiflow_steps::ports::{PortError, PortErrorKind, PortResult, Synced, VolumeKey};

use super::{LibvirtHost, digest};
use crate::{
    ports::{COPY, QUICK},
    session::HostProcess,
};

mod script;

/// How many bytes are read at a time: they fit into a processor's cache.
const BLOCK: u64 = 128 * 1024;
/// How many blocks are requested at a time. The process may still read them after they are no longer needed.
const STRIDE: u64 = 512;
/// How many strides are requested ahead, so that the process does not wait for the round trip.
const AHEAD: u32 = 2;
/// How often it receives a line.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long it may take for a stride.
const STALL: Duration = Duration::from_secs(300);

/// How many blocks were requested.
#[derive(Debug, Default)]
struct DigestProgress {
    requested: u64,
    /// How many strides it has not read yet.
    ahead: u32,
}

impl DigestProgress {
    /// How many blocks to read next, if any can be read now.
    fn next(&mut self, synced: Synced) -> Option<u64> {
        let until = match synced {
            Synced::Prefix(bytes) => bytes / BLOCK,
            Synced::Whole(bytes) => bytes.div_ceil(BLOCK),
        };
        let blocks = until.saturating_sub(self.requested).min(STRIDE);
        if blocks == 0 || self.ahead >= AHEAD {
            return None;
        }
        self.requested = self.requested.saturating_add(blocks);
        self.ahead = self.ahead.saturating_add(1);
        Some(blocks)
    }

    /// Records that a stride was read.
    fn read(&mut self) {
        self.ahead = self.ahead.saturating_sub(1);
    }
}

impl LibvirtHost {
    pub(super) async fn digest_along(
        &self,
        key: &VolumeKey,
        synced: watch::Receiver<Synced>,
    ) -> PortResult<Option<Hash>> {
        if !self.has_shell().await? {
            return Ok(None);
        }
        let path = self.path(key).await?;
        let object = format!("volume {key}");
        let context = self.speaking(&object);
        let started = self.session.start(&script::command(&path), QUICK).await;
        let Some(process) = started.map_err(|error| context.exec(&error))? else {
            return Ok(None);
        };
        let failed = |words: String| context.error(PortErrorKind::Other, words);
        let mut reader = DigestReader {
            process,
            synced,
            failed,
        };
        match reader.read().await? {
            Some(length) => reader.verdict(length).await.map(Some),
            None => Ok(None),
        }
    }
}

/// The process, and its input.
struct DigestReader<F> {
    process: HostProcess,
    synced: watch::Receiver<Synced>,
    failed: F,
}

impl<F: Fn(String) -> PortError> DigestReader<F> {
    /// Has the whole volume read. Returns its length, or `None` if the upload was abandoned.
    async fn read(&mut self) -> PortResult<Option<u64>> {
        let mut reading = DigestProgress::default();
        let mut late = Instant::now() + STALL;
        loop {
            let synced = *self.synced.borrow_and_update();
            while let Some(blocks) = reading.next(synced) {
                self.write(&blocks.to_string()).await?;
            }
            let whole = match synced {
                Synced::Whole(length) => Some(length),
                Synced::Prefix(_) => None,
            };
            match (reading.ahead, whole) {
                (0, Some(length)) => return Ok(Some(length)),
                (0, None) => {
                    if !self.wait_for_more(&mut reading).await? {
                        return Ok(None);
                    }
                    late = Instant::now() + STALL;
                }
                _ => {
                    let line = self.wait_for_line(late).await?;
                    if !line.starts_with("read ") {
                        return Err((self.failed)(format!(
                            "its reading is reported as {line:?}"
                        )));
                    }
                    reading.read();
                    late = Instant::now() + STALL;
                }
            }
        }
    }

    /// Waits until more is synced, and keeps the process alive. Returns whether there will be more.
    async fn wait_for_more(&mut self, reading: &mut DigestProgress) -> PortResult<bool> {
        tokio::select! {
            line = self.process.read_line() => {
                let words = line.unwrap_or_else(|| self.process.last_words());
                return Err((self.failed)(format!("its reading ended: {words}")));
            }
            changed = timeout(KEEP_ALIVE, self.synced.changed()) => match changed {
                Ok(Ok(())) => return Ok(true),
                Ok(Err(_)) => return Ok(false),
                Err(_) => {}
            }
        }
        reading.ahead = 1;
        self.write("0").await?;
        Ok(true)
    }

    async fn write(&self, line: &str) -> PortResult<()> {
        let written = self.process.write_line(line).await;
        written.map_err(|error| (self.failed)(error.to_string()))
    }

    async fn wait_for_line(&mut self, until: Instant) -> PortResult<String> {
        match timeout_at(until, self.process.read_line()).await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => {
                let words = self.process.last_words();
                Err((self.failed)(format!("its reading ended: {words}")))
            }
            Err(_) => Err((self.failed)("its reading takes too long".to_owned())),
        }
    }

    /// The hash, if the process read the volume's current file, and all of it.
    async fn verdict(&mut self, length: u64) -> PortResult<Hash> {
        self.write("end").await?;
        let until = Instant::now() + COPY;
        let file_line = self.wait_for_line(until).await?;
        let volume_line = self.wait_for_line(until).await?;
        let line = self.wait_for_line(until).await?;
        let is_whole = file_line.starts_with("file ") && file_line.ends_with(&format!(" {length}"));
        if !is_whole || file_line != volume_line {
            let words = format!("it was read as {file_line:?} and is {volume_line:?}");
            return Err((self.failed)(words));
        }
        let hash = line.get(..64).and_then(digest::hash);
        hash.ok_or_else(|| (self.failed)(format!("its SHA-256 is reported as {line:?}")))
    }
}

#[cfg(test)]
mod tests;
