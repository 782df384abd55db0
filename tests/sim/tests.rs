//! The tests that play games of the simulation.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{play, play_aloud};
use crate::matrix::in_parallel;

const COMMAND: &str = "cargo test -p vsiflow-tests --test crash seeded -- --nocapture";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays games for `VSIFLOW_SIM_SECONDS` (20 by default), with seeds from `VSIFLOW_SIM_FROM` on, or only the
/// game with the seed `VSIFLOW_SIM_SEED`.
#[test]
fn seeded_games_end_as_they_should() {
    if let Some(seed) = number("VSIFLOW_SIM_SEED") {
        match play_aloud(seed) {
            Ok(report) => println!("seed {seed}: {report:?}"),
            Err(error) => panic!("seed {seed}: {error}"),
        }
        return;
    }
    let seconds = number("VSIFLOW_SIM_SECONDS").unwrap_or(20);
    let (first, since) = (number("VSIFLOW_SIM_FROM").unwrap_or(1), Instant::now());
    let (next, played) = (AtomicU64::new(first), AtomicU64::new(0));
    let threads: Vec<usize> =
        (0..std::thread::available_parallelism().map_or(1, usize::from)).collect();
    let wrong = in_parallel(&threads, |_| {
        while since.elapsed() < Duration::from_secs(seconds) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            play(seed, None).map_err(|error| {
                format!("seed {seed}: {error}\n  VSIFLOW_SIM_SEED={seed} {COMMAND}")
            })?;
            played.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    let (played, took) = (played.into_inner(), since.elapsed().as_secs_f64());
    println!(
        "{played} games in {took:.0} s, {:.1} a second",
        played as f64 / took
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_game() {
    for seed in 1..6 {
        let (first, second) = (play(seed, None), play(seed, None));
        assert_eq!(first, second, "seed {seed}");
    }
}
