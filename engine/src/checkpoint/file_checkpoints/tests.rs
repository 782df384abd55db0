//! Files that are damaged, half written or not of this store.

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

/// Polls once, so that the request is on its way.
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
        let whole = envelope::seal(run(1), &node, &value);
        prop_assert_eq!(envelope::open(run(1), &node, &whole), Some(value));
        prop_assert_eq!(envelope::open(run(1), &node, &whole[..at.index(whole.len())]), None);
        let mut changed = whole;
        *at.get_mut(&mut changed) ^= by;
        prop_assert_eq!(envelope::open(run(1), &node, &changed), None);
    }
}
