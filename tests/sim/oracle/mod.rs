//! A reference model of what the how-to pages promise of pools, groups, quotas and schedules, and games that
//! hold vsiflow against it.
//!
//! The model is written from `docs/how-to` and from Kubernetes' rules, and uses nothing of the controllers. A
//! game draws documents, edits, reverts, commands, kills and jumps of the clock by its seed. Its observer looks
//! at the hosts several times a second of virtual time. At the end everything has to be as the documents say.

mod controller_game;
mod group_acts;
mod group_documents;
mod group_model;
mod groups;
mod pool_model;
mod pools;
mod quotas;
mod schedule_game;
mod schedule_model;
mod schedules;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use vsiflow_workflows::fleet::Fleet;

use crate::{gate::CrashGate, matrix::in_parallel, world::CrashWorld};

/// How many games of each kind one test plays; `VSIFLOW_ORACLE_GAMES` for more.
const GAMES: u64 = 12;
/// The first seed. With these games each defect for which the model was written was found, when the code had it
/// again: members made from a canary, ready surge members deleted early, schedules that a clock stopped, closed gates
/// of nobody, removed members that count, outputs that are never read, and snapshots that are too many or stay pending.
const FIRST: u64 = 100;
/// How long a process may live on after its death was set.
const DEATH_WITHIN: Duration = Duration::from_secs(20);

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Plays games with the seeds from `VSIFLOW_ORACLE_FROM` on, or only that with `VSIFLOW_ORACLE_SEED`.
fn play_games(play: impl Fn(u64) -> Result<(), String> + Sync) {
    if let Some(seed) = number("VSIFLOW_ORACLE_SEED") {
        return play(seed).unwrap();
    }
    let first = number("VSIFLOW_ORACLE_FROM").unwrap_or(FIRST);
    let end = first + number("VSIFLOW_ORACLE_GAMES").unwrap_or(GAMES);
    let next = AtomicU64::new(first);
    let threads: Vec<usize> = (0..2).collect();
    let wrong = in_parallel(&threads, |_| {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            play(seed).map_err(|error| format!("VSIFLOW_ORACLE_SEED={seed}: {error}"))?;
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Starts a process that drives everything.
async fn start(world: &CrashWorld, gate: &Arc<CrashGate>) -> Result<Fleet, String> {
    let fleet = world.start(gate).await.map_err(|error| error.to_string())?;
    fleet.drive_all().await.map_err(|error| error.to_string())?;
    Ok(fleet)
}

/// Waits for the death that is set, kills the process if it does not come, and starts another one.
async fn next_process(
    world: &CrashWorld,
    gate: &CrashGate,
) -> Result<(Fleet, Arc<CrashGate>), String> {
    if tokio::time::timeout(DEATH_WITHIN, gate.died())
        .await
        .is_err()
    {
        gate.die();
    }
    let safe = CrashGate::safe();
    Ok((start(world, &safe).await?, safe))
}

#[test]
fn pools_keep_what_their_page_promises() {
    play_games(pools::play);
}

#[test]
fn groups_and_quotas_keep_what_their_pages_promise() {
    play_games(groups::play);
}

#[test]
fn quotas_of_disks_keep_what_their_page_promises() {
    play_games(quotas::play);
}

#[test]
fn schedules_keep_what_their_page_promises() {
    play_games(schedules::play);
}
