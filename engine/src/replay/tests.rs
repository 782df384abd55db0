use super::*;
use crate::{
    audit::sample::{self, Batch},
    blob::MemoryBlobs,
    journal::{Journal as _, MemoryJournal},
    model::{CancelMode, EventKind, Name, Outcome, Payload, RunResult},
};

async fn sample_batches() -> Vec<Batch> {
    sample::batches(&MemoryBlobs::new()).await
}

async fn replayed(batches: Vec<Batch>, verify: bool) -> Result<Summary, Deviation> {
    let journal = MemoryJournal::new();
    sample::write(&journal, batches).await;
    match replay(&journal, verify).await {
        Ok(summary) => Ok(summary),
        Err(ReplayError::Deviation(deviation)) => Err(deviation),
        Err(other) => panic!("{other}"),
    }
}

/// The batch and position of the only event whose kind satisfies `matches`.
fn find(batches: &[Batch], matches: impl Fn(&EventKind) -> bool) -> (usize, usize) {
    let all = batches.iter().enumerate().flat_map(|(b, batch)| {
        batch
            .iter()
            .enumerate()
            .map(move |(e, (_, kind))| (b, e, kind))
    });
    let (batch, event, _) = all.into_iter().find(|(_, _, kind)| matches(kind)).unwrap();
    (batch, event)
}

fn is_start_of(node: &'static str) -> impl Fn(&EventKind) -> bool {
    move |kind| matches!(kind, EventKind::StepStarted { node: n, .. } if n.as_str() == node)
}

#[tokio::test]
async fn a_history_of_every_kind_of_event_is_what_was_decided() {
    let summary = replayed(sample_batches().await, true).await.unwrap();
    let expected = Summary {
        events: 53,
        began: 0,
        batches: 18,
        entities: 2,
        unsettled: 1,
        succeeded: 1,
        failed: 1,
        cancelled: 1,
        superseded: 1,
        open: 0,
    };
    assert_eq!(summary, expected);
}

#[tokio::test]
async fn every_prefix_of_it_replays() {
    let batches = sample_batches().await;
    for end in 0..batches.len() {
        replayed(batches[..end].to_vec(), true).await.unwrap();
    }
}

#[tokio::test]
async fn a_start_before_its_predecessors_ended_is_named() {
    let mut batches = sample_batches().await;
    let stream = StreamId::Run(sample::run(1));
    let node = Name::of("monitor_console");
    let early = EventKind::StepStarted { node, attempt: 1 };
    batches[0].push((stream.clone(), early));
    let found = replayed(batches.clone(), true).await.unwrap_err();
    assert_eq!((&found.stream, found.seq, found.offset), (&stream, 2, 4));
    assert_eq!(found.found, "step_started monitor_console (attempt 1)");
    assert_eq!(found.expected, "nothing that the engine does on its own");
    let later = replayed(batches, false).await.unwrap_err();
    assert!(later.offset > 4, "folding alone allows it at first");
}

#[tokio::test]
async fn an_attempt_may_be_counted_higher_but_never_lower() {
    let mut batches = sample_batches().await;
    let (batch, event) = find(&batches, |kind| {
        matches!(kind, EventKind::StepStarted { attempt: 4, .. })
    });
    for (attempt, allowed) in [(2, true), (9, true), (1, false)] {
        for kind in [event, event + 1].map(|at| (batch, at)) {
            match &mut batches[kind.0][kind.1].1 {
                EventKind::StepStarted { attempt: a, .. }
                | EventKind::StepSucceeded { attempt: a, .. } => *a = attempt,
                _ => unreachable!(),
            }
        }
        let replayed = replayed(batches.clone(), true).await;
        assert_eq!(replayed.is_ok(), allowed, "{attempt}: {replayed:?}");
    }
}

#[tokio::test]
async fn a_late_recorded_attempt_may_start_in_a_run_that_is_to_end() {
    let mut batches = sample_batches().await;
    let (batch, event) = find(&batches, |kind| matches!(kind, EventKind::TimerDue { .. }));
    let run = batches[batch][event].0.clone();
    let mode = CancelMode::User;
    batches.insert(batch, vec![(run, EventKind::CancelRequested { mode })]);
    replayed(batches.clone(), true).await.unwrap();
    // If the end is not in the same batch, the start was never decided.
    let late = batches[batch + 1].split_off(event + 2);
    batches.insert(batch + 2, late);
    let found = replayed(batches, true).await.unwrap_err();
    assert_eq!(found.found, "step_started upload (attempt 4)");
    assert_eq!(
        found.expected,
        "step_skipped upload or run_finished superseded".replace("superseded", "cancelled")
    );
}

#[tokio::test]
async fn an_end_that_was_not_decided_is_named() {
    let mut batches = sample_batches().await;
    let (batch, event) = find(&batches, |kind| {
        matches!(
            kind,
            EventKind::RunFinished {
                result: RunResult::Cancelled
            }
        )
    });
    let result = RunResult::Succeeded;
    batches[batch][event].1 = EventKind::RunFinished { result };
    let found = replayed(batches, true).await.unwrap_err();
    assert_eq!(found.found, "run_finished succeeded");
    assert_eq!(found.expected, "run_finished cancelled");
}

#[tokio::test]
async fn a_skip_in_a_run_that_goes_on_is_named() {
    let mut batches = sample_batches().await;
    let stream = StreamId::Run(sample::run(1));
    let node = Name::of("monitor_console");
    batches[0].push((stream, EventKind::StepSkipped { node }));
    let found = replayed(batches, true).await.unwrap_err();
    assert_eq!(found.found, "step_skipped monitor_console");
}

#[tokio::test]
async fn a_run_that_nobody_wanted_is_named() {
    let mut batches = sample_batches().await;
    let (batch, event) = find(&batches, |kind| matches!(kind, EventKind::RetryRequested));
    batches[batch].remove(event);
    let found = replayed(batches, true).await.unwrap_err();
    assert_eq!(found.found, "run_opened provision_vsi (generation 1)");
    assert_eq!(found.expected, "no run before a wait is over");
}

#[tokio::test]
async fn a_retry_by_the_engine_that_no_wait_led_to_is_named() {
    let mut batches = sample_batches().await;
    let (batch, event) = find(&batches, |kind| {
        matches!(kind, EventKind::RetryScheduled { .. })
    });
    batches[batch].remove(event);
    let found = replayed(batches, true).await.unwrap_err();
    assert_eq!(found.found, "retry_requested");
    assert_eq!(found.expected, "no retry: no wait for one was recorded");
}

#[tokio::test]
async fn a_cancel_that_nothing_newer_called_for_is_named() {
    for mode in [CancelMode::Superseded, CancelMode::Unwanted] {
        let mut batches = sample_batches().await;
        let run = StreamId::Run(sample::run(1));
        batches.insert(3, vec![(run, EventKind::CancelRequested { mode })]);
        let found = replayed(batches, true).await.unwrap_err();
        assert_eq!(found.found, format!("cancel_requested {mode:?}"));
        assert!(found.expected.starts_with("no cancel"), "{found}");
    }
}

#[tokio::test]
async fn both_streams_have_to_tell_of_a_runs_begin_and_end() {
    let halves: [fn(&EventKind) -> bool; 2] = [
        |kind| matches!(kind, EventKind::RunOpened { .. }),
        |kind| matches!(kind, EventKind::RunClosed { .. }),
    ];
    for half in halves {
        let mut batches = sample_batches().await;
        let (batch, event) = find(&batches, half);
        batches[batch].remove(event);
        let found = replayed(batches, true).await.unwrap_err();
        assert!(found.expected.contains("in the same batch"), "{found}");
    }
}

#[tokio::test]
async fn a_step_that_succeeds_twice_is_named_without_verify_too() {
    let mut batches = sample_batches().await;
    let (batch, event) = find(&batches, is_start_of("define_domain"));
    let stream = batches[batch][event].0.clone();
    let again = EventKind::StepSucceeded {
        node: Name::of("resolve_host"),
        attempt: 1,
        outcome: Outcome::Created,
        output: Payload::default(),
    };
    batches[batch].push((stream, again));
    for verify in [false, true] {
        let found = replayed(batches.clone(), verify).await.unwrap_err();
        assert_eq!(found.found, "step_succeeded resolve_host (attempt 1)");
    }
}

#[tokio::test]
async fn an_empty_journal_tells_nothing() {
    let journal = MemoryJournal::new();
    assert!(journal.streams().await.unwrap().is_empty());
    assert_eq!(replay(&journal, true).await.unwrap(), Summary::default());
}
