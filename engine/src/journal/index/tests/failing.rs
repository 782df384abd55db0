//! A panic, hang or failure of sled affects only the index.

use std::time::Instant;

use super::*;

#[test]
fn a_panic_at_opening_is_a_reason_and_nothing_else() {
    let opened: Result<(), _> = open::in_thread(PACE.open, || panic!("a page of {} bytes", 7));
    assert_eq!(
        opened,
        Err(Unusable::Panicked("a page of 7 bytes".to_owned()))
    );
}

#[test]
fn an_opening_that_hangs_is_left_to_itself() {
    let (go, stay) = std::sync::mpsc::channel::<()>();
    let patience = Duration::from_millis(20);
    let opened = open::in_thread(patience, move || {
        let _ = stay.recv();
        Ok(())
    });
    assert_eq!(opened, Err(Unusable::Hung));
    drop(go);
}

/// An index larger than sled's cache, whose file is truncated while it is in use.
fn with_a_file_cut_off(place: &IndexPlace) -> Index {
    place.fill(3_000);
    let index = place.open().index;
    let db = std::fs::OpenOptions::new()
        .write(true)
        .open(place.dir.join("db"));
    db.unwrap().set_len(0).unwrap();
    index
}

#[test]
fn an_index_that_fails_in_use_is_put_aside_by_the_next_start() {
    let place = IndexPlace::new();
    let index = with_a_file_cut_off(&place);
    let start = Instant::now();
    for round in 0..200 {
        index.publish(update(
            50_000 + round,
            (round % 3 * 1_000)..(round % 3 * 1_000 + 900),
        ));
        if place.beside(".opening").exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(start.elapsed() < PACE.open);
    drop(index);
    assert!(place.beside(".opening").exists(), "it did not fail");
    let opened = place.open();
    assert_eq!(
        (opened.states, opened.rebuilt),
        (None, Some(Unusable::LeftOpening))
    );
}

#[test]
fn publishing_never_waits_for_the_disk() {
    let place = IndexPlace::new();
    let (free, permit) = permit_without_room(&place);
    let index = open::to_write(&place.dir, facts(), permit, pace()).index;
    let start = Instant::now();
    for as_of in 1..200 {
        index.publish(update(as_of, 0..9));
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    free.store(u64::MAX, std::sync::atomic::Ordering::Release);
    let until = Instant::now() + Duration::from_secs(20);
    while index.pending.has_any() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    drop(index);
    assert_eq!(place.open().states.unwrap().as_of, 199);
}

#[test]
fn an_index_on_a_full_disk_is_closed_without_waiting_and_lags_behind() {
    let place = IndexPlace::new();
    let written = place.fill(3);
    let (_free, permit) = permit_without_room(&place);
    let index = open::to_write(&place.dir, facts(), permit, pace()).index;
    index.publish(update(900, [1]));
    let start = Instant::now();
    drop(index);
    assert!(start.elapsed() < PACE.close);
    assert_same(&place.open().states.unwrap(), &written);
}

fn permit_without_room(place: &IndexPlace) -> (Arc<std::sync::atomic::AtomicU64>, WritePermit) {
    use crate::{lease::Lease, room::Room, room::Space};
    let free = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let seen = Arc::clone(&free);
    let look = move |_: &Path| {
        let left = seen.load(std::sync::atomic::Ordering::Acquire);
        Ok(Space::of(1 << 40, left))
    };
    let room = Room::open_with(place.dir.parent().unwrap(), Arc::new(look));
    (free, WritePermit::new(room, Lease::endless()))
}
