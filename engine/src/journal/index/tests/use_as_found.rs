//! An index that is opened again has the written states, or reports why they are not used.

use super::*;

#[test]
fn states_are_found_again_after_an_orderly_end() {
    let place = IndexPlace::new();
    let written = place.fill(20);
    let opened = place.open();
    assert_eq!(opened.rebuilt, None);
    assert_same(&opened.states.unwrap(), &written);
}

#[test]
fn a_new_index_is_empty_and_says_nothing() {
    let place = IndexPlace::new();
    for _ in 0..2 {
        let opened = place.open();
        assert_eq!((opened.states, opened.rebuilt), (None, None));
    }
    assert!(!place.beside(".aside").exists());
}

#[test]
fn updates_are_merged_and_the_newest_wins() {
    let place = IndexPlace::new();
    let mut written = place.fill(20);
    let index = place.open().index;
    for round in 0..50 {
        let mut update = update(1_000 + round, [round % 7, 11]);
        if round == 30 {
            update.forgotten.push(StreamId::Run(run_id(3)));
        }
        written = after(written, &update);
        index.publish(update);
    }
    drop(index);
    assert_same(&place.open().states.unwrap(), &written);
}

#[test]
fn an_offset_without_changes_is_kept_as_well() {
    let place = IndexPlace::new();
    let written = place.fill(3);
    let index = place.open().index;
    index.publish(update(500, []));
    drop(index);
    let written = after(written, &update(500, []));
    assert_same(&place.open().states.unwrap(), &written);
}

#[test]
fn more_states_than_a_batch_holds_are_written_whole() {
    let place = IndexPlace::new();
    let written = place.fill(1_500);
    assert_same(&place.open().states.unwrap(), &written);
}

#[test]
fn a_state_of_many_runs_is_found_again() {
    let place = IndexPlace::new();
    let StreamState::Entity(id, mut folded) = entity(1, 0) else {
        panic!("an entity");
    };
    let runs = (0..20_000).map(run_id).collect();
    folded.state = Arc::new(EntityState {
        runs,
        ..(*folded.state).clone()
    });
    let written = States {
        as_of: 9,
        link: link(9),
        streams: vec![StreamState::Entity(id, folded), entity(2, 0)],
    };
    place.open().index.publish(all(&written));
    assert_same(&place.open().states.unwrap(), &written);
}

#[tokio::test]
async fn a_closed_index_takes_nothing_more() {
    let place = IndexPlace::new();
    let written = place.fill(3);
    let index = place.open().index;
    index.close().await;
    index.publish(update(500, [1]));
    index.close().await;
    drop(index);
    assert_same(&place.open().states.unwrap(), &written);
}

#[test]
fn an_update_from_the_past_puts_the_index_out_of_use() {
    let place = IndexPlace::new();
    let written = place.fill(3);
    let index = place.open().index;
    index.publish(update(1, [1]));
    index.publish(update(0, [2]));
    index.publish(update(600, [0]));
    drop(index);
    let found = place.open().states.unwrap();
    assert!(
        found.as_of == 1 || found == written,
        "as of {}",
        found.as_of
    );
}

#[test]
fn reading_finds_the_same_and_leaves_everything_there() {
    let place = IndexPlace::new();
    assert_eq!(place.read(), Err(Unusable::Absent));
    assert!(!place.dir.exists());
    let written = place.fill(20);
    assert_same(&place.read().unwrap(), &written);
    let other = Facts {
        boot_id: "another".to_owned(),
        ..facts()
    };
    assert_eq!(place.read_with(&other), Err(Unusable::Restarted));
    assert!(!place.beside(".aside").exists() && !place.beside(".opening").exists());
    assert_same(&place.open().states.unwrap(), &written);
}

#[test]
fn reading_beside_one_that_writes_is_in_use() {
    let place = IndexPlace::new();
    place.fill(3);
    let opened = place.open();
    assert_eq!(place.read(), Err(Unusable::InUse));
    drop(opened);
}

#[test]
fn another_start_of_the_machine_is_not_believed() {
    let place = IndexPlace::new();
    place.fill(3);
    let other = Facts {
        boot_id: "the second start".to_owned(),
        ..facts()
    };
    let opened = place.open_with(other);
    assert_eq!(
        (opened.states, opened.rebuilt),
        (None, Some(Unusable::Restarted))
    );
    assert!(place.beside(".aside").join("db").exists());
}

#[test]
fn a_link_that_does_not_fit_the_log_is_not_believed() {
    for known in [None, Some(None), Some(link(3))] {
        let place = IndexPlace::new();
        let written = place.fill(3);
        let other = Facts {
            link_before: Box::new(move |_| known),
            ..facts()
        };
        let opened = place.open_with(other);
        assert_eq!(opened.states, None);
        assert_eq!(opened.rebuilt, Some(Unusable::Misfit(written.as_of)));
    }
}

#[test]
fn a_marker_that_was_left_makes_it_anew_once() {
    let place = IndexPlace::new();
    let written = place.fill(3);
    marker::leave(&place.dir);
    assert_eq!(place.read(), Err(Unusable::LeftOpening));
    let opened = place.open();
    assert_eq!(
        (opened.states, opened.rebuilt),
        (None, Some(Unusable::LeftOpening))
    );
    opened.index.publish(all(&written));
    drop(opened.index);
    assert!(!place.beside(".opening").exists());
    assert_same(&place.open().states.unwrap(), &written);
}

#[test]
fn an_index_that_is_being_opened_is_waited_for_and_not_read() {
    let place = IndexPlace::new();
    let written = place.fill(3);
    let (opening, left) = marker::OpeningMarker::set(&place.dir, PACE.open).unwrap();
    assert!(!left);
    assert_eq!(place.read(), Err(Unusable::InUse));
    let opened = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| place.open());
        std::thread::sleep(Duration::from_millis(50));
        assert!(!waiting.is_finished());
        drop(opening);
        waiting.join().unwrap()
    });
    assert_same(&opened.states.unwrap(), &written);
}

#[test]
fn only_the_newest_index_that_was_put_aside_is_kept() {
    let place = IndexPlace::new();
    for boot in ["1", "2", "3"] {
        let facts = Facts {
            boot_id: boot.to_owned(),
            ..facts()
        };
        place.open_with(facts).index.publish(all(&fleet(2)));
    }
    let beside = std::fs::read_dir(place.dir.parent().unwrap()).unwrap();
    assert_eq!(beside.count(), 2);
}

#[test]
fn where_no_index_can_be_made_there_is_one_that_keeps_nothing() {
    let place = IndexPlace::new();
    let dir = place.dir.join("of a folder that is not there");
    let opened = open::to_write(&dir, facts(), WritePermit::always(), pace());
    opened.index.publish(all(&fleet(2)));
    assert_eq!(opened.states, None);
    assert_eq!(opened.rebuilt, Some(Unusable::Absent));
}
