//! The faults of a simulated host, and when they happen.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde::{Deserialize, Serialize};

/// A way in which a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// The host is not reached; nothing happens.
    Unreachable,
    /// The deadline passes before the call is sent; nothing happens.
    Timeout,
    /// The call takes effect, and its reply is lost.
    LostReply,
    /// The host is working on the object; nothing happens.
    Busy,
    /// There is no space.
    NoSpace,
    /// A stream breaks before its end; what arrived remains.
    CutStream,
    /// Another program deletes the volume just before the call.
    VanishVolume,
    /// Another program replaces the volume's file just before the call.
    Replaced,
    /// The disk fails while a sync writes. Only that sync reports the error: the host still serves the
    /// bytes from its memory, and the next sync finds nothing to write.
    DiskError,
    /// Another program writes into the volume just after the call.
    Overwritten,
    /// The host loses power just before the call and is up again for the next one.
    HostRestart,
    /// The host's daemon dies during the call and is up again for the next one. The call takes effect,
    /// and its reply is lost; but a domain that was being started ends a moment later.
    DaemonDies,
    /// Another program starts or stops every pool except the one that the call names, just before the
    /// call.
    OtherPoolsToggle,
    /// The program that copies volumes cannot read this one; nothing happens.
    Unconvertible,
}

/// The faults from which random ones are drawn: those that every run survives without help.
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

/// A plan of faults.
#[derive(Default)]
pub struct Faults {
    scripted: Vec<Scripted>,
    random: Option<StdRng>,
    rate: f64,
    left: u32,
}

impl Faults {
    /// No faults.
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

    /// Adds this fault at the `nth` next call of that name, counted from 1.
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
