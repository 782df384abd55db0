//! A shared value that is opened when it is first needed, and again when it has ended.

use std::fmt;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};

use crate::connect_error::ConnectError;

type Attempt<T> = Shared<BoxFuture<'static, Result<T, ConnectError>>>;

/// Holds the newest attempt, in progress or completed. Callers during an attempt share it and its error. A
/// caller after an error, or after the value has ended, begins a new attempt.
pub(super) struct SessionSlot<T> {
    attempt: Mutex<Option<Attempt<T>>>,
}

impl<T> SessionSlot<T> {
    pub(super) const fn new() -> Self {
        Self {
            attempt: Mutex::new(None),
        }
    }

    fn attempt(&self) -> MutexGuard<'_, Option<Attempt<T>>> {
        self.attempt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for SessionSlot<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for SessionSlot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static> SessionSlot<T> {
    /// The current value, if it is alive.
    pub(super) fn ready(&self, alive: impl Fn(&T) -> bool) -> Option<T> {
        self.attempt()
            .as_ref()
            .and_then(|attempt| match attempt.peek() {
                Some(Ok(value)) if alive(value) => Some(value.clone()),
                _ => None,
            })
    }

    /// Takes out the current value.
    pub(super) fn take(&self) -> Option<T> {
        let attempt = self.attempt().take()?;
        attempt.peek().and_then(|outcome| outcome.clone().ok())
    }

    /// The current value, or the result of the attempt in progress or of a new one.
    ///
    /// Cancel safe: the attempt is a separate task and continues.
    pub(super) async fn get<F, Fut>(
        &self,
        alive: impl Fn(&T) -> bool,
        open: F,
    ) -> Result<T, ConnectError>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, ConnectError>> + Send + 'static,
    {
        let attempt = {
            let mut current = self.attempt();
            match current.as_ref() {
                Some(attempt) if is_usable(attempt, alive) => attempt.clone(),
                _ => current.insert(begin(open())).clone(),
            }
        };
        attempt.await
    }
}

/// Whether an attempt is in progress, or its value is alive.
fn is_usable<T: Clone>(attempt: &Attempt<T>, alive: impl Fn(&T) -> bool) -> bool {
    match attempt.peek() {
        None => true,
        Some(Ok(value)) => alive(value),
        Some(Err(_)) => false,
    }
}

fn begin<T, Fut>(open: Fut) -> Attempt<T>
where
    T: Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<T, ConnectError>> + Send + 'static,
{
    let task = tokio::spawn(open);
    let attempt = async move {
        task.await.unwrap_or_else(|error| {
            Err(ConnectError::Ssh {
                host: String::new(),
                message: error.to_string(),
            })
        })
    };
    attempt.boxed().shared()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn failure() -> ConnectError {
        ConnectError::Closed {
            host: "h".to_owned(),
        }
    }

    #[tokio::test]
    async fn an_attempt_is_shared_and_so_is_its_failure() {
        let (slot, count) = (SessionSlot::<u32>::default(), Arc::new(AtomicU32::new(0)));
        let open = || {
            let count = Arc::clone(&count);
            async move {
                tokio::task::yield_now().await;
                count.fetch_add(1, Ordering::Relaxed);
                Err(failure())
            }
        };
        let (one, two) = tokio::join!(slot.get(|_| true, open), slot.get(|_| true, open));
        assert_eq!((one, two), (Err(failure()), Err(failure())));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(slot.get(|_| true, || async { Ok(7) }).await, Ok(7));
    }

    #[tokio::test]
    async fn the_dead_are_replaced_and_the_living_kept() {
        let slot = SessionSlot::<u32>::default();
        assert_eq!(slot.get(|_| true, || async { Ok(1) }).await, Ok(1));
        // `peek` returns a value only after the attempt was awaited.
        assert_eq!(slot.ready(|_| true), Some(1));
        assert_eq!(slot.get(|_| true, || async { Ok(2) }).await, Ok(1));
        assert_eq!(
            slot.get(|value| *value != 1, || async { Ok(2) }).await,
            Ok(2)
        );
        assert_eq!(slot.take(), Some(2));
        assert_eq!(slot.ready(|_| true), None);
    }

    #[tokio::test]
    async fn an_attempt_outlives_who_began_it() {
        let slot = SessionSlot::<u32>::default();
        let opening = slot.get(
            |_| true,
            || async {
                tokio::task::yield_now().await;
                Ok(1)
            },
        );
        assert!(opening.now_or_never().is_none());
        assert_eq!(slot.get(|_| true, || async { Ok(2) }).await, Ok(1));
    }
}
