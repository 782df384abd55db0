//! Divides the memory for unpacking among all images of the process.
//!
//! An archive says at its start how much memory its unpacking needs, up to 65 MiB (`xz -9`). Many at once would need
//! more than a process in a container has. So each takes its part before it begins, and waits if there is too
//! little.

use std::{io, time::Duration};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

const MIB: u64 = 1 << 20;
/// The memory for all unpacking, in MiB: a container of 512 MiB has room for everything else beside it. An archive
/// that needs more than half of it is the only one of its size.
const ALL: u32 = 136;
/// How long an archive waits for its part. After that its upload is tried again later.
const WAIT: Duration = Duration::from_secs(60);

static MEMORY: Semaphore = Semaphore::const_new(ALL as usize);

/// A part of the memory for unpacking, as long as it is held.
pub(crate) struct ReservedMemory {
    _permit: SemaphorePermit<'static>,
}

/// Reserves memory, in bytes. Waits while others use too much: call it on a thread for blocking work.
///
/// # Errors
/// [`MemoryBusy`] if others use it for longer than a minute.
pub(crate) fn reserve(bytes: u64) -> io::Result<ReservedMemory> {
    reserve_within(WAIT, bytes)
}

fn reserve_within(wait: Duration, bytes: u64) -> io::Result<ReservedMemory> {
    let parts = u32::try_from(bytes.div_ceil(MIB)).map_or(ALL, |parts| parts.min(ALL));
    let busy = || io::Error::other(MemoryBusy { mib: parts });
    let permit = match (MEMORY.try_acquire_many(parts), Handle::try_current()) {
        (Ok(permit), _) => permit,
        (Err(_), Ok(runtime)) => {
            let waited = runtime.block_on(timeout(wait, MEMORY.acquire_many(parts)));
            waited.ok().and_then(Result::ok).ok_or_else(busy)?
        }
        (Err(_), Err(_)) => return Err(busy()),
    };
    Ok(ReservedMemory { _permit: permit })
}

/// The error when other archives use the memory that this one needs.
#[derive(Debug, thiserror::Error)]
#[error("unpacking it needs {mib} of the {ALL} MiB of memory for all images, and others use them")]
pub(crate) struct MemoryBusy {
    mib: u32,
}

#[cfg(test)]
mod tests {
    use tokio::task::spawn_blocking;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn all_images_together_use_no_more_than_there_is_and_wait_for_one_another() {
        let reserve = |wait, mib: u64| spawn_blocking(move || reserve_within(wait, mib * MIB));
        let large = reserve(LONG, 72).await.unwrap().unwrap();
        let small = reserve(LONG, 34).await.unwrap().unwrap();
        let refused = reserve(Duration::from_millis(10), 72).await.unwrap();
        assert!(refused.is_err_and(|error| error.get_ref().unwrap().is::<MemoryBusy>()));
        let waiting = reserve(LONG, 72);
        drop(large);
        assert!(waiting.await.unwrap().is_ok());
        drop(small);
    }
}
