//! Lanes that do not answer.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::lane::Lanes;

/// A lane that is down as long as the test says so.
#[derive(Default)]
pub(super) struct LaneReach {
    down: AtomicBool,
    probes: AtomicU32,
    reported: Mutex<Vec<bool>>,
}

#[async_trait]
impl Lanes for LaneReach {
    fn is_down(&self, failure: &Failure) -> bool {
        failure.code.as_str() == "T9"
    }

    async fn probe(&self, _: &Text) -> Result<(), Failure> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) {
            Err(unreachable())
        } else {
            Ok(())
        }
    }

    fn note(&self, _: &Text, down: Option<&Failure>) {
        self.reported.lock().unwrap().push(down.is_some());
    }
}

/// Workflows that act on a host are named after that host.
pub(super) fn lane(workflow: &Name) -> Text {
    let host = workflow.as_str().strip_prefix("on-");
    host.map_or_else(Text::default, Text::new)
}

fn unreachable() -> Failure {
    Failure::new(FailureClass::Transient, "T9", "no route").on_host("dead")
}

async fn ask(engine: &Engine, id: &str, workflow: &str) {
    let update = update_of(id, workflow, Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn while_a_host_is_out_of_reach_one_probe_looks_and_nobody_attempts() {
    let bench = Bench::playing([Play::Fail(unreachable()), Play::Fail(unreachable())]);
    bench.lanes.down.store(true, Ordering::SeqCst);
    let engine = bench.open().await;
    for id in ["x", "y"] {
        ask(&engine, id, "on-dead").await;
    }
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.attempts(), 2, "each tried once");
    let probes = bench.lanes.probes.load(Ordering::SeqCst);
    assert!((100..200).contains(&probes), "{probes} in an hour");
    ask(&engine, "z", "on-other").await;
    until(&engine, "z", EntityState::is_settled).await;

    bench.lanes.down.store(false, Ordering::SeqCst);
    let back = tokio::time::Instant::now();
    for id in ["x", "y"] {
        until(&engine, id, EntityState::is_settled).await;
    }
    let took = back.elapsed();
    assert!(took < Duration::from_secs(40), "{took:?}");
    assert_eq!(bench.lanes.reported.lock().unwrap().last(), Some(&false));
}

#[tokio::test(start_paused = true)]
async fn a_retry_looks_at_the_host_at_once() {
    let bench = Bench::playing([Play::Fail(unreachable())]);
    bench.lanes.down.store(true, Ordering::SeqCst);
    let engine = bench.open().await;
    ask(&engine, "x", "on-dead").await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    bench.lanes.down.store(false, Ordering::SeqCst);
    let before = tokio::time::Instant::now();
    engine.retry(entity("x"), by()).await.unwrap();
    until(&engine, "x", EntityState::is_settled).await;
    assert!(before.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn what_fails_on_a_host_that_answers_is_tried_again_as_ever() {
    let bench = Bench::playing([Play::Fail(transient("busy"))]);
    bench.lanes.down.store(true, Ordering::SeqCst);
    let engine = bench.open().await;
    ask(&engine, "x", "on-well").await;
    until(&engine, "x", EntityState::is_settled).await;
    assert_eq!(bench.lanes.probes.load(Ordering::SeqCst), 0);
}
