//! Each sabotage has to be found: by the matrix, or by the simulation, within a budget.

use std::time::Instant;

use super::{
    cases::DOWNTIMES,
    check, documents,
    gate::{Gate, Moment},
    matrix,
    sabotage::Sabotage,
    sim,
    stories::{self, Story},
    world::{Setup, World, in_virtual_time, user},
};

/// Games that may be played until a sabotage is found.
const GAMES: u64 = 400;

fn found(sabotage: Sabotage, by: &str, tries: usize, since: Instant, violation: &str) {
    let violation = violation.lines().next().unwrap_or_default();
    let seconds = since.elapsed().as_secs_f32();
    println!("{sabotage:?}: found by {by} at try {tries} after {seconds:.1} s: {violation}");
}

/// Tells the story with crashes until something is wrong with it.
fn matrix_finds(sabotage: Sabotage, story: &Story, expected: &str) {
    let since = Instant::now();
    let honest = matrix::undisturbed(story, Setup::MEMORY).unwrap();
    let mut tries = 1;
    if let Err(violation) = matrix::undisturbed(story, Setup::MEMORY.with(sabotage)) {
        assert!(violation.contains(expected), "{violation}");
        return found(sabotage, "the undisturbed story", tries, since, &violation);
    }
    for crash in honest
        .points
        .iter()
        .filter(|crash| crash.moment != Moment::Before)
    {
        for downtime in DOWNTIMES {
            tries += 1;
            let crashed = matrix::crashed(
                story,
                &honest,
                &[*crash],
                downtime,
                Setup::MEMORY.with(sabotage),
            );
            if let Err(violation) = crashed {
                assert!(violation.contains(expected), "{violation}");
                return found(sabotage, "the matrix", tries, since, &violation);
            }
        }
    }
    panic!("the matrix does not find {sabotage:?} in {tries} tries");
}

/// Plays games until something is wrong with one.
fn simulation_finds(sabotage: Sabotage, expected: &str) {
    let since = Instant::now();
    for seed in 1..=GAMES {
        if let Err(violation) = sim::play(seed, Some(sabotage)) {
            assert!(violation.contains(expected), "seed {seed}: {violation}");
            return found(sabotage, "the simulation", seed as usize, since, &violation);
        }
    }
    panic!("the simulation does not find {sabotage:?} in {GAMES} games");
}

#[test]
fn an_acknowledgement_before_the_write_is_found() {
    matrix_finds(
        Sabotage::AckBeforeWrite,
        &stories::provision(),
        "no attempt and intent",
    );
}

/// By whatever it leads to: nothing else is wrong there.
#[test]
fn an_index_ahead_of_the_log_is_found() {
    matrix_finds(Sabotage::IndexAhead, &stories::provision(), "");
}

#[test]
fn a_dropped_event_is_found() {
    matrix_finds(
        Sabotage::DroppedEvent,
        &stories::provision(),
        "the journal deviates",
    );
}

#[test]
fn an_intent_recorded_after_the_act_is_found() {
    matrix_finds(
        Sabotage::LateIntent,
        &stories::provision(),
        "no attempt and intent",
    );
}

#[test]
fn a_start_without_a_recorded_clone_is_found() {
    matrix_finds(
        Sabotage::LateCloneRecord,
        &stories::provision(),
        "not recorded as cloned",
    );
}

#[test]
fn a_forgotten_checkpoint_is_found() {
    let story = stories::retry_after_a_failed_boot();
    matrix_finds(
        Sabotage::ForgottenCheckpoint,
        &story,
        "a second time in one run",
    );
}

#[test]
fn a_success_told_before_the_effect_is_found() {
    matrix_finds(
        Sabotage::EarlySuccess,
        &stories::provision(),
        "no attempt and intent",
    );
}

#[test]
fn a_secret_that_is_not_erased_is_found() {
    matrix_finds(
        Sabotage::KeptSecrets,
        &stories::delete(),
        "a secret is kept",
    );
}

#[test]
fn unknown_taken_for_absent_is_found() {
    simulation_finds(Sabotage::UnknownIsAbsent, "is left on");
}

#[test]
fn a_deletion_without_the_guards_is_found() {
    simulation_finds(Sabotage::BlindGuards, "although");
}

#[test]
fn a_wait_that_never_ends_is_found() {
    simulation_finds(Sabotage::LostWait, "still waits");
}

/// Two engines on one journal, of which neither is refused.
async fn two_writers(sabotage: Option<Sabotage>) -> Result<(), String> {
    let world = World::new(sabotage).await;
    let (gate, web) = (Gate::safe(), documents::Vsi::new("web", 1, "sim:a"));
    let words = |error: vsiflow_workflows::fleet::FleetError| error.to_string();
    let first = world.start(&gate).await.map_err(words)?;
    let second = world.start(&gate).await.map_err(words)?;
    for fleet in [&first, &second] {
        let resolved = documents::resolved(std::slice::from_ref(&web));
        // The second of two honest writers is refused by the journal, and ends.
        let _ = fleet.apply(resolved, user()).await;
    }
    let _ = first.decided(&super::ownership::entity(web.uid)).await;
    check::all(&world, &[("web", 1, "Running")]).await
}

#[test]
fn two_runs_of_one_entity_are_found() {
    assert_eq!(in_virtual_time(two_writers(None)), Ok(()));
    let violation = in_virtual_time(two_writers(Some(Sabotage::TwoWriters))).unwrap_err();
    println!("TwoWriters: found by the audit: {violation}");
    assert!(violation.contains("cannot follow"), "{violation}");
}
