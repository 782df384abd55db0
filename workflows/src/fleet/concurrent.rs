//! Work on long lists, split over several tasks. The caller waits for a part of the work, and nothing else
//! waits for all of it.

use std::{future::Future, num::NonZero, thread::available_parallelism};

use tokio::task::JoinSet;

use super::{Fleet, FleetError};

/// The number of items in one task. The caller itself does a list of this length or shorter.
const PIECE_LEN: usize = 256;

impl Fleet {
    /// Applies `work` to pieces of a list and returns the results in the order of the list.
    ///
    /// Cancel safety: pieces that were not begun are not begun any more.
    ///
    /// # Errors
    /// The first error that `work` returns.
    pub(super) async fn in_pieces<T, U, F>(
        &self,
        all: Vec<T>,
        work: impl Fn(Self, Vec<T>) -> F,
    ) -> Result<Vec<U>, FleetError>
    where
        T: Send + 'static,
        U: Send + 'static,
        F: Future<Output = Result<Vec<U>, FleetError>> + Send + 'static,
    {
        if all.len() <= PIECE_LEN {
            return work(self.clone(), all).await;
        }
        let at_a_time = available_parallelism().map_or(1, NonZero::get);
        let (mut tasks, mut done) = (JoinSet::new(), Vec::new());
        let (mut all, mut number) = (all.into_iter(), 0_usize);
        loop {
            let piece: Vec<_> = all.by_ref().take(PIECE_LEN).collect();
            let is_over = piece.is_empty();
            if !is_over {
                let (task, place) = (work(self.clone(), piece), number);
                tasks.spawn(async move { (place, task.await) });
                number = number.saturating_add(1);
            }
            while tasks.len() >= if is_over { 1 } else { at_a_time } {
                let Some(ended) = tasks.join_next().await else {
                    break;
                };
                let (place, made) = ended.map_err(|e| FleetError::defect(e.to_string()))?;
                done.push((place, made?));
            }
            if is_over {
                break;
            }
        }
        done.sort_unstable_by_key(|(place, _)| *place);
        Ok(done.into_iter().flat_map(|(_, made)| made).collect())
    }
}
