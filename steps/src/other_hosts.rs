//! Asks the hosts beside a step's own: an administrator may have moved a guest there, or hosts may share a pool.
//!
//! **What it never does.** It waits for no host for long: one that does not answer in time is left out. It asks no host
//! of an owner who does not trust that of the step's own host (see [`Hosts::others`]).

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};
use vsiflow_engine::model::Failure;

use crate::ports::{HostPorts, Hosts};

/// How many hosts are asked at the same time.
const PARALLEL: usize = 16;
/// How long all of them together may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the first of the hosts beside `here` answers that has an answer. Cancel safe.
pub(crate) async fn first_answer<T, Looking>(
    hosts: &Arc<dyn Hosts>,
    here: &str,
    look: impl Fn(HostPorts) -> Looking,
) -> Option<T>
where
    Looking: Future<Output = Result<Option<T>, Failure>>,
{
    let deadline = Instant::now() + PATIENCE;
    let look = &look;
    let other_hosts = hosts.others(here).await.into_iter();
    let looks = other_hosts.map(|host| async move {
        let answer = async { look(hosts.host(&host).await?).await };
        match timeout_at(deadline, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(failure)) => {
                tracing::warn!(%host, %failure, "it was not asked");
                None
            }
            Err(_) => {
                tracing::warn!(%host, "it did not answer in time");
                None
            }
        }
    });
    let mut answers = pin!(stream::iter(looks).buffer_unordered(PARALLEL));
    while let Some(answer) = answers.next().await {
        if answer.is_some() {
            return answer;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::{ports::PortResult, sim::SimHosts};

    /// A hundred dead hosts, and one that answers.
    struct MostlyDead(SimHosts);

    const ALIVE: &str = "alive";

    #[async_trait]
    impl Hosts for MostlyDead {
        async fn host(&self, id: &str) -> PortResult<HostPorts> {
            if id != ALIVE {
                std::future::pending::<()>().await;
            }
            self.0.host(id).await
        }

        async fn others(&self, _: &str) -> Vec<String> {
            let dead = (0..100).map(|number| format!("dead-{number}"));
            std::iter::once(ALIVE.to_owned()).chain(dead).collect()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn dead_hosts_delay_an_answer_by_seconds_however_many_they_are() {
        let hosts: Arc<dyn Hosts> = Arc::new(MostlyDead(SimHosts::in_memory()));
        let begun = Instant::now();
        let name = |ports: HostPorts| async move { Ok(Some(ports.host.name().to_owned())) };
        let answer = first_answer(&hosts, "here", name).await;
        assert_eq!(answer.as_deref(), Some(ALIVE));
        assert!(begun.elapsed() < Duration::from_secs(1));
        let nothing = |_| async { Ok(None::<()>) };
        assert!(first_answer(&hosts, "here", nothing).await.is_none());
        assert!(begun.elapsed() < PATIENCE * 2);
    }
}
