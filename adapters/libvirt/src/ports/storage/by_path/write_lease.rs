//! Until when the process on the host may write: while the lease of this process lasts, and a control call longer.
//!
//! What was sent may be on the way for minutes, and arrive when a successor acts. No look at the lease here holds it back, so the host
//! does: before each frame it is told a moment of its own clock, which nobody sets (`/proc/uptime`), and from then on it writes nothing.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use vsiflow_engine::lease::Lease;

/// After the lease. A successor leaves hosts alone for longer: for a control call at least
/// ([`QUICK`](crate::ports::QUICK)), from which what rounding and the end of a process may take is left out.
const AFTER: Duration = Duration::from_secs(15);

/// What the host's clock showed.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostClock {
    showed: Duration,
    /// When this was heard; it was so before.
    received: Instant,
}

impl HostClock {
    /// One that has just said so many seconds.
    pub(super) fn parse(seconds: &str) -> Option<Self> {
        let seconds = seconds.parse().ok()?;
        Some(Self {
            showed: Duration::try_from_secs_f64(seconds).ok()?,
            received: Instant::now(),
        })
    }

    /// What it shows at least.
    fn shows(&self) -> Duration {
        self.showed.saturating_add(self.received.elapsed())
    }
}

/// The right of the process on the host to write.
pub(super) struct WriteRight {
    lease: Arc<Lease>,
    clock: HostClock,
}

impl WriteRight {
    pub(super) fn new(lease: Arc<Lease>, clock: HostClock) -> Self {
        Self { lease, clock }
    }

    /// Whether it ends at all.
    pub(super) fn ends(&self) -> bool {
        self.lease.left().is_some()
    }

    /// The line that says until when; none where it does not end.
    pub(super) fn line(&self) -> Option<String> {
        let left = self.lease.left()?;
        // Once the lease is past it stays so: nothing is added to it.
        let until = match left {
            Duration::ZERO => Duration::ZERO,
            left => self
                .clock
                .shows()
                .saturating_add(left)
                .saturating_add(AFTER),
        };
        Some(format!("until {}\n", until.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use vsiflow_engine::lease::BootInstant;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn the_host_may_write_until_a_control_call_after_the_lease_by_its_own_clock() {
        let clock = HostClock::parse("1000.75").unwrap();
        let right = WriteRight::new(Lease::endless(), clock);
        assert_eq!((right.ends(), right.line()), (false, None));
        let lease = Lease::new(BootInstant::now(), HOUR);
        let lent = WriteRight::new(lease.clone(), clock);
        assert!(lent.ends());
        let until = |line: Option<String>| -> u64 {
            let line = line.unwrap();
            line.strip_prefix("until ")
                .unwrap()
                .trim_end()
                .parse()
                .unwrap()
        };
        // What the test itself took.
        let about = |expected: u64, found: u64| {
            assert!((expected - 60..=expected).contains(&found), "{found}")
        };
        about(1_000 + 3_600 + 15, until(lent.line()));
        tokio::time::advance(Duration::from_secs(100)).await;
        about(1_100 + 3_600 + 15, until(lent.line()));
        lease.give_up();
        assert_eq!(until(lent.line()), 0);
    }

    #[test]
    fn what_is_no_time_is_no_clock() {
        for text in ["", "zstd", "-1", "inf", "NaN", "1e300"] {
            assert!(HostClock::parse(text).is_none(), "{text}");
        }
    }
}
