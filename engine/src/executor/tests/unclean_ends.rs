//! Steps during which the process is killed.

use super::*;

const CODE: &str = "VSI0040";

/// A process that is killed at the end of `life`: nothing of it ends in order.
fn killed_after<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(life)
}

async fn until_attempts(bench: &Bench, count: u32) {
    while bench.attempts() < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn driving(bench: &Bench) -> Engine {
    let engine = bench.open().await;
    engine.drive(Drive::All).await.unwrap();
    engine
}

fn state_of_step(engine: &Engine, id: &str) -> NodeState {
    let run = engine.entity(&entity(id)).unwrap().runs[0];
    engine.run(run).unwrap().nodes[&Name::of("a")].clone()
}

fn waits_after_unclean_ends(engine: &Engine, id: &str) -> bool {
    let failure = state_of_step(engine, id).failure().cloned();
    failure.is_some_and(|failure| failure.code.as_str() == CODE)
}

/// Three processes that are killed during the step of each entity.
fn killed_three_times(entities: &[&str]) -> Bench {
    let bench = Bench::default();
    let count = u32::try_from(entities.len()).unwrap();
    for life in 1..=3 {
        let plays = entities.iter().map(|_| Play::UntilLet);
        bench.script.next.lock().unwrap().extend(plays);
        killed_after(async {
            let engine = driving(&bench).await;
            if life == 1 {
                for id in entities {
                    submit_one(&engine, id, "one").await;
                }
            }
            until_attempts(&bench, life * count).await;
        });
    }
    bench
}

#[test]
fn a_step_during_which_the_process_ended_three_times_waits_and_others_go_first() {
    let bench = killed_three_times(&["x"]);
    killed_after(async {
        let begun = tokio::time::Instant::now();
        let engine = driving(&bench).await;
        submit_one(&engine, "neighbour", "one").await;
        settled(&engine, "neighbour").await;
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(waits_after_unclean_ends(&engine, "x"));
        assert_eq!(bench.attempts(), 4, "the neighbour's alone is new");
        bench.script.next.lock().unwrap().push_back(Play::UntilLet);
        until_attempts(&bench, 5).await;
        assert!(begun.elapsed() >= Duration::from_secs(10));
    });
    // The next pause is longer.
    killed_after(async {
        let begun = tokio::time::Instant::now();
        let engine = driving(&bench).await;
        settled(&engine, "x").await;
        assert!(begun.elapsed() >= Duration::from_secs(20));
    });
}

#[test]
fn of_two_such_steps_one_starts_at_a_time() {
    let bench = killed_three_times(&["x", "y"]);
    killed_after(async {
        let engine = driving(&bench).await;
        let plays = [Play::UntilLet, Play::UntilLet];
        bench.script.next.lock().unwrap().extend(plays);
        until_attempts(&bench, 7).await;
        let first = tokio::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(bench.attempts(), 7, "the other one waits");
        until_attempts(&bench, 8).await;
        assert!(first.elapsed() >= Duration::from_secs(60));
        drop(engine);
    });
}

#[test]
fn a_step_that_fails_before_each_attempt_that_kills_waits_too() {
    let bench = Bench::default();
    for life in 1..=3 {
        let plays = [Play::Fail(transient("busy")), Play::UntilLet];
        bench.script.next.lock().unwrap().extend(plays);
        killed_after(async {
            let engine = driving(&bench).await;
            if life == 1 {
                submit_one(&engine, "x", "one").await;
            }
            until_attempts(&bench, life * 2).await;
        });
    }
    killed_after(async {
        let engine = driving(&bench).await;
        while !waits_after_unclean_ends(&engine, "x") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(bench.attempts(), 6);
        settled(&engine, "x").await;
    });
}

#[test]
fn thirty_kills_of_a_step_that_progresses_delay_nothing() {
    let bench = Bench::default();
    for life in 1..=30_u32 {
        bench.script.next.lock().unwrap().push_back(Play::UntilLet);
        killed_after(async {
            let engine = driving(&bench).await;
            if life == 1 {
                submit_one(&engine, "x", "one").await;
            }
            until_attempts(&bench, life).await;
            assert!(!waits_after_unclean_ends(&engine, "x"));
            let run = engine.entity(&entity("x")).unwrap().runs[0];
            let position = life.to_string().into_bytes();
            bench
                .checkpoints
                .put(run, &Name::of("a"), position)
                .await
                .unwrap();
        });
    }
}

#[test]
fn an_orderly_end_blames_no_step() {
    let bench = Bench::default();
    for life in 1..=5 {
        bench.script.next.lock().unwrap().push_back(Play::UntilLet);
        killed_after(async {
            let engine = driving(&bench).await;
            if life == 1 {
                submit_one(&engine, "x", "one").await;
            }
            until_attempts(&bench, life).await;
            assert!(!waits_after_unclean_ends(&engine, "x"));
            engine.close().await;
        });
    }
}
