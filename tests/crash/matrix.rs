//! Tells a story with crashes at some of its points, and compares it with the undisturbed one.

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
    gate::{Crash, Gate, Kind, Moment},
    outcome::{self, Outcome},
    stories::Story,
    story,
    world::{Setup, World, in_virtual_time},
};

/// The undisturbed story.
pub struct Undisturbed {
    pub outcome: Outcome,
    pub points: Vec<Crash>,
}

/// Tells the story without a crash, and lists its points.
pub fn undisturbed(story: &Story, setup: Setup) -> Result<Undisturbed, String> {
    let gate = Gate::listing();
    let outcome = life(story, std::slice::from_ref(&gate), Duration::ZERO, setup)?;
    let points = points(&gate.list());
    Ok(Undisturbed { outcome, points })
}

/// A look that is repeated more often than this, with nothing done or recorded in between, is
/// the same point again.
const REPEATS: usize = 3;

fn points(calls: &[(String, Kind)]) -> Vec<Crash> {
    let mut looks = BTreeMap::<&str, usize>::new();
    let mut points = Vec::new();
    for (call, (name, kind)) in calls.iter().enumerate() {
        if *kind == Kind::Effect || name.starts_with("append") {
            looks.clear();
        }
        let seen = looks.entry(name).or_default();
        *seen += 1;
        if *seen > REPEATS {
            continue;
        }
        let moments: &[Moment] = match kind {
            Kind::Effect => &[Moment::Before, Moment::Written, Moment::After],
            Kind::Plain => &[Moment::Before, Moment::After],
        };
        points.extend(moments.iter().map(|moment| Crash {
            call,
            moment: *moment,
        }));
    }
    points
}

/// Tells a story through these gates, and checks everything but its outcome.
pub fn life(
    story: &Story,
    gates: &[Arc<Gate>],
    downtime: Duration,
    setup: Setup,
) -> Result<Outcome, String> {
    in_virtual_time(async {
        let world = World::of(setup).await;
        story::tell(&world, &story.acts, gates, downtime).await?;
        let outcome = outcome::of(&world).await;
        world.journals.killed()?;
        check::all(&world, story.ends).await?;
        Ok(outcome)
    })
}

/// A story with crashes at these points, compared with the undisturbed one; the points of what
/// follows the last crash.
pub fn crashed(
    story: &Story,
    undisturbed: &Undisturbed,
    crashes: &[Crash],
    downtime: Duration,
    setup: Setup,
) -> Result<Vec<Crash>, String> {
    let mut gates: Vec<_> = crashes.iter().map(|crash| Gate::deadly(*crash)).collect();
    gates.push(Gate::listing());
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

/// Does the work for every case, on as many threads as there are processors.
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
