//! The crash matrix: runs a story with crashes at some of its points, and compares its outcome with that of
//! the undisturbed story.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    cases, check,
    gate::{CallKind, Crash, CrashGate, CrashMoment},
    outcome::{self, Outcome},
    stories::CrashStory,
    story,
    world::{CrashWorld, Setup, in_virtual_time},
};

/// The outcome of a story without a crash, and the points at which it could crash.
pub struct Undisturbed {
    pub outcome: Outcome,
    pub points: Vec<Crash>,
}

/// Runs the story without a crash, and lists its points.
pub fn undisturbed(story: &CrashStory, setup: Setup) -> Result<Undisturbed, String> {
    let gate = CrashGate::listing();
    let outcome = life(story, std::slice::from_ref(&gate), Duration::ZERO, setup)?;
    let points = points(&gate.list());
    Ok(Undisturbed { outcome, points })
}

/// A read that is repeated more often than this, with nothing changed or recorded in between, counts as
/// the same point.
const REPEATS: usize = 3;

fn points(calls: &[(String, CallKind)]) -> Vec<Crash> {
    let mut looks = BTreeMap::<&str, usize>::new();
    let mut points = Vec::new();
    for (call, (name, kind)) in calls.iter().enumerate() {
        if *kind == CallKind::Effect || name.starts_with("append") {
            looks.clear();
        }
        let seen = looks.entry(name).or_default();
        *seen += 1;
        if *seen > REPEATS {
            continue;
        }
        let moments: &[CrashMoment] = match kind {
            CallKind::Effect => &[
                CrashMoment::Before,
                CrashMoment::Written,
                CrashMoment::After,
            ],
            CallKind::Plain => &[CrashMoment::Before, CrashMoment::After],
        };
        points.extend(moments.iter().map(|moment| Crash {
            call,
            moment: *moment,
        }));
    }
    points
}

/// Runs a story through these gates, and checks everything except its outcome.
pub fn life(
    story: &CrashStory,
    gates: &[Arc<CrashGate>],
    downtime: Duration,
    setup: Setup,
) -> Result<Outcome, String> {
    in_virtual_time(async {
        let world = CrashWorld::of(setup).await;
        story::tell(&world, &story.acts, gates, downtime).await?;
        let outcome = outcome::of(&world).await;
        world.journals.killed()?;
        check::all(&world, story.ends).await?;
        Ok(outcome)
    })
}

/// Runs a story with crashes at these points, and compares it with the undisturbed one. Returns the points
/// after the last crash.
pub fn crashed(
    story: &CrashStory,
    undisturbed: &Undisturbed,
    crashes: &[Crash],
    downtime: Duration,
    setup: Setup,
) -> Result<Vec<Crash>, String> {
    let mut gates: Vec<_> = crashes
        .iter()
        .map(|crash| CrashGate::deadly(*crash))
        .collect();
    gates.push(CrashGate::listing());
    let found = life(story, &gates, downtime, setup);
    let found = found.and_then(|outcome| outcome::difference(&undisturbed.outcome, &outcome));
    found.map_err(|error| {
        let places = crashes.iter().zip(&gates).map(|(crash, gate)| {
            let at = gate.died_at().unwrap_or_else(|| "nowhere".to_owned());
            format!("{:?} call {} ({at})", crash.moment, crash.call)
        });
        let places: Vec<_> = places.collect();
        format!(
            "{}: died {}, down {downtime:?}: {error}\n  {}",
            story.name,
            places.join(" and "),
            cases::command(story.name, crashes, downtime, setup.medium)
        )
    })?;
    let recovery = gates.last().map(|gate| points(&gate.list()));
    Ok(recovery.unwrap_or_default())
}

/// Does the work for every case, on one thread for each processor.
pub fn in_parallel<C: Sync>(
    cases: &[C],
    work: impl Fn(&C) -> Result<(), String> + Sync,
) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = work(case) {
                        wrong.lock().unwrap().push(error);
                    }
                }
            });
        }
    });
    wrong.into_inner().unwrap()
}
