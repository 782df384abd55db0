//! Divides memory among the owners of images: that for unpacking, and that for reading (`crate::shared::budget`).
//!
//! An archive says at its start how much memory its unpacking needs, up to 72 MiB (`xz -9`). Many at once would need
//! more than a process in a container has. So each takes its part before it begins, and waits if there is too
//! little.
//!
//! - An owner has at most half of the memory, which is enough for any archive.
//! - A part is kept for owners who have none, so that an owner with many hosts does not make them wait.
//! - Of those who wait, the owner who has the least is next, and of its archives the one that waits longest. Whoever gives
//!   memory back hands it on, so that many who wait cost nothing.
//! - An owner who has none waits at most ten seconds for archives that hardly get on: the slowest archive of another
//!   owner ends, and its upload is tried again later.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, timeout_at},
};

use vsiflow_steps::ports::ImageOwner;

use super::Unpacking;

const MIB: u64 = 1 << 20;
/// How long an archive waits for its part. After that its upload is tried again later.
const WAIT: Duration = Duration::from_secs(60);
/// How long an owner without memory waits before an archive ends that hardly gets on.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many packed bytes an archive reads in [`PATIENCE`] at least to keep its memory: 256 KiB/s.
const PROGRESS: u64 = 10 * 256 * 1024;

/// The memory for all unpacking: a container of 512 MiB has room for everything else beside it. One owner has what the
/// largest archive needs. A zstd frame with the widest window needs what is kept.
pub(super) static UNPACKING: SharedMemory = SharedMemory::new("unpacking", 144, 36);

/// A part of the memory for unpacking, as long as it is held.
pub(crate) struct ReservedMemory {
    memory: &'static SharedMemory,
    number: u64,
}

impl Drop for ReservedMemory {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.parts.remove(&self.number);
        state.hand_out(self.memory);
    }
}

/// Memory that owners share, in MiB.
pub(crate) struct SharedMemory {
    /// What the memory is for.
    purpose: &'static str,
    all: u32,
    /// What one owner has at most.
    own: u32,
    /// What only owners without any may take.
    kept: u32,
    state: Mutex<MemoryState>,
}

struct MemoryState {
    numbered: u64,
    /// Those who wait, in their order.
    waiting: BTreeMap<u64, WaitingPart>,
    /// Those who have memory.
    parts: BTreeMap<u64, MemoryPart>,
}

/// A part of the memory that somebody has, or waits for.
struct MemoryPart {
    mib: u32,
    unpacking: Arc<Unpacking>,
}

/// A part that somebody waits for, and how that one is told.
struct WaitingPart {
    part: MemoryPart,
    is_handed_out: Arc<Notify>,
}

/// A place among those who wait; given up when it is dropped, with what was handed out to it.
struct WaitingPlace {
    memory: &'static SharedMemory,
    number: u64,
    is_handed_out: Arc<Notify>,
    is_taken: bool,
}

impl WaitingPlace {
    /// Takes what was handed out to it, if that is the case.
    fn take(&mut self) -> Option<ReservedMemory> {
        self.is_taken = self.memory.state().parts.contains_key(&self.number);
        self.is_taken.then_some(ReservedMemory {
            memory: self.memory,
            number: self.number,
        })
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        let mut state = self.memory.state();
        // It may have been handed out since, and nobody has it.
        state.waiting.remove(&self.number);
        state.parts.remove(&self.number);
        state.hand_out(self.memory);
    }
}

impl MemoryState {
    /// What an owner has.
    fn of(&self, owner: &ImageOwner) -> u32 {
        let parts = self.parts.values();
        let owned_parts = parts.filter(|part| part.unpacking.owner() == owner);
        owned_parts.map(|part| part.mib).sum()
    }

    /// What all owners have.
    fn used(&self) -> u32 {
        self.parts.values().map(|part| part.mib).sum()
    }

    fn number(&mut self) -> u64 {
        self.numbered = self.numbered.saturating_add(1);
        self.numbered
    }

    /// What each owner has.
    fn by_owner(&self) -> BTreeMap<&ImageOwner, u32> {
        let mut has: BTreeMap<_, u32> = BTreeMap::new();
        for part in self.parts.values() {
            let owned_mib = has.entry(part.unpacking.owner()).or_default();
            *owned_mib = owned_mib.saturating_add(part.mib);
        }
        has
    }

    /// Who is next, and whether there is enough of `memory` for that one. Nobody overtakes, so that a large archive gets
    /// its part.
    fn next(&self, memory: &SharedMemory) -> Option<(u64, bool)> {
        let by_owner = self.by_owner();
        let used: u32 = by_owner.values().sum();
        let waiting = self.waiting.iter().map(|(number, waiting)| {
            let part = &waiting.part;
            let has = by_owner
                .get(part.unpacking.owner())
                .copied()
                .unwrap_or_default();
            (has, *number, part.mib)
        });
        let may_have = waiting.filter(|(own, _, mib)| own.saturating_add(*mib) <= memory.own);
        let (has, number, mib) = may_have.min()?;
        let reserve = if has == 0 { 0 } else { memory.kept };
        let needed = used.saturating_add(mib).saturating_add(reserve);
        Some((number, needed <= memory.all))
    }

    /// Hands out memory to those who are next, as long as there is enough of `memory`.
    fn hand_out(&mut self, memory: &SharedMemory) {
        while let Some((number, true)) = self.next(memory) {
            if let Some(waiting) = self.waiting.remove(&number) {
                self.parts.insert(number, waiting.part);
                waiting.is_handed_out.notify_one();
            }
        }
    }

    /// Ends the slowest archive that hardly got on since `before`, if it is another owner's and `owner` has no memory.
    fn end_slowest(&self, owner: &ImageOwner, before: &BTreeMap<u64, u64>) {
        if self.of(owner) > 0 {
            return;
        }
        let parts = self.parts.iter();
        let other_parts = parts.filter(|(_, part)| part.unpacking.owner() != owner);
        let progress = other_parts.filter_map(|(number, part)| {
            let taken_before = before.get(number)?;
            let bytes = part.unpacking.taken().saturating_sub(*taken_before);
            Some((bytes, &part.unpacking))
        });
        let slow = progress.filter(|(read, of)| *read < PROGRESS && !of.has_ended());
        if let Some((_, slowest)) = slow.min_by_key(|(read, _)| *read) {
            slowest.end();
        }
    }

    /// How many packed bytes each of those who have memory has read.
    fn read(&self) -> BTreeMap<u64, u64> {
        let parts = self.parts.iter();
        parts
            .map(|(number, part)| (*number, part.unpacking.taken()))
            .collect()
    }
}

impl SharedMemory {
    /// So much memory, in MiB; one owner has at most half of it, and a part is kept for owners who have none.
    pub(crate) const fn new(purpose: &'static str, all: u32, kept: u32) -> Self {
        Self {
            purpose,
            all,
            own: all / 2,
            kept,
            state: Mutex::new(MemoryState {
                numbered: 0,
                waiting: BTreeMap::new(),
                parts: BTreeMap::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for(&'static self, part: MemoryPart) -> WaitingPlace {
        let is_handed_out = Arc::new(Notify::new());
        let mut state = self.state();
        let number = state.number();
        let waiting = WaitingPart {
            part,
            is_handed_out: is_handed_out.clone(),
        };
        state.waiting.insert(number, waiting);
        state.hand_out(self);
        WaitingPlace {
            memory: self,
            number,
            is_handed_out,
            is_taken: false,
        }
    }

    /// Reserves memory, in bytes, if there is enough now and its owner has at most `own` MiB of it then.
    pub(crate) fn try_reserve(
        &'static self,
        unpacking: &Arc<Unpacking>,
        bytes: u64,
        own: u32,
    ) -> Option<ReservedMemory> {
        let mib = u32::try_from(bytes.div_ceil(MIB)).ok()?;
        let mut state = self.state();
        let has = state.of(unpacking.owner());
        let is_too_much =
            has.saturating_add(mib) > own || state.used().saturating_add(mib) > self.all;
        if is_too_much {
            return None;
        }
        let number = state.number();
        let unpacking = unpacking.clone();
        state.parts.insert(number, MemoryPart { mib, unpacking });
        Some(ReservedMemory {
            memory: self,
            number,
        })
    }

    /// Reserves memory, in bytes. Cancel safe: a dropped call has no place any more.
    pub(crate) async fn reserve(
        &'static self,
        unpacking: &Arc<Unpacking>,
        bytes: u64,
    ) -> Result<ReservedMemory, MemoryBusy> {
        let mib = u32::try_from(bytes.div_ceil(MIB)).map_or(self.own, |mib| mib.min(self.own));
        let mut place = self.wait_for(MemoryPart {
            mib,
            unpacking: unpacking.clone(),
        });
        let mut look: Option<(Instant, BTreeMap<u64, u64>)> = None;
        let deadline = Instant::now() + WAIT;
        loop {
            if let Some(reserved) = place.take() {
                return Ok(reserved);
            }
            let now = Instant::now();
            // Without a runtime nothing can be waited for.
            if now >= deadline || Handle::try_current().is_err() {
                return Err(MemoryBusy::Used {
                    purpose: self.purpose,
                    needed: mib,
                    all: self.all,
                });
            }
            let next_look = || (now + PATIENCE, self.state().read());
            let (at, before) = look.get_or_insert_with(next_look);
            if now >= *at {
                self.state().end_slowest(unpacking.owner(), before);
                look = Some(next_look());
                continue;
            }
            let _ = timeout_at((*at).min(deadline), place.is_handed_out.notified()).await;
        }
    }
}

/// The error when other archives use the memory that this one needs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemoryBusy {
    #[error(
        "{purpose} it needs {needed} of the {all} MiB of memory for all images, and others use them"
    )]
    Used {
        purpose: &'static str,
        needed: u32,
        all: u32,
    },
    #[error(
        "others wait for the memory that it needs, and in {} s less than {} KiB of it came",
        PATIENCE.as_secs(),
        PROGRESS / 1024
    )]
    Ended,
}

#[cfg(test)]
mod tests;
