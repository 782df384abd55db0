//! Places that callers share: no caller takes all of them, and callers who only look leave some to those
//! who operate.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::{Caller, Rights};

/// The number of places.
#[derive(Clone, Copy, Debug)]
pub struct PlaceLimits {
    /// All of them.
    pub all: usize,
    /// Those of all callers together who only look.
    pub looking: usize,
    /// Those of one caller, unless the caller may do everything.
    pub each: usize,
}

/// A number of places.
pub struct Places {
    limits: PlaceLimits,
    all: Arc<Semaphore>,
    looking: Arc<Semaphore>,
    callers: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

/// A place, as long as it is held.
#[derive(Debug)]
pub struct Place {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Places {
    /// Places within these limits, all of them free.
    pub fn new(limits: PlaceLimits) -> Self {
        Self {
            limits,
            all: Arc::new(Semaphore::new(limits.all)),
            looking: Arc::new(Semaphore::new(limits.looking)),
            callers: Mutex::default(),
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// If the places are closed.
    pub async fn take(&self, caller: &Caller) -> Result<Place, AcquireError> {
        let mut permits = Vec::new();
        // The caller's own first: what waits for it holds nothing of others.
        for semaphore in self.semaphores(caller) {
            permits.push(semaphore.acquire_owned().await?);
        }
        Ok(Place { _permits: permits })
    }

    /// A place, if there is one now.
    pub fn try_take(&self, caller: &Caller) -> Option<Place> {
        let permits = self.semaphores(caller).into_iter();
        let permits = permits.map(|semaphore| semaphore.try_acquire_owned().ok());
        let permits = permits.collect::<Option<_>>()?;
        Some(Place { _permits: permits })
    }

    /// What a place of this caller is taken from, in this order.
    fn semaphores(&self, caller: &Caller) -> Vec<Arc<Semaphore>> {
        let mut semaphores = Vec::new();
        if caller.rights < Rights::Everything {
            semaphores.push(self.of_caller(caller));
        }
        if caller.rights < Rights::Operate {
            semaphores.push(self.looking.clone());
        }
        semaphores.push(self.all.clone());
        semaphores
    }

    fn of_caller(&self, caller: &Caller) -> Arc<Semaphore> {
        let mut callers = self.callers.lock().unwrap_or_else(PoisonError::into_inner);
        callers.retain(|_, semaphore| {
            Arc::strong_count(semaphore) > 1 || semaphore.available_permits() < self.limits.each
        });
        let name = caller.key();
        let own = callers.entry(name);
        own.or_insert_with(|| Arc::new(Semaphore::new(self.limits.each)))
            .clone()
    }

    /// Waits until nobody holds a place, and gives none any more.
    pub async fn close(&self) {
        let all = u32::try_from(self.limits.all).unwrap_or(u32::MAX);
        let _ = self.all.acquire_many(all).await;
        self.all.close();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use vsiflow_engine::model::{Actor, Who};

    use super::*;

    fn caller(name: &str, rights: Rights) -> Caller {
        let actor = Actor::Token(Who::new(name));
        Caller { actor, rights }
    }

    #[tokio::test]
    async fn callers_who_take_all_they_can_leave_places_to_others() {
        let places = Places::new(PlaceLimits {
            all: 8,
            looking: 6,
            each: 4,
        });
        let one = caller("one", Rights::Look);
        let held: Vec<_> = std::iter::from_fn(|| places.try_take(&one)).collect();
        assert_eq!(held.len(), 4);
        assert!(places.take(&one).now_or_never().is_none());
        let other = caller("other", Rights::Look);
        let also: Vec<_> = std::iter::from_fn(|| places.try_take(&other)).collect();
        assert_eq!(also.len(), 2, "of those who only look");
        let operator = caller("operator", Rights::Operate);
        assert!(places.take(&operator).await.is_ok());
        drop(held);
        assert!(places.try_take(&other).is_some());
        drop(also);
        assert!(places.try_take(&one).is_some());
        let names: Vec<_> = places.callers.lock().unwrap().keys().cloned().collect();
        assert_eq!(names.len(), 1, "{names:?}");
        let admin = caller("admin", Rights::Everything);
        let all: Vec<_> = std::iter::from_fn(|| places.try_take(&admin)).collect();
        assert_eq!(all.len(), 8);
    }
}
