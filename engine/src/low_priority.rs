//! Work that an outsider can make long, on threads that give way to all others of this process.
//!
//! A tenant, a viewer or a guest may make this process compute for seconds within their budget. On a machine with few
//! processors the threads that do everybody's work would get a small share of them meanwhile. A thread cannot get back
//! the priority that it gave up without a privilege, so each piece of work has a thread of its own.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    thread,
};

use tokio::task::spawn_blocking;

/// By how much the thread's niceness is greater than that of the process: it gets about a tenth of what another one
/// gets, if both want a processor.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;

/// Runs work on a thread of lower priority, and waits for it. Blocks: call it on a thread for blocking work, whose
/// runtime then knows that something goes on. A panic of the work goes on in the caller.
///
/// ```
/// assert_eq!(vsiflow_engine::low_priority::run(|| 6 * 7), 42);
/// ```
pub fn run<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let at_low_priority = || {
        give_way();
        work()
    };
    let ended = thread::scope(|scope| scope.spawn(at_low_priority).join());
    ended.unwrap_or_else(|panicked| panic::resume_unwind(panicked))
}

/// The work panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work panicked")]
pub struct Panicked;

thread_local! {
    static IS_INLINE: Cell<bool> = const { Cell::new(false) };
}

/// The same for a task, which does not block its thread. Cancel safe: the work ends without effect.
///
/// # Errors
/// When the work panicked.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    if IS_INLINE.get() {
        return inline(work);
    }
    let ended = spawn_blocking(|| run(work)).await;
    ended.map_err(|_| Panicked)
}

/// The same with the priority of all other threads.
///
/// # Errors
/// When the work panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Panicked> {
    if IS_INLINE.get() {
        return inline(work);
    }
    spawn_blocking(work).await.map_err(|_| Panicked)
}

fn inline<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|_| Panicked)
}

/// From now on, [`aside`] and [`blocking`] do the work of this thread's tasks on this thread. For tests in virtual time:
/// when another thread ends depends on what else the machine does.
pub fn stay_on_this_thread() {
    IS_INLINE.set(true);
}

/// Lowers the priority of this thread. It is no failure if the system does not permit that.
#[cfg(target_os = "linux")]
fn give_way() {
    // On Linux the niceness is that of the calling thread (nice(2), "C library/kernel differences").
    let _ = rustix::process::nice(NICENESS);
}

/// Elsewhere the niceness is that of the whole process.
#[cfg(not(target_os = "linux"))]
fn give_way() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_does_the_work_gives_way() {
        let niceness = || rustix::process::nice(0).unwrap();
        let niceness_before = niceness();
        let meanwhile = run(niceness);
        assert_eq!(meanwhile, (niceness_before + NICENESS).min(19));
        assert_eq!(niceness(), niceness_before);
    }

    #[tokio::test]
    async fn work_aside_stays_on_the_thread_only_where_a_test_says_so() {
        let this_thread = thread::current().id();
        let elsewhere = aside(|| thread::current().id()).await;
        assert_ne!(elsewhere, Ok(this_thread));
        let panics = || panic!("of the work");
        assert_eq!(aside::<()>(panics).await, Err(Panicked));
        stay_on_this_thread();
        assert_eq!(aside(|| thread::current().id()).await, Ok(this_thread));
        assert_eq!(blocking(|| thread::current().id()).await, Ok(this_thread));
        assert_eq!(aside::<()>(panics).await, Err(Panicked));
    }

    #[test]
    fn a_panic_of_the_work_goes_on_in_the_caller() {
        let panicked = panic::catch_unwind(|| run(|| panic!("of the work")));
        assert!(panicked.is_err());
    }
}
