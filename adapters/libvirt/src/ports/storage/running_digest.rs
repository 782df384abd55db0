//! The SHA-256 of a volume that is being filled, by one process on the host that reads it in order.
//!
//! The process ([`script`]) opens the file once and reads as far as it is told, a few MiB at a time, into one
//! SHA-256. It is told so on its standard input: when the session ends, however
//! that comes, it finds the end of that and is gone as soon as it has read what it was told. Where a
//! session hangs it hears nothing for a minute, and ends as well. It writes nothing and names the
//! file it read: at the end the volume's path must lead to that very file.

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

/// What is read at a time, in bytes: as much as stays in a processor's cache.
const BLOCK: u64 = 128 * 1024;
/// Blocks that it is told to read at once: what it may continue reading when nobody waits any more.
const STRIDE: u64 = 512;
/// Strides that it is told ahead, so that it need not wait for the way there and back.
const AHEAD: u32 = 2;
/// It hears something this often.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long it may take for a stride.
const STALL: Duration = Duration::from_secs(300);

/// What it was told to read, in blocks.
#[derive(Debug, Default)]
struct DigestProgress {
    requested: u64,
    /// Strides that it has not read yet.
    ahead: u32,
}

impl DigestProgress {
    /// Blocks to read next, where there are some to be read now.
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

    /// Something was read.
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
        let at = self.speaking(&object);
        let started = self.session.start(&script::command(&path), QUICK).await;
        let Some(process) = started.map_err(|error| at.exec(&error))? else {
            return Ok(None);
        };
        let failed = |words: String| at.error(PortErrorKind::Other, words);
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

/// The process, and what it is told.
struct DigestReader<F> {
    process: HostProcess,
    synced: watch::Receiver<Synced>,
    failed: F,
}

impl<F: Fn(String) -> PortError> DigestReader<F> {
    /// Has everything read; the volume's length, or `None` where the upload was given up.
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

    /// Waits until more is synced, and keeps the process alive meanwhile; whether there will be more.
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

    /// What it read, if that is the file that the volume is now, and all of it.
    async fn verdict(&mut self, length: u64) -> PortResult<Hash> {
        self.write("end").await?;
        let until = Instant::now() + COPY;
        let read = self.wait_for_line(until).await?;
        let volume = self.wait_for_line(until).await?;
        let line = self.wait_for_line(until).await?;
        let is_whole = read.starts_with("file ") && read.ends_with(&format!(" {length}"));
        if !is_whole || read != volume {
            let words = format!("it was read as {read:?} and is {volume:?}");
            return Err((self.failed)(words));
        }
        let hash = line.get(..64).and_then(digest::hash);
        hash.ok_or_else(|| (self.failed)(format!("its SHA-256 is reported as {line:?}")))
    }
}

#[cfg(test)]
mod tests;
