//! Tests that a state directory survives power cuts, by simulating what a disk may lose.
//!
//! A process writes to a state directory under `strace`, which records every write, truncation, rename and
//! sync with its data ([`trace`]). A simulated device with a volatile cache then replays them up to some
//! instant, and loses, tears and reorders the writes that no sync had covered by then ([`device`]). Each
//! resulting image is opened: every event acknowledged before the instant must be there, the chains intact,
//! and no batch or position half written ([`check`]). Some images are written to again under `strace` and
//! cut a second time, since recovery writes, too.
//!
//! A second recorded process is vsiflow itself: it provisions 900 VSIs on simulated hosts, so that many
//! writes lie between two syncs.
//!
//! `VSIFLOW_POWERCUT_CUTS` sets how many cuts are tried (by default as many as fit into 25 seconds), and
//! `VSIFLOW_POWERCUT_SEED` the seed of all random choices. Without `strace` the test is skipped with a
//! message, but fails if the number of cuts is set.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends at the first surprise"
)]

mod check;
mod device;
mod provisioning;
mod trace;
mod writer;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{
    device::{DeviceImage, PowerCutDevice},
    trace::{DiskOp, Trace},
};

/// How long cuts are tried if their number is not set.
const TIME: Duration = Duration::from_secs(25);
/// One in this many images is written to again and cut a second time.
const SECOND_EVERY: usize = 40;
/// Cuts of each recording.
const CUTS: usize = 400;
/// For one in this many images each stream is read, and the journal is opened a second time.
const THOROUGH_EVERY: usize = 8;
/// Cuts of each recovery.
const SECOND_CUTS: usize = 8;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many cuts were tried, and which violations were found.
struct Tally {
    start: Instant,
    wanted: Option<u64>,
    /// If the number of cuts is not set: how long they are tried, and how many at least.
    time: Duration,
    least: usize,
    cuts: usize,
    violations: Vec<String>,
}

/// A temporary folder for images, in memory if possible.
fn image_folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir());
    made.unwrap()
}

/// What is done with an image after its check.
type Also<'a> = &'a mut dyn FnMut(usize, &DeviceImage, &[&trace::Ack], &mut StdRng, &mut Tally);

/// Cuts a trace at `instants`, in order, checks each image, and calls `also` with each that is sound.
fn try_cuts(
    trace: &Trace,
    instants: &[usize],
    rng: &mut StdRng,
    tally: &mut Tally,
    also: Also<'_>,
) {
    let mut device = PowerCutDevice::new(trace, false);
    for (number, instant) in instants.iter().enumerate() {
        if tally.is_enough() {
            return;
        }
        device.advance(*instant);
        let image = device.image(rng);
        let acks: Vec<_> = trace.acks_before(*instant).collect();
        tally.cuts += 1;
        match examine(&image, &acks, number.is_multiple_of(THOROUGH_EVERY)) {
            Ok(()) => also(number, &image, &acks, rng, tally),
            Err(why) => tally.violation(*instant, &why, &image),
        }
    }
}

fn examine(image: &DeviceImage, acks: &[&trace::Ack], thorough: bool) -> Result<(), String> {
    let room = image_folder();
    image.write_to(room.path());
    check::check(&writer::state_of(room.path()), acks, thorough)
}

impl Tally {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            wanted: number("VSIFLOW_POWERCUT_CUTS"),
            time: TIME,
            least: 0,
            cuts: 0,
            violations: Vec::new(),
        }
    }

    fn of_fleet() -> Self {
        let tally = Self::new();
        Self {
            wanted: tally.wanted.map(|cuts| cuts.min(FLEET_CUTS_MOST)),
            time: FLEET_TIME,
            least: FLEET_CUTS,
            ..tally
        }
    }

    /// Restarts the time before the first cut: the time of the first recording does not count.
    fn cuts_begin(&mut self) {
        if self.cuts == 0 {
            self.start = Instant::now();
        }
    }

    fn is_enough(&self) -> bool {
        let tried = self.start.elapsed() > self.time && self.cuts >= self.least;
        self.wanted.map_or(tried, |cuts| self.cuts as u64 >= cuts)
    }

    /// Records a violation, and stores the image for inspection.
    fn violation(&mut self, instant: usize, why: &str, image: &DeviceImage) {
        let kept = tempfile::tempdir().unwrap().keep();
        image.write_to(&kept);
        let line = format!(
            "instant {instant}: {why}; the image is in {}",
            kept.display()
        );
        eprintln!("{line}");
        self.violations.push(line);
    }
}

/// Random instants of a trace, in order. One instant is one traced call.
fn instants(trace: &Trace, count: usize, rng: &mut StdRng) -> Vec<usize> {
    let mut instants: Vec<_> = (0..count)
        .map(|_| rng.random_range(0..trace.end()))
        .collect();
    instants.sort_unstable();
    instants
}

/// Writes to an image under `strace` and cuts that recording, too.
fn cut_again(image: &DeviceImage, acks: &[&trace::Ack], rng: &mut StdRng, tally: &mut Tally) {
    let room = image_folder();
    image.write_to(room.path());
    let mut again = Trace::of_folder(room.path());
    again.acknowledged(acks);
    again.record(room.path(), 1, rng.random());
    let instants = instants(&again, SECOND_CUTS, rng);
    try_cuts(&again, &instants, rng, tally, &mut |_, _, _, _, _| {});
}

/// How many VSIs the fleet has (`VSIFLOW_POWERCUT_VSIS`).
const FLEET: u64 = 900;
/// Cuts of the fleet in one pass, and their least number if `VSIFLOW_POWERCUT_CUTS` is not set.
const FLEET_CUTS: usize = 6;
/// The most cuts of the fleet, whatever `VSIFLOW_POWERCUT_CUTS` says: an image is large.
const FLEET_CUTS_MOST: u64 = 300;
/// How long cuts of the fleet are tried if their number is not set.
const FLEET_TIME: Duration = Duration::from_secs(15);

#[test]
fn a_fleet_that_was_being_provisioned_outlives_a_power_cut() {
    if !trace::available() {
        eprintln!("skipped: strace is missing");
        return;
    }
    let seed = number("VSIFLOW_POWERCUT_SEED").unwrap_or_else(rand::random);
    eprintln!("VSIFLOW_POWERCUT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let vsis = number("VSIFLOW_POWERCUT_VSIS").unwrap_or(FLEET);
    let (room, begun) = (image_folder(), Instant::now());
    let mut trace = Trace::of_folder(room.path());
    trace.record_fleet(room.path(), u32::try_from(vsis).unwrap());
    report(&trace);
    eprintln!("{vsis} VSIs, recorded in {:.0?}", begun.elapsed());
    let mut tally = Tally::of_fleet();
    while !tally.is_enough() {
        let instants = instants(&trace, FLEET_CUTS, &mut rng);
        try_cuts(
            &trace,
            &instants,
            &mut rng,
            &mut tally,
            &mut |_, _, _, _, _| {},
        );
    }
    let (cuts, took) = (tally.cuts, tally.start.elapsed());
    eprintln!(
        "{cuts} cuts, {} violations, {took:.0?}",
        tally.violations.len()
    );
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
}

/// Proves that the test can fail: it detects a device that ignores syncs.
#[test]
fn a_device_that_forgets_its_syncs_is_found_out() {
    if !trace::available() {
        return;
    }
    let mut rng = StdRng::seed_from_u64(1);
    let room = image_folder();
    let mut trace = Trace::of_folder(room.path());
    trace.record(room.path(), 1, 1);
    let mut device = PowerCutDevice::new(&trace, true);
    let found = instants(&trace, 40, &mut rng).into_iter().any(|instant| {
        device.advance(instant);
        let acks: Vec<_> = trace.acks_before(instant).collect();
        examine(&device.image(&mut rng), &acks, false).is_err()
    });
    assert!(found);
}

#[test]
fn what_was_acknowledged_outlives_a_power_cut() {
    if !trace::available() {
        assert!(
            number("VSIFLOW_POWERCUT_CUTS").is_none(),
            "strace is missing: install it"
        );
        eprintln!("skipped: strace is missing");
        return;
    }
    let seed = number("VSIFLOW_POWERCUT_SEED").unwrap_or_else(rand::random);
    eprintln!("VSIFLOW_POWERCUT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tally = Tally::new();
    while !tally.is_enough() {
        let room = image_folder();
        let mut trace = Trace::of_folder(room.path());
        trace.record(room.path(), 3, rng.random());
        report(&trace);
        tally.cuts_begin();
        let instants = instants(&trace, CUTS, &mut rng);
        let mut second = |number: usize,
                          image: &DeviceImage,
                          acks: &[&trace::Ack],
                          seeded: &mut StdRng,
                          counted: &mut Tally| {
            if number % SECOND_EVERY == SECOND_EVERY - 1 {
                cut_again(image, acks, seeded, counted);
            }
        };
        try_cuts(&trace, &instants, &mut rng, &mut tally, &mut second);
    }
    eprintln!(
        "{} cuts, {} violations, {:.0?}",
        tally.cuts,
        tally.violations.len(),
        tally.start.elapsed()
    );
    assert!(tally.violations.is_empty(), "{:#?}", tally.violations);
}

fn report(trace: &Trace) {
    let (mut written, mut syncs) = (0, 0);
    for op in trace.ops() {
        match op {
            DiskOp::Write { data, .. } => written += data.len(),
            DiskOp::Sync { .. } => syncs += 1,
            _ => {}
        }
    }
    eprintln!(
        "recorded {} calls, {} KiB written, {syncs} syncs, {} acknowledgements",
        trace.end(),
        written / 1024,
        trace.acks_before(usize::MAX).count()
    );
}

/// The process that is recorded. Without the folder in its environment it does nothing.
#[test]
fn child() {
    if let Some(dir) = std::env::var_os(writer::DIR) {
        let dir = PathBuf::from(dir);
        match number(provisioning::VSIS) {
            Some(vsis) => provisioning::apply(&dir, u32::try_from(vsis).unwrap()),
            None => writer::write(&dir, number(writer::SEED).unwrap_or_default()),
        }
    }
}
