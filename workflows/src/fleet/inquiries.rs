//! Questions to guests, hosts and other journals for the controller of pools and groups, asked outside of its turn.
//!
//! The controller looks at one pool or group after the other, and a guest may answer late or never: the command
//! of a gate may take seconds on each of many members. So a look never waits for a guest. It asks in a task, and
//! a later look finds the answer.
//!
//! Guarantees:
//! - A pool or group has at most one task for each kind of question, and the pools and groups of a namespace
//!   have [`TASKS_OF_NAMESPACE`]. So the silent guests of one tenant hold up nobody else.
//! - A question ends after [`LONGEST`], or the time of its kind; that nobody answered is then the answer.
//! - An answer is for exactly what was asked: the text of the question has everything that it depends on.
//! - A task records nothing. A crash loses a question, and it is asked again.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};
use vsiflow_engine::model::EntityId;

use super::FleetError;

/// How long a question may take, and how long what was learned stays known, if its kind says nothing else.
const LONGEST: Duration = Duration::from_secs(30);
/// How many questions of a kind are asked at a time for the pools and groups of a namespace.
const TASKS_OF_NAMESPACE: usize = 4;

/// What was learned; or why nothing can be learned now, in words; or why nobody could be asked.
pub(in crate::fleet) type Learned<T> = Result<Result<T, String>, FleetError>;

/// The questions of one kind.
pub(in crate::fleet) struct Inquiries<T> {
    state: Arc<Mutex<State<T>>>,
    longest: Duration,
}

struct State<T> {
    of_owners: BTreeMap<EntityId, OfOwner<T>>,
    turns: BTreeMap<String, Arc<Semaphore>>,
}

struct OfOwner<T> {
    is_asked: bool,
    answers: BTreeMap<String, (Instant, Learned<T>)>,
}

impl<T> Default for Inquiries<T> {
    fn default() -> Self {
        Self::lasting(LONGEST)
    }
}

impl<T> Inquiries<T> {
    /// Questions that may take so long.
    pub(in crate::fleet) fn lasting(longest: Duration) -> Self {
        let (of_owners, turns) = (BTreeMap::new(), BTreeMap::new());
        let state = Arc::new(Mutex::new(State { of_owners, turns }));
        Self { state, longest }
    }
}

impl<T> Default for OfOwner<T> {
    fn default() -> Self {
        Self {
            is_asked: false,
            answers: BTreeMap::new(),
        }
    }
}

impl<T: Clone + Send + 'static> Inquiries<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to this question; `None` if it has none yet. What was learned stays known for a while,
    /// everything else is asked again.
    pub(in crate::fleet) fn answer(&self, owner: &EntityId, question: &str) -> Option<Learned<T>> {
        let mut state = self.state();
        let of_owner = state.of_owners.get_mut(owner)?;
        of_owner
            .answers
            .retain(|_, (since, _)| since.elapsed() < self.longest);
        let (_, learned) = of_owner.answers.get(question)?.clone();
        if !matches!(learned, Ok(Ok(_))) {
            of_owner.answers.remove(question);
        }
        Some(learned)
    }

    /// The same, and forgets it.
    pub(in crate::fleet) fn take(&self, owner: &EntityId, question: &str) -> Option<Learned<T>> {
        let learned = self.answer(owner, question)?;
        if let Some(of_owner) = self.state().of_owners.get_mut(owner) {
            of_owner.answers.remove(question);
        }
        Some(learned)
    }

    /// The task that asks, for the caller to run; `None` while another question of this owner is asked.
    pub(in crate::fleet) fn asking(
        &self,
        owner: &EntityId,
        namespace: &str,
        question: String,
        ask: impl Future<Output = Learned<T>> + Send + 'static,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let mut state = self.state();
        let of_owner = state.of_owners.entry(owner.clone()).or_default();
        if std::mem::replace(&mut of_owner.is_asked, true) {
            return None;
        }
        let turns = state.turns.entry(namespace.to_owned());
        let turns = turns.or_insert_with(|| Arc::new(Semaphore::new(TASKS_OF_NAMESPACE)));
        let turns = turns.clone();
        drop(state);
        let task = AskedQuestion {
            inquiries: Self {
                state: self.state.clone(),
                longest: self.longest,
            },
            owner: owner.clone(),
        };
        let longest = self.longest;
        Some(async move {
            let Ok(_turn) = turns.acquire().await else {
                return;
            };
            let learned = timeout(longest, ask).await.unwrap_or_else(|_| {
                let seconds = longest.as_secs();
                Ok(Err(format!("there was no answer within {seconds} s")))
            });
            task.answered(question, learned);
        })
    }

    /// Drops everything about an owner that is gone.
    pub(in crate::fleet) fn forget(&self, owner: &EntityId) {
        let mut state = self.state();
        state.of_owners.remove(owner);
        // A namespace in which nothing is asked has nobody who holds its turns.
        state.turns.retain(|_, turns| Arc::strong_count(turns) > 1);
    }
}

/// A question that is asked. The owner may ask another one when this is dropped, answered or not.
struct AskedQuestion<T: Clone + Send + 'static> {
    inquiries: Inquiries<T>,
    owner: EntityId,
}

impl<T: Clone + Send + 'static> AskedQuestion<T> {
    fn answered(self, question: String, learned: Learned<T>) {
        let mut state = self.inquiries.state();
        // The owner may be gone by now.
        if let Some(of_owner) = state.of_owners.get_mut(&self.owner) {
            of_owner.answers.insert(question, (Instant::now(), learned));
        }
    }
}

impl<T: Clone + Send + 'static> Drop for AskedQuestion<T> {
    fn drop(&mut self) {
        if let Some(of_owner) = self.inquiries.state().of_owners.get_mut(&self.owner) {
            of_owner.is_asked = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use vsiflow_engine::model::Name;

    use super::*;

    fn owner(id: &str) -> EntityId {
        EntityId::new(Name::of("group"), id.to_owned()).unwrap()
    }

    fn task(
        inquiries: &Inquiries<u8>,
        id: &str,
        question: &str,
        ask: impl Future<Output = Learned<u8>> + Send + 'static,
    ) -> Option<tokio::task::JoinHandle<()>> {
        let asking = inquiries.asking(&owner(id), "a", question.to_owned(), ask);
        asking.map(tokio::spawn)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_learned_stays_known_for_a_while_and_a_refusal_is_asked_again() {
        let inquiries = Inquiries::default();
        let asked = task(&inquiries, "g", "q", async { Ok(Ok(7)) }).unwrap();
        assert!(inquiries.answer(&owner("g"), "q").is_none());
        asked.await.unwrap();
        for _ in 0..2 {
            assert_eq!(inquiries.answer(&owner("g"), "q"), Some(Ok(Ok(7))));
        }
        assert!(inquiries.answer(&owner("g"), "another").is_none());
        tokio::time::sleep(LONGEST).await;
        assert!(inquiries.answer(&owner("g"), "q").is_none());
        let why = || Ok(Err("not yet".to_owned()));
        let refused = task(&inquiries, "g", "q", async move { why() }).unwrap();
        refused.await.unwrap();
        assert_eq!(inquiries.answer(&owner("g"), "q"), Some(why()));
        assert!(inquiries.answer(&owner("g"), "q").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_guest_that_never_answers_costs_its_owner_a_question_and_others_nothing() {
        let inquiries = Inquiries::default();
        let silent = task(&inquiries, "g", "q", std::future::pending()).unwrap();
        assert!(task(&inquiries, "g", "r", async { Ok(Ok(1)) }).is_none());
        let other = task(&inquiries, "h", "q", async { Ok(Ok(2)) }).unwrap();
        other.await.unwrap();
        assert_eq!(inquiries.take(&owner("h"), "q"), Some(Ok(Ok(2))));
        assert!(inquiries.take(&owner("h"), "q").is_none());
        silent.await.unwrap();
        let unanswered = inquiries.answer(&owner("g"), "q").unwrap();
        assert!(unanswered.unwrap().unwrap_err().contains("30 s"));
        assert!(task(&inquiries, "g", "r", async { Ok(Ok(1)) }).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_was_ended_leaves_its_owner_free_to_ask() {
        let inquiries = Inquiries::default();
        let ended = task(&inquiries, "g", "q", std::future::pending()).unwrap();
        tokio::task::yield_now().await;
        ended.abort();
        let _ = ended.await;
        assert!(task(&inquiries, "g", "q", async { Ok(Ok(1)) }).is_some());
    }
}
