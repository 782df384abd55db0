//! The way of an image by path: into the file of its volume, by one process on the host, over a channel of
//! the same SSH session. With Python there it costs the host less than libvirt's stream does; with `dd`, about as much.
//! It is also what bytes can be packed on.
//!
//! The process (`script`) is a shell with Python, or with `dd` where there is none. It enters the folder of the pool, opens the file of the
//! volume once, and writes only through what it has open. It creates nothing, truncates nothing and
//! follows no link: before the first byte the name must be a plain file with no other name, and be what was
//! opened. At the end name and open file must still have the same device and inode. So a file or link
//! that takes the volume's place meanwhile receives nothing, and is noticed ([`Replaced`]).
//!
//! Bytes are written in their order, so that the file's length says what the host has, as with libvirt's
//! stream: checkpoints, hashes and resuming do not know the difference. When the session ends, the process
//! finds its standard input at the end; where the session hangs it ends after fifteen minutes. Where this process
//! acts under a lease, the host is told until when it may write (`right`).
//!
//! Where the way between is slow, bytes go packed, and `zstd` on the host unpacks them (`pack`). What is in
//! the file, and what is hashed of it, is the same.
//!
//! It is taken for volumes of pools in folders (`dir`, `fs`, `netfs`) where the host runs commands for us,
//! has what it takes, and our account may write to the file; to a host that is near only where Python writes. Otherwise the reason is part of the history.
//!
//! [`Replaced`]: vsiflow_steps::ports::PortErrorKind::Replaced

mod frames;
mod pack;
mod script;
mod write_lease;
mod writer;

use std::{pin::pin, sync::atomic::Ordering, time::Duration};

use vsiflow_steps::ports::{PortErrorKind, PortResult, Transfer, VolumeKey};

use super::LibvirtHost;
use crate::{
    ports::{QUICK, error::ErrorContext},
    session::HostProcess,
    time,
    xml::pool,
};
use tokio::time::{Instant, timeout_at};

use pack::PackingPolicy;
use write_lease::{HostClock, WriteRight};
pub(super) use writer::PathUpload;

/// A host that answers sooner is on a network that is faster than packing; libvirt's stream serves it as well as `dd` does.
const NEAR: Duration = Duration::from_millis(5);
/// Of so many answers the first to come counts: a busy host may keep some waiting.
const ANSWERS: u32 = 5;

/// The way by path, or why it is not taken.
pub(super) enum PathWay {
    Taken(PathUpload),
    Closed(String),
}

/// What the process said first.
#[derive(Debug)]
enum Opened {
    Ready {
        clock: HostClock,
        /// Whether it can unpack zstd.
        unpacks: bool,
        /// Whether Python writes, one process for all frames.
        python: bool,
    },
    /// Why it cannot be done.
    No(String),
    /// What is in the place of the file.
    Odd(String),
}

impl LibvirtHost {
    /// Whether the host answers so soon that the way there can hardly be what uploads wait for.
    async fn is_near(&self) -> PortResult<bool> {
        let calls = self.quick().await?;
        for _ in 0..ANSWERS {
            let begun = Instant::now();
            let answer = calls.connect_get_lib_version().await;
            answer.map_err(|error| self.speaking("").of(&error))?;
            if begun.elapsed() < NEAR {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens the volume's file on the host, to write from `offset` on.
    pub(super) async fn open_path(
        &self,
        key: &VolumeKey,
        offset: u64,
        transfer: Transfer,
    ) -> PortResult<PathWay> {
        let closed = |why: &str| Ok(PathWay::Closed(why.to_owned()));
        if !self.has_shell().await? {
            return closed("the host permits no commands");
        }
        let Some(folder) = self.folder_of(key).await? else {
            return closed("the pool has no folder");
        };
        let object = format!("volume {key}");
        let at = self.speaking(&object);
        let lease = self.session.lease();
        let command = script::command(&folder, &key.name, lease.left().is_some());
        // A host that permits no further command has libvirt's stream.
        let Ok(Some(mut process)) = self.session.start_writer(&command, QUICK).await else {
            return closed("the host permits too few commands at a time");
        };
        let (clock, unpacks, python) = match first_word(&mut process).await {
            Opened::Ready {
                clock,
                unpacks,
                python,
            } => (clock, unpacks, python),
            Opened::No(why) => return Ok(PathWay::Closed(why)),
            Opened::Odd(what) => return Err(replaced(at, &what)),
        };
        if transfer == Transfer::Auto && !python && self.is_near().await? {
            return closed("the host is near and has no Python");
        }
        let Some(process) = self.beside_a_command(process).await? else {
            return closed("the host permits too few commands at a time");
        };
        let badly = &self.unpacks_badly;
        let packing = PackingPolicy::new(transfer, unpacks && !badly.load(Ordering::Relaxed));
        let right = WriteRight::new(lease, clock);
        let upload = PathUpload::start((self, key), (process, python), offset, (packing, right));
        Ok(PathWay::Taken(upload))
    }

    /// The process, if the host runs another command beside it: syncs and hashes need that.
    async fn beside_a_command(&self, process: HostProcess) -> PortResult<Option<HostProcess>> {
        let mut process = Some(process);
        let mut other = pin!(self.command("true", QUICK));
        let ran = tokio::select! {
            biased;
            ran = &mut other => ran,
            () = gives_way(process.as_mut()) => {
                process = None;
                other.await
            }
        };
        ran.map(|_| process)
    }

    /// The folder that holds the volume's file by its name, where the pool has one.
    async fn folder_of(&self, key: &VolumeKey) -> PortResult<Option<String>> {
        let object = format!("pool {}", key.pool);
        let (calls, at) = (self.quick().await?, self.speaking(&object));
        let found = calls.storage_pool_lookup_by_name(&key.pool).await;
        let found = found.map_err(|error| at.of(&error))?;
        let xml = calls.storage_pool_get_xml_desc(&found).await;
        let xml = xml.map_err(|error| at.of(&error))?;
        let folder = pool::folder(&xml).map_err(|error| at.unreadable(&error))?;
        let path = self.path(key).await?;
        let plain =
            !matches!(key.name.as_str(), "" | "." | "..") && !key.name.contains(['/', '\0']);
        Ok(folder.filter(|folder| {
            let below = path.strip_prefix(folder.trim_end_matches('/'));
            plain && below.and_then(|below| below.strip_prefix('/')) == Some(key.name.as_str())
        }))
    }
}

async fn gives_way(process: Option<&mut HostProcess>) {
    if let Some(process) = process {
        // It has nothing to say before it is told something.
        let _ = process.read_line().await;
    }
}

async fn first_word(process: &mut HostProcess) -> Opened {
    match timeout_at(time::deadline(QUICK), process.read_line()).await {
        Ok(Some(line)) => opened(&line),
        Ok(None) => Opened::No(format!("its command ended: {}", process.last_words())),
        Err(_) => Opened::No("its command does not answer".to_owned()),
    }
}

fn opened(line: &str) -> Opened {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("ready", how) => {
            let mut words = how.split(' ');
            match words.next().and_then(HostClock::parse) {
                Some(clock) => {
                    let has: Vec<_> = words.collect();
                    Opened::Ready {
                        clock,
                        unpacks: has.contains(&"zstd"),
                        python: has.contains(&"python"),
                    }
                }
                None => Opened::No(format!("its command says {line:?}")),
            }
        }
        ("no", why) => Opened::No(why.to_owned()),
        ("odd", what) => Opened::Odd(what.to_owned()),
        _ => Opened::No(format!("its command says {line:?}")),
    }
}

fn replaced(at: ErrorContext<'_>, what: &str) -> vsiflow_steps::ports::PortError {
    let words = format!("its path does not lead to the file that was made for it: {what}");
    at.error(PortErrorKind::Replaced, words)
}

#[cfg(test)]
mod tests;
