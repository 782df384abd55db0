//! Checkpoint files that are damaged, incomplete or not from this store.

use std::fs;

use proptest::{prelude::*, sample::Index};
use tempfile::TempDir;
use ulid::Ulid;

use super::*;

fn run(n: u128) -> RunId {
    RunId(Ulid(n))
}

async fn store() -> (TempDir, FileCheckpoints) {
    let dir = tempfile::tempdir().unwrap();
    let store = FileCheckpoints::open(dir.path().join("c")).await.unwrap();
    (dir, store)
}

#[tokio::test]
async fn a_damaged_or_half_file_counts_as_absent() {
    let (_dir, store) = store().await;
    let node = Name::of("upload_chunks");
    let path = store.dir.join(file_name(run(1), &node));
    store.put(run(1), &node, vec![7; 100]).await.unwrap();
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[60] ^= 1;
    for bytes in [flipped, whole[..50].to_vec(), Vec::new(), vec![0; 5000]] {
        fs::write(&path, bytes).unwrap();
        assert_eq!(store.get(run(1), &node).await, Ok(None));
    }
    store.put(run(1), &node, vec![8]).await.unwrap();
    assert_eq!(store.get(run(1), &node).await, Ok(Some(vec![8])));
}

/// A power cut during a write may leave any blocks of the file old or new.
#[tokio::test]
async fn a_write_that_is_torn_anywhere_leaves_the_value_before_it() {
    let (dir, store) = store().await;
    let node = Name::of("upload");
    let value = |n: u8| vec![n; 3_000 + usize::from(n)];
    let path = store.dir.join(file_name(run(1), &node));
    let mut before = Vec::new();
    for n in 0..6 {
        store.put(run(1), &node, value(n)).await.unwrap();
        let after = fs::read(&path).unwrap();
        for at in (0..=after.len()).step_by(512) {
            let Some(old) = before.get(at..).filter(|_| n > 0) else {
                continue;
            };
            let head_is_new = [&after[..at], old].concat();
            let tail_is_new = [&before[..at], &after[at..]].concat();
            for torn in [head_is_new, tail_is_new] {
                fs::write(&path, torn).unwrap();
                let found = store.get(run(1), &node).await.unwrap().unwrap();
                assert!(found == value(n) || found == value(n - 1), "{n} at {at}");
            }
        }
        fs::write(&path, &after).unwrap();
        before = after;
    }
    store.close().await;
    let reopened = FileCheckpoints::open(dir.path().join("c")).await.unwrap();
    assert_eq!(reopened.get(run(1), &node).await, Ok(Some(value(5))));
    // The newest sequence is read from the file only once.
    for n in 6..9 {
        reopened.put(run(1), &node, value(n)).await.unwrap();
        assert_eq!(reopened.get(run(1), &node).await, Ok(Some(value(n))));
    }
    assert_eq!(fs::read_dir(&reopened.dir).unwrap().count(), 1);
}

#[tokio::test]
async fn the_newest_of_two_values_is_never_overwritten() {
    let (_dir, store) = store().await;
    let node = Name::of("upload");
    let path = store.dir.join(file_name(run(1), &node));
    for n in 0..5_u8 {
        store.put(run(1), &node, vec![n]).await.unwrap();
    }
    // The newest value is lost: the one before it is used, and the next write does not overwrite
    // it.
    let mut bytes = fs::read(&path).unwrap();
    bytes[..100].fill(0xff);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(store.get(run(1), &node).await, Ok(Some(vec![3])));
    store.close().await;
    let reopened = FileCheckpoints::open(&store.dir).await.unwrap();
    let rest = fs::read(&path).unwrap()[slots::SLOT..].to_vec();
    reopened.put(run(1), &node, vec![9]).await.unwrap();
    assert_eq!(fs::read(&path).unwrap()[slots::SLOT..], rest);
    assert_eq!(reopened.get(run(1), &node).await, Ok(Some(vec![9])));
}

#[tokio::test]
async fn the_longest_value_under_the_longest_name_fits() {
    let (_dir, store) = store().await;
    let longest = (1..=4_096).rev().map(|n| "n".repeat(n));
    let node = longest.filter_map(|name| Name::new(name).ok()).next();
    let node = node.unwrap();
    for n in 0..3 {
        let value = vec![n; crate::journal::RECORD_MAX];
        store.put(run(1), &node, value.clone()).await.unwrap();
        assert_eq!(store.get(run(1), &node).await, Ok(Some(value)));
    }
}

#[tokio::test]
async fn a_file_under_anothers_name_counts_as_absent() {
    let (_dir, store) = store().await;
    let (one, other) = (Name::of("one"), Name::of("other"));
    store.put(run(1), &one, vec![7]).await.unwrap();
    let from = store.dir.join(file_name(run(1), &one));
    for (run, node) in [(run(1), &other), (run(2), &one)] {
        fs::copy(&from, store.dir.join(file_name(run, node))).unwrap();
        assert_eq!(store.get(run, node).await, Ok(None));
    }
}

#[tokio::test]
async fn what_a_crash_left_half_written_is_removed_and_the_old_value_stays() {
    let (dir, store) = store().await;
    let node = Name::of("upload.chunks");
    store.put(run(1), &node, vec![7]).await.unwrap();
    store.close().await;
    let half = temporary(&store.dir.join(file_name(run(1), &node)));
    fs::write(&half, [1, 2]).unwrap();
    let reopened = FileCheckpoints::open(dir.path().join("c")).await.unwrap();
    assert!(!half.exists());
    assert_eq!(reopened.get(run(1), &node).await, Ok(Some(vec![7])));
    reopened.put(run(1), &node, vec![8]).await.unwrap();
    reopened.forget(run(1)).await.unwrap();
    assert_eq!(fs::read_dir(&reopened.dir).unwrap().count(), 0);
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_is_forgotten_as_well() {
    let (_dir, store) = store().await;
    let node = Name::of("a");
    for n in 0..20 {
        let mut put = store.put(run(n), &node, vec![7]);
        let _ = polled_once(&mut put).await;
        drop(put);
        store.forget(run(n)).await.unwrap();
    }
    store.close().await;
    assert_eq!(fs::read_dir(&store.dir).unwrap().count(), 0);
}

/// Polls once, so that the request is sent.
async fn polled_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    std::future::poll_fn(|context| {
        let done = std::pin::Pin::new(&mut *future).poll(context).is_ready();
        std::task::Poll::Ready(done)
    })
    .await
}

#[tokio::test]
async fn files_of_somebody_else_are_left_alone() {
    let (dir, store) = store().await;
    for name in ["README", "-", "x-y"] {
        fs::write(store.dir.join(name), "?").unwrap();
    }
    store.close().await;
    let reopened = FileCheckpoints::open(dir.path().join("c")).await.unwrap();
    reopened.forget(run(0)).await.unwrap();
    assert_eq!(fs::read_dir(&reopened.dir).unwrap().count(), 3);
}

#[tokio::test]
async fn after_a_write_that_failed_every_call_says_so() {
    let (_dir, store) = store().await;
    fs::remove_dir_all(&store.dir).unwrap();
    let node = Name::of("a");
    let failed = store.put(run(1), &node, vec![7]).await;
    assert!(
        matches!(failed, Err(JournalError::Storage(_))),
        "{failed:?}"
    );
    assert_eq!(store.get(run(1), &node).await.map(drop), failed);
    assert_eq!(Err(store.failed().await), failed);
}

proptest! {
    #[test]
    fn a_changed_byte_or_a_missing_end_is_never_believed(
        value in prop::collection::vec(any::<u8>(), 0..200), at in any::<Index>(), by in 1..=255u8,
    ) {
        let node = Name::of("a");
        let whole = envelope::seal(run(1), &node, 7, &value);
        prop_assert_eq!(envelope::open(run(1), &node, &whole), Some((7, value.clone())));
        let longer = [whole.as_slice(), b"what was there before"].concat();
        prop_assert_eq!(envelope::open(run(1), &node, &longer), Some((7, value)));
        prop_assert_eq!(envelope::open(run(1), &node, &whole[..at.index(whole.len())]), None);
        let mut changed = whole;
        *at.get_mut(&mut changed) ^= by;
        prop_assert_eq!(envelope::open(run(1), &node, &changed), None);
    }
}
