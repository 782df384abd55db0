//! The requests to a journal that are being carried out.

use std::collections::HashMap;

use tokio::task::{self, JoinError, JoinSet};
use vsiflow_postgres::shards::requests::Lane;

/// How many requests of one lane are carried out at the same time.
const MAX_CONCURRENT: usize = 32;

/// Tasks that carry out requests. Dropping it ends them.
#[derive(Default)]
pub(super) struct RequestsUnderWay {
    tasks: JoinSet<()>,
    requests: HashMap<task::Id, BegunRequest>,
}

struct BegunRequest {
    id: String,
    lane: Lane,
}

/// The task that carried out a request panicked.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("request {id} panicked")]
pub(super) struct PanickedRequest {
    pub(super) id: String,
}

impl RequestsUnderWay {
    pub(super) fn begin(
        &mut self,
        id: String,
        lane: Lane,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = self.tasks.spawn(work);
        self.requests.insert(task.id(), BegunRequest { id, lane });
    }

    /// The lanes in which another request may begin; waits until there is one. Cancel safe.
    ///
    /// # Errors
    /// When a request panicked.
    pub(super) async fn open_lanes(&mut self) -> Result<Vec<Lane>, PanickedRequest> {
        loop {
            while let Some(ended) = self.tasks.try_join_next_with_id() {
                self.forget(ended)?;
            }
            let open: Vec<_> = Lane::ALL
                .into_iter()
                .filter(|lane| self.has_room(*lane))
                .collect();
            if !open.is_empty() {
                return Ok(open);
            }
            if let Some(ended) = self.tasks.join_next_with_id().await {
                self.forget(ended)?;
            }
        }
    }

    fn has_room(&self, lane: Lane) -> bool {
        let busy = self.requests.values().filter(|begun| begun.lane == lane);
        busy.count() < MAX_CONCURRENT
    }

    fn forget(&mut self, ended: Result<(task::Id, ()), JoinError>) -> Result<(), PanickedRequest> {
        let (task, has_panicked) = match ended {
            Ok((task, ())) => (task, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        match self.requests.remove(&task) {
            Some(BegunRequest { id, .. }) if has_panicked => Err(PanickedRequest { id }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_request_that_panics_is_named() {
        let mut under_way = RequestsUnderWay::default();
        under_way.begin("one".to_owned(), Lane::Command, async {});
        let panics = async { panic!("the test asked for it") };
        under_way.begin("two".to_owned(), Lane::Command, panics);
        let panicked = loop {
            tokio::task::yield_now().await;
            if let Err(panicked) = under_way.open_lanes().await {
                break panicked;
            }
        };
        let id = "two".to_owned();
        assert_eq!(panicked, PanickedRequest { id });
    }

    #[tokio::test]
    async fn a_lane_that_is_full_is_closed_until_one_of_its_requests_ends() {
        let mut under_way = RequestsUnderWay::default();
        let (end, ended) = tokio::sync::oneshot::channel();
        let ends = async move { ended.await.unwrap() };
        under_way.begin(String::new(), Lane::Report, ends);
        for _ in 0..MAX_CONCURRENT {
            under_way.begin(String::new(), Lane::Command, std::future::pending());
            under_way.begin(String::new(), Lane::Decision, std::future::pending());
        }
        for _ in 1..MAX_CONCURRENT {
            under_way.begin(String::new(), Lane::Report, std::future::pending());
        }
        let full = tokio::time::timeout(Duration::ZERO, under_way.open_lanes());
        assert!(full.await.is_err());
        end.send(()).unwrap();
        assert_eq!(under_way.open_lanes().await, Ok(vec![Lane::Report]));
    }
}
