//! Finds out when a line of a console was written, as far as the lines show it.
//!
//! A console has no clock of its own. Lines begin with a date (RFC 3339, as many services write),
//! or with the seconds since the kernel booted, which count from the start of the VSI. A line
//! without either has the time of the line before. A guest can write anything, so these times only
//! select lines and are used for nothing else.

use jiff::{SignedDuration, Timestamp};

/// The clock of one console, line after line.
#[derive(Debug, Default)]
pub(super) struct LineClock {
    /// When the current kernel booted, at the earliest.
    booted: Option<Timestamp>,
    /// The newest kernel time, in milliseconds.
    uptime: i64,
    /// The time of the line before.
    last: Option<Timestamp>,
}

impl LineClock {
    /// The clock for a guest that was started at that time.
    pub(super) fn of(started: Option<Timestamp>) -> Self {
        Self {
            booted: started,
            ..Self::default()
        }
    }

    /// When a line was written; `None` if no line so far had a time.
    pub(super) fn time_of(&mut self, line: &str) -> Option<Timestamp> {
        let written = date(line).or_else(|| self.kernel(line));
        self.last = written.or(self.last);
        self.last
    }

    /// `[   12.345678] …`. If the kernel time decreases, the kernel has booted again, no earlier
    /// than the last line.
    fn kernel(&mut self, line: &str) -> Option<Timestamp> {
        let uptime = uptime(line)?;
        if uptime < self.uptime {
            self.booted = self.last.or(self.booted);
        }
        self.uptime = uptime;
        let since = SignedDuration::from_millis(uptime);
        self.booted?.checked_add(since).ok()
    }
}

/// Milliseconds of `[   12.345678]` at the beginning of a line.
fn uptime(line: &str) -> Option<i64> {
    let (stamp, _) = line.strip_prefix('[')?.split_once(']')?;
    let (seconds, fraction) = stamp.trim().split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) || !digits(fraction) {
        return None;
    }
    let millis = format!("{fraction:0<3}");
    let millis: i64 = millis.get(..3)?.parse().ok()?;
    let seconds: i64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000)?.checked_add(millis)
}

/// A date in RFC 3339 at the beginning of a line.
fn date(line: &str) -> Option<Timestamp> {
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(lines: &[&str]) -> Vec<Option<String>> {
        let started = "2026-01-02T03:00:00Z".parse().unwrap();
        let mut clock = LineClock::of(Some(started));
        let times = lines.iter().map(|line| clock.time_of(line));
        times
            .map(|time| time.map(|time| time.to_string()))
            .collect()
    }

    #[test]
    fn kernel_times_count_from_the_start_and_dates_are_taken() {
        let at = |text: &str| Some(text.to_owned());
        let lines = [
            "BIOS",
            "[    0.000000] Linux",
            "  more of it",
            "[   61.5] up",
            "2026-01-02T04:00:00+00:00 a service",
        ];
        assert_eq!(
            times(&lines),
            [
                None,
                at("2026-01-02T03:00:00Z"),
                at("2026-01-02T03:00:00Z"),
                at("2026-01-02T03:01:01.5Z"),
                at("2026-01-02T04:00:00Z"),
            ]
        );
    }

    #[test]
    fn after_a_reboot_time_does_not_go_back() {
        let found = times(&["[  100.0] down", "[    1.0] up again"]);
        assert_eq!(found.last(), Some(&Some("2026-01-02T03:01:41Z".to_owned())));
    }

    #[test]
    fn what_only_looks_like_a_time_is_none() {
        for line in [
            "[x.y] a",
            "[1] b",
            "[-1.5] c",
            "[99999999999999999999.1] d",
            "[",
            "",
        ] {
            assert_eq!(times(&[line]), [None], "{line}");
        }
    }
}
