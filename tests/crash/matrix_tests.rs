//! The tests of the crash matrix: a sample by default, all of it in `tests/parts/crash`.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use super::{
    cases::{self, Case, CaseShare},
    gate::Crash,
    matrix::{self, Undisturbed},
    stories::{self, CrashStory},
    world::Setup,
};

/// Crashes of each story (`VSIFLOW_CRASH_POINTS`).
const POINTS: usize = 45;
/// How many first crashes of all stories are followed by a second one (`VSIFLOW_CRASH_FIRSTS`), and how many
/// second crashes each gets (`VSIFLOW_CRASH_SECONDS`).
const FIRSTS: usize = 28;
const SECONDS: usize = 10;
/// Crashes of each story except one on the journal in files (`VSIFLOW_CRASH_DISK_POINTS`).
const DISK_POINTS: usize = 3;

/// Fails if there are violations, and prints the first five.
fn hold(wrong: &[String], of: usize) {
    let first = wrong.get(..wrong.len().min(5)).unwrap_or_default();
    let first = first.join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {of} lives went wrong; the first:\n{first}",
        wrong.len()
    );
}

fn with_undisturbed(story: CrashStory, setup: Setup) -> (CrashStory, Undisturbed) {
    let undisturbed = matrix::undisturbed(&story, setup);
    let undisturbed = undisturbed.unwrap_or_else(|e| panic!("{}: {e}", story.name));
    (story, undisturbed)
}

fn every_story(setup: Setup) -> Vec<(CrashStory, Undisturbed)> {
    let stories = stories::all().into_iter();
    stories
        .map(|story| with_undisturbed(story, setup))
        .collect()
}

#[test]
fn a_crash_at_any_point_of_any_story_changes_nothing_in_the_end() {
    let share = CaseShare::of("VSIFLOW_CRASH_POINTS", POINTS);
    let cases_of = |_: &CrashStory, points: &[Crash]| cases::cases(points, share, cases::seed());
    crash_everywhere(every_story(Setup::MEMORY), cases_of, Setup::MEMORY);
}

/// The journal in files with its index, as in production: one story at every point, the others at some.
#[test]
fn the_journal_in_files_is_the_same_after_a_kill_at_any_point() {
    let share = CaseShare::of("VSIFLOW_CRASH_DISK_POINTS", DISK_POINTS);
    let whole = stories::provision().name;
    let cases_of = |story: &CrashStory, points: &[Crash]| match share {
        CaseShare::Some(_) if story.name == whole => cases::each_once(points),
        share => cases::cases(points, share, cases::seed()),
    };
    crash_everywhere(every_story(Setup::DISK), cases_of, Setup::DISK);
}

fn crash_everywhere(
    stories: Vec<(CrashStory, Undisturbed)>,
    cases_of: impl Fn(&CrashStory, &[Crash]) -> Vec<Case>,
    setup: Setup,
) {
    let (mut wrong, mut told) = (Vec::new(), 0);
    for (story, undisturbed) in stories {
        let since = Instant::now();
        let cases = cases_of(&story, &undisturbed.points);
        let bad = matrix::in_parallel(&cases, |(crash, downtime)| {
            let crashed = matrix::crashed(&story, &undisturbed, &[*crash], *downtime, setup);
            crashed.map(drop)
        });
        println!(
            "{:<45} {:>5} points {:>6} lives {:>5} wrong {:>7.1} s",
            story.name,
            undisturbed.points.len(),
            cases.len(),
            bad.len(),
            since.elapsed().as_secs_f32()
        );
        told += cases.len();
        wrong.extend(bad);
    }
    hold(&wrong, told);
}

/// Selects first crashes, as evenly as possible over the stories.
fn firsts<'a>(
    stories: &'a [(CrashStory, Undisturbed)],
    share: CaseShare,
) -> Vec<(&'a CrashStory, &'a Undisturbed, Case)> {
    let each = |(number, (story, undisturbed)): (usize, &'a (CrashStory, Undisturbed))| {
        let share = match share {
            CaseShare::Some(all) => CaseShare::Some((all + number) / stories.len()),
            CaseShare::All => CaseShare::All,
        };
        let seed = cases::seed().wrapping_add(number as u64);
        let cases = cases::cases(&undisturbed.points, share, seed).into_iter();
        cases.map(move |case| (story, undisturbed, case))
    };
    stories.iter().enumerate().flat_map(each).collect()
}

#[test]
fn a_second_crash_on_the_way_changes_nothing_in_the_end() {
    let stories = every_story(Setup::MEMORY);
    let firsts = firsts(&stories, CaseShare::of("VSIFLOW_CRASH_FIRSTS", FIRSTS));
    let share = CaseShare::of("VSIFLOW_CRASH_SECONDS", SECONDS);
    let (told, since) = (AtomicUsize::new(0), Instant::now());
    let wrong = matrix::in_parallel(&firsts, |(story, undisturbed, (crash, downtime))| {
        let recovery = matrix::crashed(story, undisturbed, &[*crash], *downtime, Setup::MEMORY)?;
        for second in cases::drawn(&recovery, share, cases::seed()) {
            told.fetch_add(1, Ordering::Relaxed);
            let both = [*crash, second];
            matrix::crashed(story, undisturbed, &both, *downtime, Setup::MEMORY)?;
        }
        Ok(())
    });
    let (told, took) = (told.into_inner(), since.elapsed().as_secs_f32());
    println!(
        "{} first crashes, {told} second ones, {took:.1} s",
        firsts.len()
    );
    hold(&wrong, told);
}

/// Repeats a crash that is named in the environment; does nothing if none is.
#[test]
fn a_named_crash_changes_nothing_in_the_end() {
    let Some((crashes, downtime)) = cases::named() else {
        return;
    };
    let medium = cases::named_medium();
    let setup = Setup {
        medium,
        ..Setup::MEMORY
    };
    for (story, undisturbed) in every_story(setup) {
        let crashed = matrix::crashed(&story, &undisturbed, &crashes, downtime, setup);
        crashed.unwrap_or_else(|error| panic!("{error}"));
    }
}
