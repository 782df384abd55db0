//! Caches the fleet at moments of its past, for several requests about one moment.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::timeout};
use vsiflow_engine::journal::Offset;
use vsiflow_workflows::fleet::{FleetError, Fleets, Moment};

use crate::Problem;

/// Moments that are cached: a page requests the same one several times. Each holds the complete state of
/// its time.
const REMEMBERED: usize = 2;
/// Moments that are computed at the same time.
const MAX_CONCURRENT: usize = 1;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);

/// Views of the past, for all requests and commands of callers: one is computed at a time.
pub struct Moments {
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
            turns: Semaphore::new(MAX_CONCURRENT),
            known: Mutex::default(),
        }
    }
}

impl Moments {
    /// The fleet as it was at a moment, if that is remembered. Cancel safe.
    ///
    /// # Errors
    /// If there is no such moment, or the journal cannot be read.
    pub(crate) async fn remembered(
        &self,
        fleets: &Fleets,
        moment: Moment,
    ) -> Result<Option<Arc<Fleets>>, MomentError> {
        let ends = fleets.ends_of(moment).await?;
        Ok(self.known(&ends))
    }

    /// The fleet as it was at a moment. Cancel safe.
    ///
    /// # Errors
    /// If there is no such moment, the journal cannot be read, or there was no turn within a minute.
    pub async fn at(&self, fleets: &Fleets, moment: Moment) -> Result<Arc<Fleets>, MomentError> {
        let ends = fleets.ends_of(moment).await?;
        if let Some(known) = self.known(&ends) {
            return Ok(known);
        }
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
