//! Uploads an image by path: into the file of its volume, by one process on the host, over a channel of the
//! same SSH session. With Python this costs the host less than libvirt's stream; with `dd`, about as much.
//! Only this way can transfer packed bytes.
//!
//! The process (`script`) is a shell with Python, or with `dd` if there is no Python. It enters the directory
//! of the pool, opens the volume's file once, and writes only through that descriptor. It creates nothing,
//! truncates nothing and follows no link: before the first byte, the name must be a plain file with a link
//! count of one, and the file that was opened. At the end, name and open file must still have the same device
//! and inode. So a file or link that replaces the volume in the meantime receives nothing, and is detected
//! ([`Replaced`]).
//!
//! Bytes are written in order, so the file's length shows what the host has, as with libvirt's stream.
//! Checkpoints, hashes and resuming work the same way. When the session ends, the process reads the end of
//! its standard input; if the session hangs, it ends after fifteen minutes. If vsiflow acts under a lease,
//! the host receives the time until which it may write (`write_lease`).
//!
//! Over a slow link, bytes are sent packed, and `zstd` on the host unpacks them (`pack`). The content of the
//! file and its hash are the same.
//!
//! It is used for volumes of pools in directories (`dir`, `fs`, `netfs`) if the host permits commands, has
//! the tools, and the account may write to the file. For a near host it is used only with Python. Otherwise
//! the history shows the reason.
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

/// A host with a shorter response time has a network that is faster than packing. libvirt's stream is as good
/// as `dd` there.
const NEAR_LATENCY: Duration = Duration::from_millis(5);
/// How many responses are measured; the fastest counts, because a busy host may delay some.
const PROBES: u32 = 5;

/// An upload by path, or the reason why it is not used.
pub(super) enum PathWay {
    Taken(PathUpload),
    Closed(String),
}

/// The first message of the process.
#[derive(Debug)]
enum Opened {
    Ready {
        clock: HostClock,
        /// Whether the host can unpack zstd.
        unpacks: bool,
        /// Whether Python writes, in one process for all frames.
        python: bool,
    },
    /// Why this host cannot be uploaded to by path.
    No(String),
    /// What was found in place of the volume's file.
    Odd(String),
}

impl LibvirtHost {
    /// Whether the host responds so fast that the network hardly limits uploads.
    async fn is_near(&self) -> PortResult<bool> {
        let calls = self.quick().await?;
        for _ in 0..PROBES {
            let begun = Instant::now();
            let answer = calls.connect_get_lib_version().await;
            answer.map_err(|error| self.speaking("").of(&error))?;
            if begun.elapsed() < NEAR_LATENCY {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens the volume's file on the host to write from `offset` on.
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
        let context = self.speaking(&object);
        let lease = self.session.lease();
        let command = script::command(&folder, &key.name, lease.left().is_some());
        // A host that permits no further command uses libvirt's stream.
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
            Opened::Odd(what) => return Err(replaced(context, &what)),
        };
        if transfer == Transfer::Auto && !python && self.is_near().await? {
            return closed("the host is near and has no Python");
        }
        let Some(process) = self.with_spare_channel(process).await? else {
            return closed("the host permits too few commands at a time");
        };
        let badly = &self.unpack_failed;
        let packing = PackingPolicy::new(transfer, unpacks && !badly.load(Ordering::Relaxed));
        let right = WriteRight::new(lease, clock);
        let upload = PathUpload::start(self, key, process, python, offset, packing, right);
        Ok(PathWay::Taken(upload))
    }

    /// The process, if the host permits another command at the same time: syncs and hashes need one.
    async fn with_spare_channel(&self, process: HostProcess) -> PortResult<Option<HostProcess>> {
        let mut process = Some(process);
        let mut spare = pin!(self.command("true", QUICK));
        let ran = tokio::select! {
            biased;
            ran = &mut spare => ran,
            () = gives_way(process.as_mut()) => {
                process = None;
                spare.await
            }
        };
        ran.map(|_| process)
    }

    /// The directory that holds the volume's file under the volume's name, if the pool has one.
    async fn folder_of(&self, key: &VolumeKey) -> PortResult<Option<String>> {
        let object = format!("pool {}", key.pool);
        let (calls, context) = (self.quick().await?, self.speaking(&object));
        let pool_reply = calls.storage_pool_lookup_by_name(&key.pool).await;
        let pool = pool_reply.map_err(|error| context.of(&error))?;
        let xml_reply = calls.storage_pool_get_xml_desc(&pool).await;
        let xml = xml_reply.map_err(|error| context.of(&error))?;
        let parsed_folder = self.parsed(xml, pool::folder).await;
        let folder = parsed_folder.map_err(|error| context.unreadable(&error))?;
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
        // The process writes nothing before its first input, so a line means that it has ended.
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

fn replaced(context: ErrorContext<'_>, what: &str) -> vsiflow_steps::ports::PortError {
    let words = format!("its path does not lead to the file that was made for it: {what}");
    context.error(PortErrorKind::Replaced, words)
}

#[cfg(test)]
mod tests;
