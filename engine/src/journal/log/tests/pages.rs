//! Reads a long batch page by page: it is longer than the bytes that are read at once.

use std::sync::atomic::Ordering;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;

/// The number of streams in the batch, and of events in each.
const STREAMS: u64 = 400;
const EACH: u64 = 10;
/// The number of events in a page.
const PAGE: usize = 100;

/// A log with a batch of [`STREAMS`] between two short ones, opened for reading.
fn long() -> (SimDisk, DiskJournal) {
    let disk = SimDisk::new();
    let journal = open(&disk, OpenMode::Make).unwrap();
    run(journal.append(vec![append(STREAMS + 1, 0, &[9])])).unwrap();
    let sizes = |number| {
        (0..EACH)
            .map(|n| ((number * 7 + n * 131) % 1_000) as usize)
            .collect::<Vec<_>>()
    };
    let batch = (0..STREAMS).map(|number| append(number, 0, &sizes(number)));
    run(journal.append(batch.collect())).unwrap();
    run(journal.append(vec![append(STREAMS + 2, 0, &[9])])).unwrap();
    drop(journal);
    let reader = open(&disk, OpenMode::Read).unwrap();
    (disk, reader)
}

#[test]
fn a_long_batch_is_read_in_pages_without_its_beginning_each_time() {
    let (disk, journal) = long();
    let before = disk.read.load(Ordering::Relaxed);
    let whole = run(all(&journal));
    let once = disk.read.load(Ordering::Relaxed) - before;
    assert_eq!(whole.len() as u64, STREAMS * EACH + 2);

    let mut pages = Vec::new();
    let whole_before = disk.read.load(Ordering::Relaxed);
    while pages.len() < whole.len() {
        pages.extend(run(journal.read_all(pages.len() as u64, PAGE)).unwrap());
    }
    let paged = disk.read.load(Ordering::Relaxed) - whole_before;
    assert!(pages == whole);
    // Each page reads 256 KiB ahead. From the beginning it would be half the batch each time.
    assert!(paged < once * 6, "{paged} bytes in pages, {once} at once");
}

#[test]
fn pages_that_begin_anywhere_are_those_of_the_whole() {
    let (_disk, journal) = long();
    let whole = run(all(&journal));
    let mut rng = StdRng::seed_from_u64(7);
    for _ in 0..400 {
        let from = rng.random_range(0..whole.len());
        let limit = rng.random_range(1..300);
        let page = run(journal.read_all(from as u64, limit)).unwrap();
        let expected = whole.iter().skip(from).take(limit);
        assert!(page.iter().eq(expected), "{limit} from {from}");
    }
}
