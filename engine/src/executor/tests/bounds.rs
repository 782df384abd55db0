//! The engine's limits from outside: the disk's room, its lease, and a clock that is set.

use std::{
    path::Path,
    sync::atomic::{AtomicI64, AtomicU64},
};

use super::*;
use crate::{
    lease::BootInstant,
    model::{RunResult, Timestamp},
    room::{Level, Space},
};

const MIB: u64 = 1024 * 1024;

/// A disk of 1 GiB. The test sets its free bytes, from which the ballast is subtracted.
struct SlowDisk {
    dir: tempfile::TempDir,
    others: Arc<AtomicU64>,
}

impl SlowDisk {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            others: Arc::default(),
        }
    }

    fn room(&self) -> Arc<Room> {
        let others = self.others.clone();
        let look = move |dir: &Path| {
            let size = |name| std::fs::metadata(dir.join(name)).map_or(0, |file| file.len());
            let ballast = size("ballast") + size("ballast.last");
            let total = 1024 * MIB;
            let taken = others.load(Ordering::SeqCst).saturating_add(ballast);
            Ok(Space::of(total, total.saturating_sub(taken)))
        };
        Room::open_with(self.dir.path(), Arc::new(look))
    }

    fn leave(&self, free: u64) {
        self.others.store((1024 - free) * MIB, Ordering::SeqCst);
    }
}

async fn level(engine: &mut tokio::sync::broadcast::Receiver<Notice>, update: Level) {
    let reached = async {
        loop {
            if let Notice::Room(seen) = engine.recv().await.unwrap()
                && seen.level == update
            {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached)
        .await
        .expect("in time");
}

#[tokio::test(start_paused = true)]
async fn below_the_watermark_no_run_is_opened_until_there_is_room_again() {
    let disk = SlowDisk::new();
    let bench = Bench {
        room: disk.room(),
        ..Bench::default()
    };
    let engine = bench.open().await;
    let mut notices = engine.notices();
    disk.leave(50);
    level(&mut notices, Level::Low).await;
    let update = update_of("x", "one", Precedence::Supersede);
    assert_eq!(engine.submit(vec![update], by()).await, Ok(vec![1]));
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.count("run_opened").await, 0);
    disk.leave(1_000);
    settled(&engine, "x").await;
    assert_eq!(bench.attempts(), 1);
}

#[tokio::test(start_paused = true)]
async fn on_a_full_disk_what_is_under_way_is_recorded_and_nothing_else_begins() {
    let disk = SlowDisk::new();
    let bench = Bench {
        room: disk.room(),
        ..Bench::playing([Play::UntilLet])
    };
    let engine = bench.open().await;
    let mut notices = engine.notices();
    let update = update_of("x", "two", Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
    until_started(&bench, 1).await;
    disk.leave(20);
    level(&mut notices, Level::Full).await;
    bench.script.hold.notify_one();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.count("step_succeeded").await, 1, "it was recorded");
    assert_eq!(bench.attempts(), 1, "the second step waits");
    let refused = engine
        .submit(vec![update_of("y", "one", Precedence::Supersede)], by())
        .await;
    let Err(EngineError::Refused(failure)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(failure.code.as_str(), "VSI0011");
    disk.leave(1_000);
    settled(&engine, "x").await;
    assert_eq!(bench.attempts(), 2);
}

async fn until_started(bench: &Bench, attempts: u32) {
    let started = async {
        while bench.attempts() < attempts {
            tokio::task::yield_now().await;
        }
    };
    started.await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_falls_due_on_a_full_disk_waits_for_room() {
    let disk = SlowDisk::new();
    let bench = Bench {
        room: disk.room(),
        ..Bench::playing([Play::Fail(transient("unreachable"))])
    };
    let engine = bench.open().await;
    let mut notices = engine.notices();
    disk.leave(20);
    level(&mut notices, Level::Full).await;
    disk.leave(1_000);
    level(&mut notices, Level::Plenty).await;
    let update = update_of("x", "one", Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
    until_started(&bench, 1).await;
    disk.leave(20);
    level(&mut notices, Level::Full).await;
    let before = bench.attempts();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(bench.attempts(), before);
    disk.leave(1_000);
    settled(&engine, "x").await;
}

#[tokio::test]
async fn an_engine_past_its_lease_appends_nothing_and_ends() {
    let lease = Lease::new(BootInstant::now(), Duration::from_secs(3_600));
    let bench = Bench {
        lease: lease.clone(),
        ..Bench::playing([Play::UntilLet])
    };
    let engine = bench.open().await;
    let update = update_of("x", "two", Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
    let mut notices = engine.notices();
    let before = bench.events().await.len();
    lease.give_up();
    bench.script.hold.notify_one();
    while !matches!(notices.recv().await, Ok(Notice::Ended)) {}
    let other = update_of("y", "one", Precedence::Supersede);
    let refused = engine.submit(vec![other], by()).await;
    assert_eq!(refused, Err(EngineError::Ended));
    assert!(bench.events().await.len() <= before.max(4));
    assert_eq!(bench.count("step_succeeded").await, 0);
}

/// Virtual time, and a wall clock that the test sets.
#[derive(Default)]
struct Settable {
    off_ms: AtomicI64,
}

#[async_trait]
impl Clock for Settable {
    fn now(&self) -> Timestamp {
        let off = self.off_ms.load(Ordering::SeqCst);
        let passed = SystemClock.monotonic().as_millis();
        let base = 1_800_000_000_000_u64 + u64::try_from(passed).unwrap();
        Timestamp(base.saturating_add_signed(off))
    }

    fn monotonic(&self) -> Duration {
        SystemClock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        SystemClock.sleep(duration).await;
    }
}

const DAY_MS: i64 = 86_400_000;

/// The attempts within an hour of failures, if the clock is set by `by_ms` after each minute.
async fn attempts_in_an_hour(by_ms: i64) -> (u32, usize) {
    let clock = Arc::new(Settable::default());
    let bench = Bench {
        clock: clock.clone(),
        ..Bench::playing((0..10_000).map(|_| Play::Fail(transient("unreachable"))))
    };
    let engine = bench.open().await;
    let update = update_of("x", "one", Precedence::Supersede);
    engine.submit(vec![update], by()).await.unwrap();
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        clock.off_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
    let attempts = bench.attempts();
    engine.close().await;
    (attempts, bench.count("clock_jumped").await)
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_by_days_neither_silences_retries_nor_makes_them_storm() {
    let (steady, none) = attempts_in_an_hour(0).await;
    assert_eq!(none, 0, "no jump, no event");
    assert!((10..60).contains(&steady), "{steady}");
    for by_ms in [DAY_MS, -DAY_MS] {
        let (attempts, jumps) = attempts_in_an_hour(by_ms).await;
        assert!(
            attempts.abs_diff(steady) * 3 <= steady,
            "{attempts} {steady}"
        );
        assert!(jumps > 0, "a jump is an event");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumped_while_nobody_ran_delays_a_retry_by_no_more_than_its_delay() {
    for by_ms in [DAY_MS, -DAY_MS] {
        let clock = Arc::new(Settable::default());
        let bench = Bench {
            clock: clock.clone(),
            ..Bench::playing((0..9).map(|n| Play::Fail(transient(&format!("another {n}")))))
        };
        let engine = bench.open().await;
        let update = update_of("x", "one", Precedence::Supersede);
        engine.submit(vec![update], by()).await.unwrap();
        while bench.attempts() < 9 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        engine.close().await;
        clock.off_ms.store(by_ms, Ordering::SeqCst);
        let reopened = bench.open().await;
        let all = vec![entity("x")];
        reopened.drive(Drive::These(all)).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(600), settled(&reopened, "x"));
        waited.await.expect("within the delay that was recorded");
        let run = reopened.entity(&entity("x")).unwrap().runs[0];
        assert_eq!(
            reopened.run(run).unwrap().result(),
            Some(&RunResult::Succeeded)
        );
        assert_eq!(bench.attempts(), 10);
    }
}
