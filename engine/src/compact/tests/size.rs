//! What VSIs that came and went leave behind.

use super::*;

/// Bytes that a VSI may leave beside the archive: 50 MiB for 10,000 of them.
const LEFT: u64 = (50 << 20) / 10_000;

/// What the store sets aside at a time.
const SEGMENT: u64 = 2 << 20;

/// What every state directory sets aside for a full disk, whatever is in it.
const SET_ASIDE: u64 = 13 << 20;

fn used(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        bytes += match entry.file_type().unwrap().is_dir() {
            true => used(&entry.path()),
            false => entry.metadata().unwrap().blocks() * 512,
        };
    }
    bytes
}

/// A state directory after so many lives and a compaction, without its archives: in bytes.
async fn left(lives: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let journal = state.journal().await.unwrap();
    herd::write_at_once(&journal, 0..lives).await;
    journal.close().await;
    let before = used(dir.path());
    let done = compact(&state, at(herd::time(lives)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(done.events, lives * herd::EVENTS + 1 - image_run_events());
    let archive = used(&state.archives());
    let all = used(dir.path());
    println!(
        "{lives} VSIs: {before} bytes before; {} after, and {archive} in archives",
        all - archive
    );
    all - archive
}

/// The newest run of the image stays: the image is still there.
fn image_run_events() -> u64 {
    14
}

#[tokio::test(flavor = "multi_thread")]
async fn vsis_that_came_and_went_leave_little() {
    let lives = 600;
    let left = left(lives).await;
    assert!(left <= lives * LEFT + SEGMENT + SET_ASIDE, "{left} bytes");
}

/// The whole promise; see `tests/parts/growth`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: tests/run --part growth"]
async fn ten_thousand_vsis_that_came_and_went_leave_at_most_50_mib() {
    let left = left(10_000).await;
    assert!(left <= 50 << 20, "{left} bytes");
}
