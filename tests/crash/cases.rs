//! Selects the crashes to try: a sample by seed, all of them, or the one named in the environment.

use std::{str::FromStr, time::Duration};

use rand::{SeedableRng as _, rngs::StdRng, seq::index};

use super::{
    gate::{Crash, CrashMoment},
    journals::Medium,
};

/// The time between a crash and the next process: none, or long enough for a guest to boot.
pub const DOWNTIMES: [Duration; 2] = [Duration::ZERO, Duration::from_secs(7)];

/// A crash, and the time until the next process starts.
pub type Case = (Crash, Duration);

/// A number of cases, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaseShare {
    Some(usize),
    All,
}

impl CaseShare {
    /// The share in this environment variable, or `otherwise`.
    pub fn of(variable: &str, otherwise: usize) -> Self {
        match std::env::var(variable).as_deref() {
            Ok("all") => Self::All,
            Ok(number) => Self::Some(number.parse().expect("a number, or `all`")),
            Err(_) => Self::Some(otherwise),
        }
    }
}

/// The seed of samples: `VSIFLOW_CRASH_SEED`, or 1.
pub fn seed() -> u64 {
    let seed = std::env::var("VSIFLOW_CRASH_SEED");
    seed.map_or(1, |seed| seed.parse().expect("a seed is a number"))
}

/// A sample by the seed of all points with all downtimes.
pub fn cases(points: &[Crash], share: CaseShare, seed: u64) -> Vec<Case> {
    let with = |crash: &Crash| DOWNTIMES.map(|downtime| (*crash, downtime));
    let all: Vec<Case> = points.iter().flat_map(with).collect();
    drawn(&all, share, seed)
}

/// Each point once, with alternating downtimes.
pub fn each_once(points: &[Crash]) -> Vec<Case> {
    let downtimes = DOWNTIMES.into_iter().cycle();
    points.iter().copied().zip(downtimes).collect()
}

/// A sample of these by the seed, in their order.
pub fn drawn<T: Clone>(all: &[T], share: CaseShare, seed: u64) -> Vec<T> {
    let CaseShare::Some(share_of) = share else {
        return all.to_vec();
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut places = index::sample(&mut random, all.len(), share_of.min(all.len())).into_vec();
    places.sort_unstable();
    places.into_iter().map(|place| all[place].clone()).collect()
}

/// The crashes of `VSIFLOW_CRASH_AT` and the downtime of `VSIFLOW_CRASH_DOWN`, to repeat a failure.
pub fn named() -> Option<(Vec<Crash>, Duration)> {
    let at = std::env::var("VSIFLOW_CRASH_AT").ok()?;
    let crashes = at.split(',').map(|one| one.parse().unwrap()).collect();
    let down = std::env::var("VSIFLOW_CRASH_DOWN").unwrap_or_default();
    Some((crashes, Duration::from_secs(down.parse().unwrap_or(0))))
}

/// Where the journal is stored for `VSIFLOW_CRASH_AT`: by `VSIFLOW_CRASH_ON`.
pub fn named_medium() -> Medium {
    match std::env::var("VSIFLOW_CRASH_ON").as_deref() {
        Ok("Disk") => Medium::Disk,
        _ => Medium::Memory,
    }
}

/// The command that repeats a failure.
pub fn command(story: &str, crashes: &[Crash], downtime: Duration, on: Medium) -> String {
    let crashes: Vec<_> = crashes.iter().map(ToString::to_string).collect();
    format!(
        "VSIFLOW_CRASH_STORY='{story}' VSIFLOW_CRASH_AT={} VSIFLOW_CRASH_DOWN={} VSIFLOW_CRASH_ON={on:?} \
         cargo test -p vsiflow-tests --test crash a_named_crash -- --nocapture",
        crashes.join(","),
        downtime.as_secs(),
    )
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{:?}", self.call, self.moment)
    }
}

impl FromStr for Crash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is not like 12:After");
        let (call, moment) = text.split_once(':').ok_or_else(wrong)?;
        let moment = match moment {
            "Before" => CrashMoment::Before,
            "Written" => CrashMoment::Written,
            "After" => CrashMoment::After,
            _ => return Err(wrong()),
        };
        let call = call.parse().map_err(|_| wrong())?;
        Ok(Self { call, moment })
    }
}
