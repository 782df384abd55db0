//! Caches the fleet at moments of its past, for several requests about one moment.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};
use vsiflow_engine::journal::Offset;
use vsiflow_workflows::fleet::{FleetError, Fleets, Moment};

use super::places::{PlaceLimits, Places};
use crate::{Caller, Problem};

/// Moments that are cached: a page requests the same one several times. Each holds the complete state of
/// its time.
const REMEMBERED: usize = 2;
/// Moments that are computed at the same time.
const MAX_CONCURRENT: usize = 1;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// Views of the past, for all requests and commands of callers: one is computed at a time.
pub struct Moments {
    callers: Places,
    turns: Semaphore,
    /// Keyed by the offset after the newest event of each journal; the newest entry first.
    known: Mutex<VecDeque<(Vec<Offset>, Arc<Fleets>)>>,
}

/// Why there is no view of a moment.
#[derive(Debug, thiserror::Error)]
pub enum MomentError {
    /// The journal does not have it, or cannot be read.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// Others are computed for too long.
    #[error("too many moments are asked for at a time")]
    Busy,
}

impl From<MomentError> for Problem {
    fn from(error: MomentError) -> Self {
        match error {
            MomentError::Fleet(failed) => failed.into(),
            MomentError::Busy => Self::busy(&error.to_string()),
        }
    }
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            callers: Places::new(Self::LIMITS),
            turns: Semaphore::new(MAX_CONCURRENT),
            known: Mutex::default(),
        }
    }
}

impl Moments {
    /// How many moments callers have computed at a time: one of each, and those of viewers take no turns of others. Each
    /// takes the memory and the time of a whole fleet.
    pub const LIMITS: PlaceLimits = PlaceLimits {
        all: usize::MAX >> 4,
        looking: 1,
        each: 1,
    };

    /// The fleet as it was at a moment. Cancel safe.
    ///
    /// # Errors
    /// If there is no such moment, the journal cannot be read, or there was no turn within a minute.
    pub async fn at(&self, fleets: &Fleets, moment: Moment) -> Result<Arc<Fleets>, MomentError> {
        let ends = fleets.ends_of(moment).await?;
        match self.known(&ends) {
            Some(known) => Ok(known),
            None => self.before(fleets, ends).await,
        }
    }

    /// The same for a caller, who has one moment computed at a time. What is remembered needs no turn.
    ///
    /// # Errors
    /// As for [`Self::at`].
    pub(crate) async fn for_caller(
        &self,
        caller: &Caller,
        fleets: &Fleets,
        moment: Moment,
    ) -> Result<Arc<Fleets>, MomentError> {
        let ends = fleets.ends_of(moment).await?;
        if let Some(known) = self.known(&ends) {
            return Ok(known);
        }
        let place = timeout(TURN_TIMEOUT, self.callers.take(caller)).await;
        let _place = place.map_err(|_| MomentError::Busy)?;
        self.before(fleets, ends).await
    }

    /// Computes the fleet before these offsets, unless somebody else did so meanwhile.
    async fn before(&self, fleets: &Fleets, ends: Vec<Offset>) -> Result<Arc<Fleets>, MomentError> {
        let turn = timeout(TURN_TIMEOUT, self.turns.acquire()).await;
        let _turn = turn.map_err(|_| MomentError::Busy)?;
        if let Some(known) = self.known(&ends) {
            return Ok(known);
        }
        let past = Arc::new(fleets.before(&ends).await?);
        let forgotten = {
            let mut known = self.lock();
            known.push_front((ends, past.clone()));
            let remembered = REMEMBERED.min(known.len());
            known.split_off(remembered)
        };
        if !forgotten.is_empty() {
            // Freeing it takes a considerable part of the time that computing it took.
            tokio::task::spawn_blocking(|| drop(forgotten));
        }
        Ok(past)
    }

    fn known(&self, ends: &[Offset]) -> Option<Arc<Fleets>> {
        let known = self.lock();
        let found = known.iter().find(|(own, _)| own == ends);
        found.map(|(_, fleets)| fleets.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(Vec<Offset>, Arc<Fleets>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use vsiflow_engine::model::{Actor, Who};

    use super::*;
    use crate::Rights;

    #[tokio::test(start_paused = true)]
    async fn a_caller_who_asks_for_many_moments_waits_for_one_after_another_and_nobody_else_does() {
        let callers = Places::new(Moments::LIMITS);
        let named = |name: &str, rights| Caller {
            actor: Actor::Token(Who::new(name)),
            rights,
        };
        let viewer = named("viewer", Rights::Look);
        let held = callers.take(&viewer).await.unwrap();
        let waits = timeout(TURN_TIMEOUT, callers.take(&viewer)).await;
        assert!(waits.is_err());
        let operator = named("operator", Rights::Operate);
        assert!(callers.take(&operator).await.is_ok());
        drop(held);
        assert!(callers.take(&viewer).await.is_ok());
    }
}
