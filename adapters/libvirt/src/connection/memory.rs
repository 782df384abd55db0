//! The memory for packets that are larger than usual, of all connections of this process together.
//!
//! A host may announce 32 MiB and send them slowly, or not at all, on each of its connections. What a packet has beyond
//! [`FREE`] is reserved before it is read, for the owner of the host.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::packet::{PREFIX_SIZE, STREAM_PAYLOAD_MAX};

/// What each packet may have without a reservation: as much as the packets of a stream, 256 KiB.
pub(crate) const FREE: usize = PREFIX_SIZE + STREAM_PAYLOAD_MAX;
/// The memory of all owners in bytes.
const TOTAL: usize = 96 << 20;
/// The memory of one owner in bytes: the largest packet.
const OF_ONE_OWNER: usize = 32 << 20;

static BUDGET: LazyLock<Arc<PacketBudget>> = LazyLock::new(Arc::default);

/// The memory that packets share.
#[derive(Debug)]
pub(crate) struct PacketBudget {
    total: Arc<Semaphore>,
    owners: Mutex<HashMap<Arc<str>, Weak<Semaphore>>>,
}

impl Default for PacketBudget {
    fn default() -> Self {
        Self {
            total: Arc::new(Semaphore::new(TOTAL)),
            owners: Mutex::default(),
        }
    }
}

/// The share of the owner of a host; all connections to the owner's hosts have the same.
#[derive(Debug, Clone)]
pub(crate) struct PacketShare {
    total: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// Reserved memory, until it is dropped.
#[derive(Debug)]
pub(crate) struct PacketMemory {
    _permits: [Option<OwnedSemaphorePermit>; 2],
}

impl PacketBudget {
    /// The budget of this process.
    pub(crate) fn of_process() -> Arc<Self> {
        Arc::clone(&BUDGET)
    }

    /// The share of an owner.
    pub(crate) fn share(&self, owner: &Arc<str>) -> PacketShare {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let present = owners.get(owner).and_then(Weak::upgrade);
        let of_owner = present.unwrap_or_else(|| {
            owners.retain(|_, memory| memory.strong_count() > 0);
            let new = Arc::new(Semaphore::new(OF_ONE_OWNER));
            owners.insert(Arc::clone(owner), Arc::downgrade(&new));
            new
        });
        PacketShare {
            total: Arc::clone(&self.total),
            own: of_owner,
        }
    }

    /// How many bytes are reserved.
    #[cfg(test)]
    fn reserved(&self) -> usize {
        TOTAL - self.total.available_permits()
    }
}

impl PacketShare {
    /// How many bytes this owner has reserved.
    #[cfg(test)]
    pub(crate) fn reserved(&self) -> usize {
        OF_ONE_OWNER - self.own.available_permits()
    }

    /// Waits until there is memory for a packet of this length. Others of the same owner wait before those of all
    /// owners do, so that an owner holds up another one by one packet. Cancel safe.
    pub(crate) async fn reserve(&self, length: usize) -> PacketMemory {
        // The largest packet is within an owner's memory.
        let beyond = length.saturating_sub(FREE).min(OF_ONE_OWNER);
        let Some(beyond) = u32::try_from(beyond).ok().filter(|beyond| *beyond > 0) else {
            return PacketMemory {
                _permits: [None, None],
            };
        };
        // They are never closed.
        let owner_permit = Arc::clone(&self.own).acquire_many_owned(beyond).await.ok();
        let total_permit = Arc::clone(&self.total)
            .acquire_many_owned(beyond)
            .await
            .ok();
        PacketMemory {
            _permits: [owner_permit, total_permit],
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const LARGEST: usize = 33_554_436;

    #[tokio::test]
    async fn an_owner_has_a_third_of_the_memory_over_all_its_connections() {
        let budget = PacketBudget::default();
        let [one, same, other] = ["one", "one", "other"].map(|name| budget.share(&name.into()));
        let held = one.reserve(LARGEST).await;
        assert_eq!(budget.reserved(), LARGEST - FREE);
        assert!(same.reserve(LARGEST).now_or_never().is_none());
        assert!(other.reserve(LARGEST).now_or_never().is_some());
        assert!(
            same.reserve(FREE).now_or_never().is_some(),
            "it takes nothing"
        );
        drop(held);
        assert_eq!(budget.reserved(), 0);
        assert!(same.reserve(LARGEST).now_or_never().is_some());
    }

    #[tokio::test]
    async fn all_owners_together_stay_within_the_budget() {
        let budget = PacketBudget::default();
        let shares: Vec<_> = (0..20)
            .map(|n| budget.share(&format!("{n}").into()))
            .collect();
        let reserved = shares
            .iter()
            .filter_map(|share| share.reserve(LARGEST).now_or_never());
        let held: Vec<_> = reserved.collect();
        assert_eq!(held.len(), 3);
        assert!(budget.reserved() <= TOTAL);
    }
}
