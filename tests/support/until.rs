//! Waiting for a condition, never for a time.
//!
//! What is waited for needs the processors as well: between two looks it is rested for as long as they take.

use std::time::{Duration, Instant};

/// The shortest rest between two looks at a condition.
pub(crate) const POLL: Duration = Duration::from_millis(5);
/// The longest one.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest rest where it is waited for what lasts.
const LASTING: Duration = Duration::from_millis(100);

/// Waits until `ready` gives something, at most that many seconds. What is there for a moment alone may be missed.
///
/// # Panics
/// When it does not in that time; `what` says what was waited for.
pub fn until<T>(what: &str, seconds: u64, ready: impl FnMut() -> Option<T>) -> T {
    looking(what, seconds, ready, |look| look.clamp(POLL, LONGEST))
}

/// Waits until something holds that lasts, at most that many seconds, and leaves three quarters of the time to others.
///
/// # Panics
/// As [`until`].
#[track_caller]
pub fn until_lasting(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let ready = || holds().then_some(());
    looking(what, seconds, ready, |look| {
        look.saturating_mul(3).clamp(LASTING, LONGEST)
    });
}

fn looking<T>(
    what: &str,
    seconds: u64,
    mut ready: impl FnMut() -> Option<T>,
    rest: impl Fn(Duration) -> Duration,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        let begun = Instant::now();
        if let Some(found) = ready() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        std::thread::sleep(rest(begun.elapsed()));
    }
}
