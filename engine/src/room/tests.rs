use std::sync::atomic::AtomicU64;

use super::*;
use crate::{
    checkpoint::{Checkpoints as _, FileCheckpoints},
    lease::Lease,
    model::{Name, RunId},
    permit::WritePermit,
};

/// A disk with the free bytes that the test sets, minus the ballast.
fn disk(dir: &Path, free: Arc<AtomicU64>) -> Arc<Room> {
    let look = move |looked_at: &Path| {
        let size = |name| std::fs::metadata(looked_at.join(name)).map_or(0, |file| file.len());
        let ballast = size(BALLAST) + size(OPENING_BALLAST);
        let free = free.load(Ordering::SeqCst).saturating_sub(ballast);
        Ok(Space::of(1024 * MIB, free))
    };
    Room::open_with(dir, Arc::new(look))
}

fn levels(room: &Room, free: &AtomicU64, mib: &[u64]) -> Vec<Level> {
    let look = |free_mib: &u64| {
        free.store(free_mib * MIB, Ordering::SeqCst);
        room.measure().level
    };
    mib.iter().map(look).collect()
}

#[test]
fn room_is_given_up_in_time_and_taken_again_only_once_there_is_plenty() {
    use Level::{Full, Low, Plenty};
    let (dir, free) = (
        tempfile::tempdir().unwrap(),
        Arc::new(AtomicU64::new(1024 * MIB)),
    );
    let room = disk(dir.path(), free.clone());
    let ballast = dir.path().join(BALLAST);
    assert!(ballast.exists());
    // The bounds of 1 GiB: watermark 64, ballast 8 and 5, reserve 8.
    assert_eq!(
        levels(&room, &free, &[512, 77, 76, 21, 77, 76, 20]),
        [Plenty, Plenty, Low, Low, Plenty, Low, Full]
    );
    assert!(!ballast.exists(), "it was released");
    assert_eq!(
        levels(&room, &free, &[20, 60, 76, 77, 512]),
        [Full, Full, Full, Plenty, Plenty]
    );
    assert!(ballast.exists(), "it was set aside again");
}

#[test]
fn a_state_directory_on_a_full_disk_can_be_opened() {
    let (dir, free) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(0)));
    let room = disk(dir.path(), free.clone());
    assert_eq!(room.seen().level, Level::Full);
    let text = room.seen().to_string();
    assert_eq!(text, "0 MiB are free where 77 MiB are wanted");
}

#[test]
fn what_is_kept_for_opening_is_given_up_only_by_an_opening_on_a_full_disk() {
    let (dir, free) = (
        tempfile::tempdir().unwrap(),
        Arc::new(AtomicU64::new(1024 * MIB)),
    );
    let room = disk(dir.path(), free.clone());
    let last = dir.path().join(OPENING_BALLAST);
    assert_eq!(levels(&room, &free, &[5]), [Level::Full]);
    assert!(last.exists(), "a process that runs leaves it");
    let again = disk(dir.path(), free);
    assert!(!last.exists());
    assert_eq!(again.seen().free, 5 * MIB);
}

#[test]
fn a_write_waits_for_room_and_goes_on_by_itself() {
    let (dir, free) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(0)));
    let room = disk(dir.path(), free.clone());
    let waits = room.clone();
    let waiter = std::thread::spawn(move || waits.wait(&AtomicBool::new(false)));
    std::thread::sleep(RETRY_DELAY * 2);
    assert!(!waiter.is_finished());
    free.store(5 * MIB, Ordering::SeqCst);
    assert_eq!(waiter.join().unwrap(), Ok(()));
}

#[test]
fn a_store_that_is_closed_does_not_wait() {
    let (dir, free) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(0)));
    let room = disk(dir.path(), free);
    let ended = room.wait(&AtomicBool::new(true));
    assert!(matches!(ended, Err(JournalError::Storage(_))), "{ended:?}");
}

#[tokio::test]
async fn a_write_that_waits_for_room_fails_once_its_store_is_about_to_close() {
    let (dir, free) = (tempfile::tempdir().unwrap(), Arc::new(AtomicU64::new(0)));
    let permit = WritePermit::new(disk(dir.path(), free), Lease::endless());
    let store = FileCheckpoints::open_permitted(dir.path().join("checkpoints"), permit);
    let store = Arc::new(store.await.unwrap());
    let (run, node) = (RunId(ulid::Ulid::nil()), Name::of("upload_chunks"));
    let waiting = store.clone();
    let put = tokio::spawn(async move { waiting.put(run, &node, vec![1]).await });
    tokio::time::sleep(RETRY_DELAY * 2).await;
    assert!(!put.is_finished());
    store.wait_no_more();
    let ended = put.await.unwrap();
    assert!(matches!(ended, Err(JournalError::Storage(_))), "{ended:?}");
}

#[test]
fn a_disk_that_does_not_answer_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let look = |_: &Path| Err(io::Error::other("stale handle"));
    let room = Room::open_with(dir.path(), Arc::new(look));
    assert_eq!(room.measure().level, Level::Plenty);
    assert_eq!(room.wait(&AtomicBool::new(false)), Ok(()));
}

#[test]
fn the_ballast_takes_room_on_the_disk() {
    use std::os::unix::fs::MetadataExt as _;
    let dir = tempfile::tempdir().unwrap();
    let room = Room::open(dir.path());
    if room.seen().level != Level::Full {
        let file = std::fs::metadata(dir.path().join(BALLAST)).unwrap();
        assert!(file.blocks() * 512 >= 4 * MIB);
    }
}

#[test]
fn a_disk_with_room_of_which_none_can_be_set_aside_is_not_full() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("missing/ballast", dir.path().join(BALLAST)).unwrap();
    let free = Arc::new(AtomicU64::new(1024 * MIB));
    let room = disk(dir.path(), free.clone());
    assert_eq!(
        levels(&room, &free, &[512, 10]),
        [Level::Plenty, Level::Full]
    );
}

#[test]
fn room_is_set_aside_byte_by_byte_where_the_file_system_cannot_do_it_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fill(file.as_file(), 200_001).unwrap();
    assert_eq!(file.as_file().metadata().unwrap().len(), 200_001);
}
