//! The queue between a journal's operator and the requests of other journals. It holds decisions on resources
//! until an operator pass reports the outcome, and what the last pass permits pools.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};
use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass};
use vsiflow_kube::share::{PoolPermits, ResourceDecision};

use super::stored::DecidedResource;

/// How long an operator may take to record a decision. Its API server may be unreachable.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn not_recorded(why: &str) -> Failure {
    Failure::new(FailureClass::Transient, "VSI0769", why)
}

type Outcome = Result<(), Failure>;

/// A decision that waits for the operator of its host's journal.
struct Waiting {
    decision: ResourceDecision,
    /// Whether an operator pass has taken it.
    is_taken: bool,
    recorded_to: oneshot::Sender<Outcome>,
}

/// Decisions on resources that the operator of a journal has to record.
pub(in crate::shards) struct DecidedResources {
    waiting: Mutex<BTreeMap<Uuid, Waiting>>,
    permits: Mutex<PoolPermits>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl DecidedResources {
    /// `wake` makes the operator start a pass.
    pub(in crate::shards) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            waiting: Mutex::default(),
            permits: Mutex::default(),
            wake: Box::new(wake),
        }
    }

    /// Sets what the last operator pass permits pools.
    pub(in crate::shards) fn permit(&self, pools: PoolPermits) {
        *self.permits.lock().unwrap_or_else(PoisonError::into_inner) = pools;
    }

    /// Whether members of a pool may be on a host.
    ///
    /// # Errors
    /// As [`PoolPermits::judge`].
    pub(in crate::shards) fn judge(&self, pool: (&str, &str), host: &str) -> Outcome {
        let permits = self.permits.lock().unwrap_or_else(PoisonError::into_inner);
        permits.judge(pool, host)
    }

    /// Waits for the outcome of one decision. Cancel safe: the operator may still take it, and the request
    /// that asks for it is sent again.
    pub(super) async fn recorded(&self, decided: DecidedResource) -> Outcome {
        let (recorded_to, mut outcome) = oneshot::channel();
        let uid = decided.uid;
        let waiting = Waiting {
            decision: ResourceDecision {
                host: decided.host,
                admitted: decided.admitted,
            },
            is_taken: false,
            recorded_to,
        };
        self.with(|all| all.insert(uid, waiting));
        (self.wake)();
        loop {
            match timeout(TIMEOUT, &mut outcome).await {
                Ok(Ok(outcome)) => return outcome,
                Ok(Err(_)) => return Err(not_recorded("it was decided again in the meantime")),
                Err(_) if self.withdraw(uid) => {
                    let why = "the operator of its host's journal did not record it in time";
                    return Err(not_recorded(why));
                }
                // An operator pass has taken it and will report the outcome.
                Err(_) => {}
            }
        }
    }

    /// Withdraws a decision; `false` if an operator pass has taken it.
    fn withdraw(&self, uid: Uuid) -> bool {
        self.with(|all| {
            let is_free = all.get(&uid).is_none_or(|one| !one.is_taken);
            if is_free {
                all.remove(&uid);
            }
            is_free
        })
    }

    /// Takes the decisions that an operator pass is to record.
    pub(in crate::shards) fn take(&self) -> BTreeMap<Uuid, ResourceDecision> {
        let take = |(uid, one): (&Uuid, &mut Waiting)| {
            one.is_taken = true;
            (*uid, one.decision.clone())
        };
        self.with(|all| all.iter_mut().map(take).collect())
    }

    /// Reports the outcome of one decision in a pass; `None` if it is not known yet.
    pub(in crate::shards) fn settle(&self, uid: Uuid, outcome: Option<Outcome>) {
        self.with(|all| match outcome {
            Some(outcome) => {
                if let Some(one) = all.remove(&uid) {
                    // The caller may have stopped waiting.
                    let _ = one.recorded_to.send(outcome);
                }
            }
            None => {
                if let Some(one) = all.get_mut(&uid) {
                    one.is_taken = false;
                }
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut BTreeMap<Uuid, Waiting>) -> T) -> T {
        work(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::task::JoinHandle;
    use vsiflow_workflows::fleet::ChosenHost;

    use super::*;

    fn decided() -> DecidedResource {
        DecidedResource {
            uid: Uuid::nil(),
            host: ChosenHost {
                namespace: "default".to_owned(),
                name: "web".to_owned(),
                host: "lpar1".to_owned(),
                decision: None,
            },
            admitted: Vec::new(),
        }
    }

    /// A decision that a task waits for.
    async fn awaited_decision() -> (Arc<DecidedResources>, JoinHandle<Outcome>) {
        let decisions = Arc::new(DecidedResources::new(|| {}));
        let asking = decisions.clone();
        let waiting = tokio::spawn(async move { asking.recorded(decided()).await });
        tokio::task::yield_now().await;
        (decisions, waiting)
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_operator_says_is_the_answer() {
        let (decisions, waiting) = awaited_decision().await;
        assert_eq!(decisions.take().len(), 1);
        decisions.settle(Uuid::nil(), None);
        assert_eq!(decisions.take().len(), 1, "it is not known yet");
        decisions.settle(Uuid::nil(), Some(Ok(())));
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert!(decisions.take().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_operator_takes_is_refused_in_the_end() {
        let decisions = DecidedResources::new(|| {});
        let refused = decisions.recorded(decided()).await.unwrap_err();
        assert_eq!(refused.code.as_str(), "VSI0769");
        assert!(decisions.take().is_empty(), "nobody records it afterwards");
    }

    /// Otherwise the room on a host that is being used would be promised again.
    #[tokio::test(start_paused = true)]
    async fn what_a_pass_has_is_waited_for() {
        let (decisions, waiting) = awaited_decision().await;
        decisions.take();
        tokio::time::sleep(TIMEOUT * 3).await;
        assert!(!waiting.is_finished());
        decisions.settle(Uuid::nil(), Some(Ok(())));
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
}
