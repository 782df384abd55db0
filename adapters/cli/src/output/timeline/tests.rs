use super::*;
use crate::output::times::Times;

const AT: &str = "2026-01-02T03:04:";

/// An event of a history: offset, second, kind, step and attempt, outcome or detail.
fn line(offset: u64, seconds: &str, kind: &str) -> HistoryLine {
    HistoryLine {
        offset,
        time: format!("{AT}{seconds}Z"),
        entity: "vsi/1".to_owned(),
        kind: kind.to_owned(),
        actor: "engine".to_owned(),
        ..HistoryLine::default()
    }
}

fn of_run(line: HistoryLine) -> HistoryLine {
    HistoryLine {
        run: Some("R1".to_owned()),
        workflow: Some("provision_vsi".to_owned()),
        ..line
    }
}

fn of_step(line: HistoryLine, step: &str, attempt: u32) -> HistoryLine {
    HistoryLine {
        step: Some(step.to_owned()),
        attempt: Some(attempt),
        ..of_run(line)
    }
}

fn trouble() -> HistoryError {
    HistoryError {
        code: "VSI0203".to_owned(),
        class: "recheck".to_owned(),
        message: "the pool has no room for the image".to_owned(),
        host: "big".to_owned(),
        object: "pool images".to_owned(),
        remedy: "make room, or name another pool".to_owned(),
    }
}

fn provision() -> Vec<HistoryLine> {
    let mut desired = line(0, "00.000", "desired");
    desired.detail = Some("generation 1".to_owned());
    (desired.actor, desired.reason) = ("unix:1000 (ann)".to_owned(), "a new shop".to_owned());
    let mut resolved = of_step(line(5, "00.500", "step_succeeded"), "resolve_host", 1);
    resolved.outcome = Some("AlreadyPresent".to_owned());
    let mut blocked = of_step(line(7, "02.000", "step_blocked"), "upload", 1);
    blocked.detail = Some("checked again in 1m00s".to_owned());
    blocked.error = Some(trouble());
    vec![
        desired,
        of_run(line(1, "00.000", "run_opened")),
        line(2, "00.000", "state_changed"),
        of_run(line(3, "00.000", "run_started")),
        of_step(line(4, "00.000", "step_started"), "resolve_host", 1),
        resolved,
        of_step(line(6, "00.500", "step_started"), "upload", 1),
        blocked,
    ]
}

fn ended() -> Vec<HistoryLine> {
    let mut uploaded = of_step(line(10, "08.000", "step_succeeded"), "upload", 2);
    uploaded.outcome = Some("Created".to_owned());
    let over = |kind| HistoryLine {
        outcome: Some("Succeeded".to_owned()),
        ..of_run(line(11, "08.000", kind))
    };
    let mut finished = over("run_finished");
    finished.duration_ms = Some(8_000);
    let mut all = provision();
    all.extend([
        of_step(line(8, "06.000", "timer_due"), "upload", 1),
        of_step(line(9, "06.000", "step_started"), "upload", 2),
        uploaded,
        finished,
        over("run_closed"),
    ]);
    all
}

fn shown(lines: &[HistoryLine], width: Option<usize>, bars: bool) -> String {
    let view = TimelineView {
        times: match width {
            Some(_) => Times::Relative,
            None => Times::Absolute,
        },
        now: format!("{AT}20Z").parse().unwrap(),
        width,
        bars,
        heads: true,
    };
    Timeline::of(lines).render(view)
}

#[test]
fn a_history_at_80_columns() {
    insta::assert_snapshot!(shown(&provision(), Some(80), true));
}

#[test]
fn a_history_at_160_columns() {
    insta::assert_snapshot!(shown(&ended(), Some(160), true));
}

#[test]
fn a_history_in_a_pipe() {
    insta::assert_snapshot!(shown(&provision(), None, false));
}

#[test]
fn a_step_that_came_through_is_one_line_however_often_it_was_tried() {
    let all = Timeline::of(&ended());
    let [_, run] = all.groups.as_slice() else {
        panic!("a request and a run: {all:?}")
    };
    let [_, upload] = run.steps.as_slice() else {
        panic!("two steps: {run:?}")
    };
    assert_eq!((upload.tries, upload.took_ms), (2, Some(7_500)));
    assert!(upload.failed && upload.trouble.is_none());
    assert_eq!(run.head.took_ms, Some(8_000));
    assert_eq!(run.head.why, "a new shop", "as the user gave it");
}

#[test]
fn while_the_next_attempt_runs_the_last_failure_is_still_shown() {
    let mut all = provision();
    all.push(of_step(line(9, "06.000", "step_started"), "upload", 2));
    let text = shown(&all, None, false);
    assert!(text.contains("VSI0203"), "{text}");
}

#[test]
fn filters_keep_the_head_of_what_they_let_through() {
    let matching = |filter: TimelineFilter| {
        let all = Timeline::of(&ended()).filtered(&filter);
        let groups = all.groups.iter();
        let entries = groups.flat_map(|group| std::iter::once(&group.head).chain(&group.steps));
        entries.map(|one| one.what.clone()).collect::<Vec<_>>()
    };
    let failed = TimelineFilter {
        failed: true,
        ..TimelineFilter::default()
    };
    assert_eq!(matching(failed), ["provision_vsi", "upload"]);
    let others = TimelineFilter {
        actor: Some("joe".to_owned()),
        ..TimelineFilter::default()
    };
    assert!(matching(others).is_empty());
    let late = TimelineFilter {
        since: Some(format!("{AT}05Z").parse().unwrap()),
        ..TimelineFilter::default()
    };
    assert_eq!(matching(late), ["provision_vsi", "upload"]);
}

#[test]
fn what_was_found_outside_of_runs_is_told_and_what_a_run_came_to_is_not() {
    let mut found = line(20, "30.000", "state_changed");
    found.detail = Some("Stopped".to_owned());
    found.reason = "somebody shut it down".to_owned();
    let mut lines = ended();
    lines.push(found);
    let text = shown(&lines, None, false);
    assert!(text.contains("found Stopped"), "{text}");
    assert_eq!(text.matches("found").count(), 1, "{text}");
}
