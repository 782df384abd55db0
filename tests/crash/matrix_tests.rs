//! The matrix as tests: by default a sample, by `tests/parts/crash` all of it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use super::{
    cases::{self, Case, Share},
    matrix::{self, Undisturbed},
    stories::{self, Story},
};

/// Crashes of each story, unless `VSIFLOW_CRASH_POINTS` says something else.
const POINTS: usize = 70;
/// First crashes over all stories that a second one follows (`VSIFLOW_CRASH_FIRSTS`), and second
/// crashes for each (`VSIFLOW_CRASH_SECONDS`).
const FIRSTS: usize = 28;
const SECONDS: usize = 10;

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

fn every_story() -> Vec<(Story, Undisturbed)> {
    let tell = |story: Story| {
        let undisturbed = matrix::undisturbed(&story, None);
        let undisturbed = undisturbed.unwrap_or_else(|e| panic!("{}: {e}", story.name));
        (story, undisturbed)
    };
    stories::all().into_iter().map(tell).collect()
}

#[test]
fn a_crash_at_any_point_of_any_story_changes_nothing_in_the_end() {
    let share = Share::of("VSIFLOW_CRASH_POINTS", POINTS);
    let (mut wrong, mut told) = (Vec::new(), 0);
    for (story, undisturbed) in every_story() {
        let since = Instant::now();
        let cases = cases::cases(&undisturbed.points, share, cases::seed());
        let bad = matrix::in_parallel(&cases, |(crash, downtime)| {
            let crashed = matrix::crashed(&story, &undisturbed, &[*crash], *downtime, None);
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
    let stories = every_story();
    let firsts = firsts(&stories, Share::of("VSIFLOW_CRASH_FIRSTS", FIRSTS));
    let share = Share::of("VSIFLOW_CRASH_SECONDS", SECONDS);
    let (told, since) = (AtomicUsize::new(0), Instant::now());
    let wrong = matrix::in_parallel(&firsts, |(story, undisturbed, (crash, downtime))| {
        let recovery = matrix::crashed(story, undisturbed, &[*crash], *downtime, None)?;
        for second in cases::drawn(&recovery, share, cases::seed()) {
            told.fetch_add(1, Ordering::Relaxed);
            matrix::crashed(story, undisturbed, &[*crash, second], *downtime, None)?;
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
    for (story, undisturbed) in every_story() {
        let crashed = matrix::crashed(&story, &undisturbed, &crashes, downtime, None);
        crashed.unwrap_or_else(|error| panic!("{error}"));
    }
}
