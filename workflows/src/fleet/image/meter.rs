//! Measures the rate of an upload and the remaining time, from the reports of its step.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;
use vsiflow_engine::step::Progress;

/// The window over which the rate is measured. With a shorter one the rate jumps; a longer one hides that
/// the connection became slower or faster.
const WINDOW: Duration = Duration::from_secs(10);
/// The minimum time between two samples; it limits their number.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);
/// The rate is unknown before this time has passed.
const MIN_MEASURED: Duration = Duration::from_millis(200);

/// Measures the rate of an upload and the remaining time.
///
/// Bytes before the first report do not count: an upload that resumes halfway is not faster because of
/// that.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    what: String,
    samples: VecDeque<(Instant, u64)>,
    newest: Option<(Instant, u64)>,
    total: Option<u64>,
}

impl Meter {
    /// Adds a report.
    pub fn note(&mut self, now: Instant, progress: &Progress) {
        let back = self.newest.is_some_and(|(_, done)| progress.done < done);
        if back || progress.what != self.what {
            self.samples.clear();
            self.what.clone_from(&progress.what);
        }
        self.total = progress.total;
        self.newest = Some((now, progress.done));
        let last = self.samples.back();
        if last.is_none_or(|(at, _)| now.saturating_duration_since(*at) >= SAMPLE_INTERVAL) {
            self.samples.push_back((now, progress.done));
        }
        // The oldest sample is the one just outside the window.
        let old = |sample: Option<&(Instant, u64)>| {
            sample.is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW)
        };
        while old(self.samples.get(1)) {
            self.samples.pop_front();
        }
    }

    /// Bytes a second; `None` while too little is known.
    pub fn rate(&self) -> Option<u64> {
        let ((first, before), (now, done)) = (self.samples.front()?, self.newest?);
        let took = now.saturating_duration_since(*first);
        let millis = u64::try_from(took.as_millis()).ok()?;
        let moved = done.saturating_sub(*before);
        (took >= MIN_MEASURED)
            .then(|| moved.saturating_mul(1_000).checked_div(millis))
            .flatten()
    }

    /// Seconds until the end, rounded up; `None` where end or rate are not known.
    pub fn seconds_left(&self) -> Option<u64> {
        let (_, done) = self.newest?;
        let left = self.total?.saturating_sub(done);
        self.rate()
            .filter(|rate| *rate > 0)
            .map(|rate| left.div_ceil(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(what: &str, done: u64) -> Progress {
        Progress {
            done,
            total: Some(10_000),
            what: what.to_owned(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_that_of_the_last_seconds_and_of_this_process() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let at = |of: &mut Meter, seconds: u64, done| {
            let now = start.checked_add(Duration::from_secs(seconds)).unwrap();
            of.note(now, &progress("uploading", done));
        };
        at(&mut meter, 0, 5_000);
        assert_eq!((meter.rate(), meter.seconds_left()), (None, None));
        at(&mut meter, 2, 5_200);
        assert_eq!((meter.rate(), meter.seconds_left()), (Some(100), Some(48)));
        for second in 3..=30 {
            at(&mut meter, second, 5_200 + (second - 2) * 10);
        }
        assert_eq!(meter.rate(), Some(10), "the faster time is over");
        assert!(meter.samples.len() < 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_begins_anew_is_measured_anew() {
        let (mut meter, start) = (Meter::default(), Instant::now());
        let later = start.checked_add(Duration::from_secs(1)).unwrap();
        meter.note(start, &progress("reading", 0));
        meter.note(later, &progress("reading", 9_000));
        assert_eq!(meter.rate(), Some(9_000));
        meter.note(later, &progress("uploading", 9_000));
        assert_eq!(meter.rate(), None);
        meter.note(later, &progress("uploading", 0));
        assert_eq!(meter.seconds_left(), None);
    }
}
