//! Work that reads a whole journal, done once for all callers who ask for it.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

/// Work whose result is the same for all who ask for it before it begins.
///
/// At most one of it runs at a time. A caller never gets the result of work that had begun before it asked:
/// whatever was changed until then is in the result. So all who ask while it runs share the next one.
pub(crate) struct SharedWork<T> {
    /// The result of the next work, if somebody waits for it.
    next: Mutex<Option<Arc<OnceCell<T>>>>,
    /// Held while the work runs.
    running: tokio::sync::Mutex<()>,
}

impl<T> Default for SharedWork<T> {
    fn default() -> Self {
        Self {
            next: Mutex::new(None),
            running: tokio::sync::Mutex::new(()),
        }
    }
}

impl<T: Clone> SharedWork<T> {
    /// The result of work that begins after this call, by this caller or by another one.
    ///
    /// Cancel safety: if the caller that works is dropped, another one who waits begins again.
    pub(crate) async fn result(&self, work: impl Future<Output = T>) -> T {
        let shared = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.get_or_insert_default().clone()
        };
        let begin = async {
            let _running = self.running.lock().await;
            self.begins(&shared);
            work.await
        };
        shared.get_or_init(|| begin).await.clone()
    }

    /// The result of work for this caller alone, which does not run beside the shared work either.
    pub(crate) async fn alone(&self, work: impl Future<Output = T>) -> T {
        let _running = self.running.lock().await;
        work.await
    }

    /// Those who ask from now on share other work.
    fn begins(&self, shared: &Arc<OnceCell<T>>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.as_ref().is_some_and(|next| Arc::ptr_eq(next, shared)) {
            *next = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Work that counts how often it began, and ends once it is permitted to.
    #[derive(Default)]
    struct Counted {
        begun: AtomicUsize,
        at_once: AtomicUsize,
        most_at_once: AtomicUsize,
    }

    impl Counted {
        async fn work(&self, ends: &Semaphore) -> usize {
            let number = self.begun.fetch_add(1, Ordering::SeqCst);
            let running = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(running, Ordering::SeqCst);
            ends.acquire().await.unwrap().forget();
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            number
        }
    }

    struct Audits {
        shared: SharedWork<usize>,
        counted: Counted,
        ends: Semaphore,
    }

    fn audits() -> Arc<Audits> {
        Arc::new(Audits {
            shared: SharedWork::default(),
            counted: Counted::default(),
            ends: Semaphore::new(0),
        })
    }

    fn caller(audits: &Arc<Audits>) -> tokio::task::JoinHandle<usize> {
        let audits = audits.clone();
        tokio::spawn(async move {
            let work = audits.counted.work(&audits.ends);
            audits.shared.result(work).await
        })
    }

    async fn all_wait() {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn callers_who_ask_meanwhile_share_one_audit_that_begins_after_they_asked() {
        let audits = audits();
        let first = caller(&audits);
        all_wait().await;
        let others: Vec<_> = (0..32).map(|_| caller(&audits)).collect();
        all_wait().await;
        assert_eq!(audits.counted.begun.load(Ordering::SeqCst), 1);
        audits.ends.add_permits(2);
        assert_eq!(first.await.unwrap(), 0);
        for other in others {
            assert_eq!(other.await.unwrap(), 1);
        }
        assert_eq!(audits.counted.begun.load(Ordering::SeqCst), 2);
        assert_eq!(audits.counted.most_at_once.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_caller_that_leaves_does_not_take_the_audit_from_the_others() {
        let audits = audits();
        let leaves = caller(&audits);
        all_wait().await;
        let running = caller(&audits);
        let waits = caller(&audits);
        all_wait().await;
        leaves.abort();
        assert!(leaves.await.unwrap_err().is_cancelled());
        all_wait().await;
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        audits.ends.add_permits(1);
        assert_eq!(waits.await.unwrap(), 2);
    }
}
