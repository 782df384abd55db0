//! Limits until when the process on the host may write: while this process holds its lease, and a margin.
//!
//! Sent bytes may arrive minutes later, when a successor acts already. No check of the lease here prevents
//! that, so the host must. Before each frame it receives a time of its own monotonic clock (`/proc/uptime`),
//! after which it writes nothing.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use vsiflow_engine::lease::Lease;

/// The margin after the lease. A successor leaves hosts alone for longer, at least for a control call
/// ([`QUICK`](crate::ports::QUICK)). The difference covers rounding and the end of the process.
const MARGIN: Duration = Duration::from_secs(15);

/// A reading of the host's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostClock {
    showed: Duration,
    /// When the reading was received; it was taken earlier.
    received: Instant,
}

impl HostClock {
    /// A reading in seconds that was just received.
    pub(super) fn parse(seconds: &str) -> Option<Self> {
        Some(Self {
            showed: Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?,
            received: Instant::now(),
        })
    }

    /// The minimum that the clock shows now.
    fn shows(&self) -> Duration {
        self.showed.saturating_add(self.received.elapsed())
    }
}

/// The permission of the process on the host to write.
pub(super) struct WriteRight {
    lease: Arc<Lease>,
    clock: HostClock,
}

impl WriteRight {
    pub(super) fn new(lease: Arc<Lease>, clock: HostClock) -> Self {
        Self { lease, clock }
    }

    /// Whether the permission ends at all.
    pub(super) fn ends(&self) -> bool {
        self.lease.left().is_some()
    }

    /// The line that sends the deadline; `None` if there is none.
    pub(super) fn line(&self) -> Option<String> {
        let remaining = self.lease.left()?;
        // An expired lease stays expired, so no margin is added.
        let until = match remaining {
            Duration::ZERO => Duration::ZERO,
            remaining => self
                .clock
                .shows()
                .saturating_add(remaining)
                .saturating_add(MARGIN),
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
        // The time that the test itself took.
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
