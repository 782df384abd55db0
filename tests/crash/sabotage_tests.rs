//! Tests that the suite finds each deliberate defect, by the matrix or by the simulation, within a budget.

use std::time::Instant;

use super::{
    cases::DOWNTIMES,
    check, documents,
    gate::{CrashGate, CrashMoment},
    matrix,
    sabotage::Defect,
    sim,
    stories::{self, CrashStory},
    world::{CrashWorld, Setup, in_virtual_time, user},
};

/// The most games to play until a defect is found.
const GAMES: u64 = 400;

fn found(sabotage: Defect, by: &str, tries: usize, since: Instant, violation: &str) {
    let violation = violation.lines().next().unwrap_or_default();
    let seconds = since.elapsed().as_secs_f32();
    println!("{sabotage:?}: found by {by} at try {tries} after {seconds:.1} s: {violation}");
}

/// Runs the story with crashes until a check fails as expected.
fn matrix_finds(sabotage: Defect, story: &CrashStory, expected: &str) {
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
        .filter(|crash| crash.moment != CrashMoment::Before)
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

/// Plays games until one fails as expected.
fn simulation_finds(sabotage: Defect, expected: &str) {
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
        Defect::AckBeforeWrite,
        &stories::provision(),
        "no attempt and intent",
    );
}

/// Any violation counts, because there is no other defect.
#[test]
fn an_index_ahead_of_the_log_is_found() {
    matrix_finds(Defect::IndexAhead, &stories::provision(), "");
}

#[test]
fn a_dropped_event_is_found() {
    matrix_finds(
        Defect::DroppedEvent,
        &stories::provision(),
        "the journal deviates",
    );
}

#[test]
fn an_intent_recorded_after_the_act_is_found() {
    matrix_finds(
        Defect::LateIntent,
        &stories::provision(),
        "no attempt and intent",
    );
}

#[test]
fn a_start_without_a_recorded_clone_is_found() {
    matrix_finds(
        Defect::LateCloneRecord,
        &stories::provision(),
        "not recorded as cloned",
    );
}

#[test]
fn a_forgotten_checkpoint_is_found() {
    let story = stories::retry_after_a_failed_boot();
    matrix_finds(
        Defect::ForgottenCheckpoint,
        &story,
        "a second time in one run",
    );
}

#[test]
fn a_success_told_before_the_effect_is_found() {
    matrix_finds(
        Defect::EarlySuccess,
        &stories::provision(),
        "no attempt and intent",
    );
}

#[test]
fn a_secret_that_is_not_erased_is_found() {
    matrix_finds(Defect::KeptSecrets, &stories::delete(), "a secret is kept");
}

#[test]
fn unknown_taken_for_absent_is_found() {
    simulation_finds(Defect::UnknownIsAbsent, "is left on");
}

#[test]
fn a_deletion_without_the_guards_is_found() {
    simulation_finds(Defect::BlindGuards, "although");
}

#[test]
fn a_wait_that_never_ends_is_found() {
    simulation_finds(Defect::LostWait, "still waits");
}

/// Runs two engines on one journal.
async fn two_writers(sabotage: Option<Defect>) -> Result<(), String> {
    let world = CrashWorld::new(sabotage).await;
    let (gate, web) = (
        CrashGate::safe(),
        documents::VsiDocument::new("web", 1, "sim:a"),
    );
    let words = |error: vsiflow_workflows::fleet::FleetError| error.to_string();
    let first = world.start(&gate).await.map_err(words)?;
    let second = world.start(&gate).await.map_err(words)?;
    for fleet in [&first, &second] {
        let resolved = documents::resolved(std::slice::from_ref(&web));
        // Without sabotage the journal refuses the second writer, which ends.
        let _ = fleet.apply(resolved, user()).await;
    }
    let _ = first.decided(&super::ownership::entity(web.uid)).await;
    check::all(&world, &[("web", 1, "Running")]).await
}

#[test]
fn two_runs_of_one_entity_are_found() {
    assert_eq!(in_virtual_time(two_writers(None)), Ok(()));
    let violation = in_virtual_time(two_writers(Some(Defect::TwoWriters))).unwrap_err();
    println!("TwoWriters: found by the audit: {violation}");
    assert!(violation.contains("cannot follow"), "{violation}");
}
