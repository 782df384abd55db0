//! How long the controller rests between two looks.
//!
//! A look at many members costs as much as making some of them, and they report by the hundred. So a look
//! is followed by a quiet period that is many times as long. It ends early when half of the members that were open
//! are settled: then there is something to do or to tell, and with each such look half as many are left. It
//! ends at once when none is left.

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

/// What happens together is looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// Looks take a quarter of the time at most: members are being made meanwhile.
const LEAST: u32 = 3;
/// A look is followed by a quiet period of so many times as long, unless it ends early.
const MOST: u32 = 20;
/// Nothing that was recorded is left unseen for longer than that, however long a look takes.
const LONGEST: Duration = Duration::from_secs(1);

/// What was recorded.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Something of an entity that pools depend on.
    Of(EntityId),
    /// It is not known of what.
    Missed,
    /// The engine has ended.
    Ended,
}

/// Waits for something that a pool may wait for. Cancel safe.
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

/// The time between two looks.
#[derive(Debug)]
pub(super) struct QuietPeriod {
    least: Duration,
    most: Duration,
    open: BTreeSet<EntityId>,
    /// It ends early when so many are open.
    few: Option<usize>,
}

impl QuietPeriod {
    /// After a look that took so long and found these members open.
    pub(super) fn after(look: Duration, open: Vec<EntityId>) -> Self {
        let times = |count| look.saturating_mul(count).clamp(TOGETHER, LONGEST);
        let open: BTreeSet<_> = open.into_iter().collect();
        Self {
            least: times(LEAST),
            most: times(MOST),
            few: (!open.is_empty()).then_some(open.len() / 2),
            open,
        }
    }

    /// Waits for its end, which begins to count now. Whether the engine has ended. Cancel safe.
    pub(super) async fn wait(
        mut self,
        notices: &mut Receiver<Notice>,
        is_open: impl Fn(&EntityId) -> bool,
    ) -> bool {
        let begun = Instant::now();
        // Some may have been settled before the first of it was told.
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
        // Where none is left there is nothing to be taken together any more.
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
        assert_eq!(long_begun.elapsed(), LONGEST);
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
