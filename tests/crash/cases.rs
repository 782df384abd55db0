//! Which crashes are tried: a sample by seed, all of them, or the one that is named.

use std::{str::FromStr, time::Duration};

use rand::{SeedableRng as _, rngs::StdRng, seq::index};

use super::{
    gate::{Crash, Moment},
    journals::Medium,
};

/// How long nobody works after a crash: not at all, or long enough for a guest to go its way.
pub const DOWNTIMES: [Duration; 2] = [Duration::ZERO, Duration::from_secs(7)];

/// A crash, and how long nobody works after it.
pub type Case = (Crash, Duration);

/// So many, or all there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Some(usize),
    All,
}

impl Share {
    /// What the environment says, or `otherwise`.
    pub fn of(variable: &str, otherwise: usize) -> Self {
        match std::env::var(variable).as_deref() {
            Ok("all") => Self::All,
            Ok(number) => Self::Some(number.parse().expect("a number, or `all`")),
            Err(_) => Self::Some(otherwise),
        }
    }
}

/// What samples are drawn by.
pub fn seed() -> u64 {
    let seed = std::env::var("VSIFLOW_CRASH_SEED");
    seed.map_or(1, |seed| seed.parse().expect("a seed is a number"))
}

/// Of all points with all downtimes so many, spread by the seed.
pub fn cases(points: &[Crash], share: Share, seed: u64) -> Vec<Case> {
    let with = |crash: &Crash| DOWNTIMES.map(|downtime| (*crash, downtime));
    let all: Vec<Case> = points.iter().flat_map(with).collect();
    drawn(&all, share, seed)
}

/// Each point once, with one downtime or the other.
pub fn each_once(points: &[Crash]) -> Vec<Case> {
    let downtimes = DOWNTIMES.into_iter().cycle();
    points.iter().copied().zip(downtimes).collect()
}

/// So many of these, by the seed and in their order.
pub fn drawn<T: Clone>(all: &[T], share: Share, seed: u64) -> Vec<T> {
    let Share::Some(share_of) = share else {
        return all.to_vec();
    };
    let mut random = StdRng::seed_from_u64(seed);
    let mut places = index::sample(&mut random, all.len(), share_of.min(all.len())).into_vec();
    places.sort_unstable();
    places.into_iter().map(|place| all[place].clone()).collect()
}

/// The crashes of `VSIFLOW_CRASH_AT` and the time of `VSIFLOW_CRASH_DOWN`, to repeat a failure.
pub fn named() -> Option<(Vec<Crash>, Duration)> {
    let at = std::env::var("VSIFLOW_CRASH_AT").ok()?;
    let crashes = at.split(',').map(|one| one.parse().unwrap()).collect();
    let down = std::env::var("VSIFLOW_CRASH_DOWN").unwrap_or_default();
    Some((crashes, Duration::from_secs(down.parse().unwrap_or(0))))
}

/// Where the journal of `VSIFLOW_CRASH_AT` is (`VSIFLOW_CRASH_ON`).
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
            "Before" => Moment::Before,
            "Written" => Moment::Written,
            "After" => Moment::After,
            _ => return Err(wrong()),
        };
        let call = call.parse().map_err(|_| wrong())?;
        Ok(Self { call, moment })
    }
}
