//! A kill between any two steps.

use super::{on_disk::Place, *};
use crate::executor::folded;

/// Compacts until that many steps are done, and dies there. The step it died after; none where
/// it came to its end.
async fn killed_after(place: &Place, steps_done: usize) -> Option<&'static str> {
    let state = place.open();
    let (mut count, mut last) = (0, None);
    let done = steps(&state, at(herd::time(2)), &mut |what| {
        count += 1;
        last = Some(what);
        if count > steps_done {
            return Err(io::Error::other("killed"));
        }
        Ok(())
    })
    .await;
    match done {
        Ok(_) => None,
        Err(AuditError::Io { why, .. }) if why == "killed" => last,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_step_loses_nothing() {
    let mut killed = Vec::new();
    loop {
        let place = Place::new().await;
        let step = killed_after(&place, killed.len()).await;
        let state = place.open();
        let journal = state.journal().await.unwrap();
        let horizon = journal.horizon().await.unwrap();
        let states = folded(&journal).await;
        assert!(states.entities.len() == 5, "after {step:?}");
        journal.close().await;
        drop(state);
        let report = place.verify(None).await;
        assert!(
            report.is_sound(),
            "after {step:?}: {:#?}",
            report.violations
        );
        // And the next one comes to its end.
        let state = place.open();
        let again = compact(&state, at(herd::time(2))).await.unwrap();
        assert_eq!(again.is_none(), horizon.is_some(), "after {step:?}");
        drop(state);
        let report = place.verify(None).await;
        assert!(
            report.is_sound(),
            "after {step:?}: {:#?}",
            report.violations
        );
        assert_eq!(report.archived, 2 * herd::EVENTS + 1);
        for left in ["journal.next", "journal.old", "archive/archive.part"] {
            assert!(!place.path().join(left).exists(), "after {step:?}: {left}");
        }
        match step {
            Some(step) => killed.push(step),
            None => break,
        }
    }
    assert!(killed.len() >= 9, "{killed:?}");
}
