//! Shares work among several threads.

use std::{num::NonZero, panic::resume_unwind, thread};

/// The most threads for one piece of work.
const THREADS: usize = 4;

/// Runs `work` in this thread and, if the machine has several processors, in others at the same
/// time, at most `most` in all. Returns the result of each. `work` itself must distribute the items
/// among its calls. Blocks.
pub(crate) fn share<T: Send>(most: usize, work: impl Fn() -> T + Sync) -> Vec<T> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(THREADS).min(most);
    thread::scope(|scope| {
        // If no other thread can be started, this one does all the work.
        let started = (1..threads).filter_map(|_| {
            let builder = thread::Builder::new().name("shared-work".to_owned());
            builder.spawn_scoped(scope, &work).ok()
        });
        let helpers: Vec<_> = started.collect();
        let mut results = vec![work()];
        for helper in helpers {
            results.push(helper.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        results
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_piece_is_taken_once() {
        let next = AtomicUsize::new(0);
        let shares = share(usize::MAX, || {
            let mut taken = Vec::new();
            loop {
                match next.fetch_add(1, Ordering::Relaxed) {
                    piece @ 0..1_000 => taken.push(piece),
                    _ => return taken,
                }
            }
        });
        let mut all = shares.concat();
        all.sort_unstable();
        assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    }
}
