//! How long the pool controller rests between two reconciliations.
//!
//! Reconciling a pool with many members costs as much as making some of them, and they change by the
//! hundred. So a reconciliation is followed by a quiet period that is many times as long. It ends early
//! when half of the open members are settled: then there is something to do or to report, and each time
//! half as many are left. It ends immediately when none is left.

use std::{collections::BTreeSet, time::Duration};

use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep_until, timeout_at},
};
use vsiflow_engine::{
    Notice,
    model::{EntityId, StreamId},
};

use crate::record::kind;

/// Changes within this time are handled together.
const DEBOUNCE: Duration = Duration::from_millis(50);
/// The least quiet time, in multiples of the reconciliation's duration. So reconciliations take a
/// quarter of the time at most, because members are being made at the same time.
const MIN: u32 = 3;
/// The quiet time that is not ended early, in multiples of the reconciliation's duration.
const MAX: u32 = 20;
/// The longest quiet time, however long a reconciliation takes: no recorded change waits longer.
const MAX_DURATION: Duration = Duration::from_secs(1);

/// A recorded change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A change of an entity that pools depend on.
    Of(EntityId),
    /// A change of an unknown entity.
    Missed,
    /// The engine has ended.
    Ended,
}

/// Waits for a change that may concern a pool. Cancel safe.
pub(super) async fn news(notices: &mut Receiver<Notice>) -> News {
    loop {
        match notices.recv().await {
            Ok(Notice::Ended) | Err(RecvError::Closed) => return News::Ended,
            Err(RecvError::Lagged(_)) | Ok(Notice::Unopened { .. }) => return News::Missed,
            Ok(Notice::Recorded(record)) => {
                if let StreamId::Entity(entity) = &record.stream
                    && concerns_pools(entity)
                {
                    return News::Of(entity.clone());
                }
            }
            Ok(_) => {}
        }
    }
}

fn concerns_pools(entity: &EntityId) -> bool {
    let kinds = [
        kind::VSI,
        kind::DISK,
        kind::NETWORK,
        kind::POOL,
        kind::GROUP,
    ];
    kinds.contains(&entity.kind().as_str())
}

/// The time between two reconciliations.
#[derive(Debug)]
pub(super) struct QuietPeriod {
    least: Duration,
    most: Duration,
    open: BTreeSet<EntityId>,
    /// Ends early when no more than this many are open.
    few: Option<usize>,
}

impl QuietPeriod {
    /// The quiet period after a reconciliation of this duration that found these members open.
    pub(super) fn after(look: Duration, open: Vec<EntityId>) -> Self {
        let times = |count| look.saturating_mul(count).clamp(DEBOUNCE, MAX_DURATION);
        let open: BTreeSet<_> = open.into_iter().collect();
        Self {
            least: times(MIN),
            most: times(MAX),
            few: (!open.is_empty()).then_some(open.len() / 2),
            open,
        }
    }

    /// Waits until it ends; the time counts from now. Returns whether the engine has ended. Cancel
    /// safe.
    pub(super) async fn wait(
        mut self,
        notices: &mut Receiver<Notice>,
        is_open: impl Fn(&EntityId) -> bool,
    ) -> bool {
        let begun = Instant::now();
        // Some may have settled before the first notice.
        self.open.retain(&is_open);
        while self.few.is_none_or(|few| self.open.len() > few) {
            match timeout_at(begun + self.most, news(notices)).await {
                Err(_) => return false,
                Ok(News::Ended) => return true,
                Ok(News::Missed) => self.open.retain(&is_open),
                Ok(News::Of(entity)) => {
                    if self.open.contains(&entity) && !is_open(&entity) {
                        self.open.remove(&entity);
                    }
                }
            }
        }
        // If no open member is left, there is nothing more to wait for.
        if !self.open.is_empty() || self.few.is_none() {
            sleep_until(begun + self.least).await;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use tokio::{sync::broadcast, time::sleep};
    use vsiflow_engine::model::Failure;

    use super::*;

    fn members(count: usize) -> Vec<EntityId> {
        let names = (0..count).map(|number| format!("vsi/default/m-{number}"));
        names.map(|name| name.parse().unwrap()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_is_many_times_as_long_as_its_look() {
        let (_sender, mut notices) = broadcast::channel(8);
        let begun = Instant::now();
        let quiet = QuietPeriod::after(Duration::from_millis(10), members(4));
        assert!(!quiet.wait(&mut notices, |_| true).await);
        assert_eq!(begun.elapsed(), Duration::from_millis(200));
        let undisturbed = QuietPeriod::after(Duration::from_secs(1), Vec::new());
        let long_begun = Instant::now();
        assert!(!undisturbed.wait(&mut notices, |_| true).await);
        assert_eq!(long_begun.elapsed(), MAX_DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_ends_early_when_half_of_what_was_open_is_settled() {
        let (sender, mut notices) = broadcast::channel(8);
        let settled = Rc::new(RefCell::new(BTreeSet::new()));
        let begun = Instant::now();
        let quiet = QuietPeriod::after(Duration::from_millis(10), members(4));
        let open = settled.clone();
        let settles = async {
            for entity in members(4) {
                sleep(Duration::from_millis(40)).await;
                settled.borrow_mut().insert(entity.clone());
                let failure = Failure::defect("of which it has to look at all");
                let _ = sender.send(Notice::Unopened { entity, failure });
            }
        };
        let is_open = |member: &EntityId| !open.borrow().contains(member);
        let waiting = quiet.wait(&mut notices, is_open);
        let (ended, ()) = tokio::join!(
            async {
                let ended = waiting.await;
                assert_eq!(begun.elapsed(), Duration::from_millis(80));
                ended
            },
            settles
        );
        assert!(!ended);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_that_ends_early_is_still_longer_than_its_look() {
        let (_sender, mut notices) = broadcast::channel(8);
        let begun = Instant::now();
        let quiet = QuietPeriod::after(Duration::from_millis(100), members(4));
        let last = members(4).pop();
        assert!(
            !quiet
                .wait(&mut notices, |member| Some(member) == last.as_ref())
                .await
        );
        assert_eq!(begun.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_ends_at_once_when_all_are_settled() {
        let (_sender, mut notices) = broadcast::channel(8);
        let begun = Instant::now();
        let quiet = QuietPeriod::after(Duration::from_millis(100), members(4));
        assert!(!quiet.wait(&mut notices, |_| false).await);
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rest_ends_with_the_engine() {
        let (sender, mut notices) = broadcast::channel(8);
        sender.send(Notice::Ended).unwrap();
        let quiet = QuietPeriod::after(Duration::from_millis(10), members(4));
        assert!(quiet.wait(&mut notices, |_| true).await);
    }
}
