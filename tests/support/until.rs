//! Waits for a condition, never for a fixed time.
//!
//! The work that a test waits for needs the processors too. So the test sleeps between two checks, for as
//! long as the last check took.

use std::time::{Duration, Instant};

/// The shortest sleep between two checks of a condition.
pub(crate) const POLL: Duration = Duration::from_millis(5);
/// The longest sleep.
const LONGEST: Duration = Duration::from_secs(1);
/// The shortest sleep of [`until_lasting`].
const LASTING: Duration = Duration::from_millis(100);

/// Waits until `ready` returns a value, for at most this many seconds. A condition that holds only for a
/// moment may be missed.
///
/// # Panics
/// When it returns none in that time. The message contains `what`.
pub fn until<T>(what: &str, seconds: u64, ready: impl FnMut() -> Option<T>) -> T {
    poll(what, seconds, ready, |look| look.clamp(POLL, LONGEST))
}

/// Waits until `holds` is true, for at most this many seconds. It checks less often than [`until`] and leaves
/// three quarters of the time to others, so the condition must last once it holds.
///
/// # Panics
/// As [`until`].
#[track_caller]
pub fn until_lasting(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let ready = || holds().then_some(());
    poll(what, seconds, ready, |look| {
        look.saturating_mul(3).clamp(LASTING, LONGEST)
    });
}

fn poll<T>(
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
