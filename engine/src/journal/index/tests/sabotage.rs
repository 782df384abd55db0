//! An index whose entries were manipulated one by one is not used.

use super::*;
use crate::journal::stored::states::{decode_state, encode_state};

fn meddled(meddle: impl FnOnce(&sled::Db)) -> OpenedIndex {
    let place = IndexPlace::new();
    place.fill(5);
    let store = load::make(&place.dir).unwrap();
    meddle(&store.db);
    store.db.flush().unwrap();
    drop(store);
    place.open()
}

#[track_caller]
fn assert_damaged(opened: &OpenedIndex) {
    assert_eq!(opened.states, None);
    let rebuilt = opened.rebuilt.as_ref();
    assert!(matches!(rebuilt, Some(Unusable::Damaged(_))), "{rebuilt:?}");
}

fn header_with(db: &sled::Db, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = db.get(header::KEY).unwrap().unwrap().to_vec();
    change(&mut bytes);
    db.insert(header::KEY, bytes).unwrap();
}

#[test]
fn a_header_ahead_of_its_states_is_found() {
    let opened = meddled(|db| {
        header_with(db, |bytes| {
            let at = 4 + 1 + BOOT.len();
            assert_eq!(bytes[at], 35, "the offset is there");
            bytes[at] = 42;
        });
    });
    assert_damaged(&opened);
}

#[test]
fn a_header_whose_states_were_not_written_is_found() {
    // As a writer would leave it that puts the header into a batch before its states.
    let opened = meddled(|db| {
        let mut sums = sum::Sums::default();
        for state in &fleet(5).streams {
            let key = load::key(&state.stream());
            sums.set(&key, Some(&encode_state(state).unwrap()));
        }
        let changed = encode_state(&entity(2, 9)).unwrap();
        sums.set(&load::key(&entity(2, 9).stream()), Some(&changed));
        let header = header::IndexHeader {
            boot_id: BOOT.to_owned(),
            as_of: 36,
            link: link(36),
        };
        db.insert(header::KEY, header.encode(&sums).unwrap())
            .unwrap();
    });
    assert_damaged(&opened);
}

#[test]
fn a_state_changed_without_its_sum_is_found() {
    let opened = meddled(|db| {
        let key = load::key(&entity(2, 0).stream());
        let old = db.get(&key).unwrap().unwrap();
        assert_eq!(decode_state(&old).unwrap(), entity(2, 0));
        db.insert(key, encode_state(&entity(2, 1)).unwrap())
            .unwrap();
    });
    assert_damaged(&opened);
}

#[test]
fn a_state_that_went_or_came_without_its_sum_is_found() {
    let removed = meddled(|db| {
        assert!(
            db.remove(load::key(&entity(2, 0).stream()))
                .unwrap()
                .is_some()
        );
    });
    assert_damaged(&removed);
    let more = meddled(|db| {
        let state = entity(9, 0);
        db.insert(load::key(&state.stream()), encode_state(&state).unwrap())
            .unwrap();
    });
    assert_damaged(&more);
}

#[test]
fn states_that_changed_places_are_found() {
    let opened = meddled(|db| {
        let keys = [1, 2].map(|n| load::key(&entity(n, 0).stream()));
        let [one, two] = [0, 1].map(|at| db.get(&keys[at]).unwrap().unwrap());
        db.insert(&keys[0], two).unwrap();
        db.insert(&keys[1], one).unwrap();
    });
    assert_damaged(&opened);
}

#[test]
fn states_of_another_fold_version_are_not_believed() {
    let opened = meddled(|db| header_with(db, |bytes| bytes[3] = 9));
    assert_eq!(
        (opened.states, opened.rebuilt),
        (None, Some(Unusable::OtherFold(9)))
    );
}

#[test]
fn states_without_a_header_are_not_believed() {
    let opened = meddled(|db| {
        db.remove(header::KEY).unwrap();
    });
    assert_eq!(
        (opened.states, opened.rebuilt),
        (None, Some(Unusable::Unfinished))
    );
}
