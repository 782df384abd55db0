//! Checks how often a step is attempted: never too often, even if the wall clock jumps.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::broadcast::Receiver, time::Instant};
use vsiflow_engine::{
    Notice,
    model::{EventKind, Name, RunId, StreamId},
};

use crate::audit::CrashAudit;

const WINDOW: Duration = Duration::from_secs(10);
/// The growing delays permit five attempts within the window; users and restarts add some.
const MOST: usize = 25;

/// Counts attempts until the process ends, and reports too many of them as a violation.
pub async fn watch(mut notices: Receiver<Notice>, audit: Arc<CrashAudit>) {
    let mut attempts = BTreeMap::<(RunId, Name), VecDeque<Instant>>::new();
    loop {
        let key = match notices.recv().await {
            Ok(Notice::Recorded(record)) => match (&record.stream, &record.event.kind) {
                (StreamId::Run(run), EventKind::StepStarted { node, .. }) => (*run, node.clone()),
                _ => continue,
            },
            Ok(Notice::Repeated { run, node, .. }) => (run, node),
            Ok(Notice::Ended) | Err(_) => return,
            Ok(_) => continue,
        };
        let (now, recent) = (Instant::now(), attempts.entry(key.clone()).or_default());
        recent.push_back(now);
        while recent.front().is_some_and(|first| now - *first > WINDOW) {
            recent.pop_front();
        }
        if recent.len() > MOST {
            let times = recent.len();
            audit.ledger().blame(format!(
                "{} is attempted {times} times in {WINDOW:?}",
                key.1
            ));
        }
    }
}
