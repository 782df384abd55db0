//! The tests that play sanctity games.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::game::play;
use crate::{matrix::in_parallel, sabotage::Defect};

/// How many games the standard tests play.
const SAMPLE: u64 = 40;
/// The most games to play until a defect is found.
const GAMES: u64 = 400;
const COMMAND: &str = "cargo test -p vsiflow-tests --test crash sanctity -- --nocapture";

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays a sample of games; or games for `VSIFLOW_SANCTITY_SECONDS`, with seeds from `VSIFLOW_SIM_FROM` on; or only
/// the game with the seed `VSIFLOW_SANCTITY_SEED`.
#[test]
fn nothing_that_a_guest_wrote_is_lost_without_an_order() {
    if let Some(seed) = number("VSIFLOW_SANCTITY_SEED") {
        match play(seed, None, true) {
            Ok(report) => println!("seed {seed}: {report:?}"),
            Err(error) => panic!("seed {seed}: {error}"),
        }
        return;
    }
    let seconds = number("VSIFLOW_SANCTITY_SECONDS").map(Duration::from_secs);
    let (first, since) = (number("VSIFLOW_SIM_FROM").unwrap_or(1), Instant::now());
    let (next, played) = (AtomicU64::new(first), AtomicU64::new(0));
    let (tokens, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads: Vec<usize> =
        (0..std::thread::available_parallelism().map_or(1, usize::from)).collect();
    let wrong = in_parallel(&threads, |_| {
        let mut wrong = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let is_over = match seconds {
                Some(seconds) => since.elapsed() >= seconds,
                None => seed >= first + SAMPLE,
            };
            if is_over {
                break;
            }
            match play(seed, None, false) {
                Ok(report) => {
                    tokens.fetch_add(report.tokens, Ordering::Relaxed);
                    ended.fetch_add(report.ended.into(), Ordering::Relaxed);
                }
                Err(error) => wrong.push(format!(
                    "seed {seed}: {error}\n  VSIFLOW_SANCTITY_SEED={seed} {COMMAND}"
                )),
            }
            played.fetch_add(1, Ordering::Relaxed);
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n"))
        }
    });
    let (played, took) = (played.into_inner(), since.elapsed().as_secs_f64());
    let (tokens, ended) = (tokens.into_inner(), ended.into_inner());
    println!(
        "{played} sanctity games from {first} on in {took:.0} s: {tokens} tokens, {ended} disks ended by order"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// An older copy of the journal had nothing of a VSI that ran. Its deletion left the guest running, and the next VSI got
/// its MAC address.
#[test]
fn a_deletion_in_an_older_journal_gives_no_address_away() {
    play(74515, None, false).unwrap();
}

/// Plays games until one fails as expected. The earlier seeds do not show the defect at present.
fn finds(defect: Defect, first: u64, expected: &str) {
    let since = Instant::now();
    for seed in first..first + GAMES {
        if let Err(violation) = play(seed, Some(defect), false) {
            assert!(violation.contains(expected), "seed {seed}: {violation}");
            let seconds = since.elapsed().as_secs_f32();
            println!("{defect:?}: found at seed {seed} after {seconds:.1} s: {violation}");
            return;
        }
    }
    panic!("the games do not find {defect:?} in {GAMES} seeds");
}

/// What the oracle says of a loss without an order.
const UNORDERED: &str = "the user ordered nothing like it";

#[test]
fn a_retention_policy_that_is_ignored_is_found() {
    finds(Defect::RetainIgnored, 36, UNORDERED);
}

#[test]
fn a_power_command_that_makes_the_boot_disk_anew_is_found() {
    finds(Defect::PowerRebuilds, 3, UNORDERED);
}

#[test]
fn a_power_command_that_makes_the_boot_disk_anew_once_runs_are_forgotten_is_found() {
    finds(Defect::RetentionRebuilds, 11, UNORDERED);
}

#[test]
fn a_restoration_that_is_repeated_is_found() {
    finds(Defect::RestoresAgain, 159, UNORDERED);
}

#[test]
fn a_boot_disk_that_is_made_anew_unasked_after_a_failed_boot_is_found() {
    finds(Defect::FailureRebuilds, 131, UNORDERED);
}

#[test]
fn a_guest_that_is_put_back_on_the_stale_base_of_its_layer_is_found() {
    finds(Defect::StaleBase, 222, "does not read token");
}

#[test]
fn orders_that_outlive_the_restoration_of_a_backup_are_found() {
    finds(Defect::OrdersOutliveRestore, 429, UNORDERED);
}

#[test]
fn a_deletion_without_the_guards_is_found_by_its_tokens() {
    finds(Defect::BlindGuards, 2, "");
}

#[test]
fn a_layer_that_is_deleted_before_it_is_merged_is_found() {
    finds(Defect::LayersUnmerged, 62, UNORDERED);
}

#[test]
fn a_uid_that_takes_another_object_over_is_found() {
    finds(Defect::UidsTaken, 23, UNORDERED);
}

#[test]
fn a_promise_of_a_pool_that_travels_with_its_rollout_is_found() {
    finds(Defect::RetainRollsOut, 7, UNORDERED);
}

#[test]
fn an_export_of_what_the_guest_left_behind_is_found() {
    finds(Defect::ExportsUnseen, 2, "lacks token");
}

#[test]
fn a_mac_address_of_two_guests_is_found() {
    finds(Defect::OneCard, 1, "have one MAC address");
}

#[test]
fn a_definition_that_is_made_anew_with_saved_memory_is_found() {
    finds(Defect::DefinedAnew, 69, "was saved with is gone");
}

#[test]
fn a_vsi_that_is_made_on_a_second_host_is_found() {
    finds(Defect::TwoHosts, 5, "token");
}

/// What other games do to the machine meanwhile changes nothing: a seed that found a defect finds it again.
#[test]
fn the_same_seed_gives_the_same_sanctity_game() {
    let seeds: Vec<u64> = [3, 9, 10, 21]
        .into_iter()
        .flat_map(|seed| [seed; 2])
        .collect();
    let played = Mutex::new(BTreeMap::<u64, Vec<_>>::new());
    in_parallel(&seeds, |seed| {
        let report = play(*seed, None, false);
        played
            .lock()
            .unwrap()
            .entry(*seed)
            .or_default()
            .push(report);
        Ok(())
    });
    for (seed, reports) in played.into_inner().unwrap() {
        assert_eq!(reports[0], reports[1], "seed {seed}");
    }
}
