//! Pauses for files whose senders were too slow.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long a file is not read after its readers timed out: at first and at most. The last value is how long
/// until a pause is forgotten.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(10);
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(600);
pub(super) const FORGOTTEN: Duration = Duration::from_secs(3_600);
/// How many files may have a pause.
const MAX_PAUSES: usize = 256;

/// Files that are not read for a while, because they were announced but not sent.
#[derive(Debug, Default)]
pub(super) struct Pauses(BTreeMap<String, Pause>);

#[derive(Debug)]
struct Pause {
    begun: Instant,
    length: Duration,
}

impl Pauses {
    pub(super) fn left(&self, url: &str) -> Option<Duration> {
        let pause = self.0.get(url)?;
        let remaining = pause.length.saturating_sub(pause.begun.elapsed());
        (!remaining.is_zero()).then_some(remaining)
    }

    /// Begins a pause. Readers that time out during a pause do not extend it.
    pub(super) fn begin(&mut self, url: &str) {
        if self.left(url).is_some() {
            return;
        }
        self.0.retain(|_, pause| pause.begun.elapsed() < FORGOTTEN);
        if self.0.len() >= MAX_PAUSES {
            let oldest = self.0.iter().min_by_key(|(_, pause)| pause.begun);
            let key = oldest.map(|(key, _)| key.clone());
            key.and_then(|key| self.0.remove(&key));
        }
        let last = self.0.get(url).map(|pause| pause.length);
        let length = last.map_or(FIRST_PAUSE, |last| last.saturating_mul(2));
        let pause = Pause {
            begun: Instant::now(),
            length: length.min(MAX_PAUSE),
        };
        self.0.insert(url.to_owned(), pause);
    }

    pub(super) fn end(&mut self, url: &str) {
        self.0.remove(url);
    }
}
