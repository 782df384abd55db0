//! The matrix as tests: by default a sample, by `tests/parts/crash` all of it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use super::{
    cases::{self, Case, Share},
    gate::Crash,
    matrix::{self, Undisturbed},
    stories::{self, Story},
    world::Setup,
};

/// Crashes of each story, unless `VSIFLOW_CRASH_POINTS` says something else.
const POINTS: usize = 70;
/// First crashes over all stories that a second one follows (`VSIFLOW_CRASH_FIRSTS`), and second
/// crashes for each (`VSIFLOW_CRASH_SECONDS`).
const FIRSTS: usize = 28;
const SECONDS: usize = 10;
/// Crashes of each story but one on the journal in files (`VSIFLOW_CRASH_DISK_POINTS`).
const DISK_POINTS: usize = 3;

/// What went wrong, the first of it in full.
fn hold(wrong: &[String], of: usize) {
    let first = wrong.get(..wrong.len().min(5)).unwrap_or_default();
    let first = first.join("\n");
    assert!(
        wrong.is_empty(),
        "{} of {of} lives went wrong; the first:\n{first}",
        wrong.len()
    );
}

fn with_undisturbed(story: Story, setup: Setup) -> (Story, Undisturbed) {
    let undisturbed = matrix::undisturbed(&story, setup);
    let undisturbed = undisturbed.unwrap_or_else(|e| panic!("{}: {e}", story.name));
    (story, undisturbed)
}

fn every_story(setup: Setup) -> Vec<(Story, Undisturbed)> {
    let stories = stories::all().into_iter();
    stories
        .map(|story| with_undisturbed(story, setup))
        .collect()
}

#[test]
fn a_crash_at_any_point_of_any_story_changes_nothing_in_the_end() {
    let share = Share::of("VSIFLOW_CRASH_POINTS", POINTS);
    let cases_of = |_: &Story, points: &[Crash]| cases::cases(points, share, cases::seed());
    crash_everywhere(every_story(Setup::MEMORY), cases_of, Setup::MEMORY);
}

/// The journal that production has, with its files and its index: one story at every point, the
/// others at some.
#[test]
fn the_journal_in_files_is_the_same_after_a_kill_at_any_point() {
    let share = Share::of("VSIFLOW_CRASH_DISK_POINTS", DISK_POINTS);
    let whole = stories::provision().name;
    let cases_of = |story: &Story, points: &[Crash]| match share {
        Share::Some(_) if story.name == whole => cases::each_once(points),
        share => cases::cases(points, share, cases::seed()),
    };
    crash_everywhere(every_story(Setup::DISK), cases_of, Setup::DISK);
}

fn crash_everywhere(
    stories: Vec<(Story, Undisturbed)>,
    cases_of: impl Fn(&Story, &[Crash]) -> Vec<Case>,
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

/// First crashes: so many, as evenly over the stories as may be.
fn firsts<'a>(
    stories: &'a [(Story, Undisturbed)],
    share: Share,
) -> Vec<(&'a Story, &'a Undisturbed, Case)> {
    let each = |(number, (story, undisturbed)): (usize, &'a (Story, Undisturbed))| {
        let share = match share {
            Share::Some(all) => Share::Some((all + number) / stories.len()),
            Share::All => Share::All,
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
    let firsts = firsts(&stories, Share::of("VSIFLOW_CRASH_FIRSTS", FIRSTS));
    let share = Share::of("VSIFLOW_CRASH_SECONDS", SECONDS);
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

/// One that went wrong, again; nothing where none is named.
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
