//! Counts requests whose token is refused: guesses show in a metric and in the log.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often the log reports them.
const INTERVAL: Duration = Duration::from_secs(60);

static REFUSED: RefusedTokens = RefusedTokens {
    all: AtomicU64::new(0),
    reported: Mutex::new(None),
};

struct RefusedTokens {
    all: AtomicU64,
    /// When the log reported them last, and how many there were then.
    reported: Mutex<Option<(Instant, u64)>>,
}

/// How many requests of this process had a token that was refused.
pub fn refused_tokens() -> u64 {
    REFUSED.all.load(Ordering::Relaxed)
}

/// Notes one, and reports those of the last minute in the log.
pub(crate) fn note() {
    if let Some(newly) = REFUSED.note(Instant::now()) {
        tracing::warn!(
            newly,
            "requests were refused: their token is missing or wrong"
        );
    }
}

impl RefusedTokens {
    /// Notes one. Returns how many to report, once a minute.
    fn note(&self, now: Instant) -> Option<u64> {
        let all = self.all.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match *reported {
            Some((at, _)) if now.saturating_duration_since(at) < INTERVAL => return None,
            Some((_, before)) => before,
            None => 0,
        };
        *reported = Some((now, all));
        Some(all.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_tokens_are_reported_once_a_minute_with_their_number() {
        let refused = RefusedTokens {
            all: AtomicU64::new(0),
            reported: Mutex::new(None),
        };
        let begun = Instant::now();
        assert_eq!(refused.note(begun), Some(1));
        for second in 1..60 {
            assert_eq!(refused.note(begun + Duration::from_secs(second)), None);
        }
        assert_eq!(refused.note(begun + INTERVAL), Some(60));
    }
}
