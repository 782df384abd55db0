//! What goes wrong on a simulated host, and when.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// A way in which a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// The host is not reached; nothing happens.
    Unreachable,
    /// The deadline passes before the call is sent; nothing happens.
    Timeout,
    /// The call has its effect, and its answer is lost.
    LostReply,
    /// The host is at work on the object; nothing happens.
    Busy,
    /// There is no room.
    NoSpace,
    /// A stream breaks in its middle; what arrived stays.
    CutStream,
    /// Somebody deletes the volume just before the call.
    VanishVolume,
    /// Somebody puts another file in the place of the volume's just before the call.
    Replaced,
    /// The disk does not take what a sync writes. That sync alone hears of it: the host continues
    /// showing the bytes out of its memory, and the next sync finds nothing to write.
    DiskError,
    /// Somebody writes into the volume just after the call.
    Overwritten,
    /// The host loses its power just before the call and is up again for the next.
    HostRestart,
    /// The host's daemon dies in the middle of the call and is back for the next. The call has its
    /// effect, and its answer is lost; but what was being started is ended a moment later.
    DaemonDies,
    /// Somebody starts or stops each other pool just before the call, which names one.
    OtherPoolsToggle,
}

/// The faults that random ones are drawn from: those that every run survives by itself.
const PASSING: [Fault; 7] = [
    Fault::Unreachable,
    Fault::Timeout,
    Fault::LostReply,
    Fault::Busy,
    Fault::CutStream,
    Fault::HostRestart,
    Fault::DaemonDies,
];

struct Scripted {
    call: String,
    skip: u32,
    fault: Fault,
}

/// When which fault comes.
#[derive(Default)]
pub struct Faults {
    scripted: Vec<Scripted>,
    random: Option<StdRng>,
    rate: f64,
    left: u32,
}

impl Faults {
    /// No fault ever.
    pub fn none() -> Self {
        Self::default()
    }

    /// Faults drawn from `seed`: each call fails with probability `rate`, until there were `most`.
    pub fn seeded(seed: u64, rate: f64, most: u32) -> Self {
        let random = Some(StdRng::seed_from_u64(seed));
        Self {
            scripted: Vec::new(),
            random,
            rate,
            left: most,
        }
    }

    /// And this fault at the `nth` call of that name from now on, counted from 1.
    pub fn at(mut self, call: &str, nth: u32, fault: Fault) -> Self {
        let skip = nth.saturating_sub(1);
        self.scripted.push(Scripted {
            call: call.to_owned(),
            skip,
            fault,
        });
        self
    }

    pub(super) fn next(&mut self, call: &str) -> Option<Fault> {
        self.next_scripted(call).or_else(|| self.next_random())
    }

    fn next_scripted(&mut self, call: &str) -> Option<Fault> {
        let mut due = None;
        self.scripted.retain_mut(|scripted| {
            if scripted.call != call {
                return true;
            }
            if scripted.skip == 0 && due.is_none() {
                due = Some(scripted.fault);
                return false;
            }
            scripted.skip = scripted.skip.saturating_sub(1);
            true
        });
        due
    }

    fn next_random(&mut self) -> Option<Fault> {
        let random = self.random.as_mut().filter(|_| self.left > 0)?;
        if random.random::<f64>() >= self.rate {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        PASSING.get(random.random_range(0..PASSING.len())).copied()
    }
}
