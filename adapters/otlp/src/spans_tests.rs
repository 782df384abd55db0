use proptest::prelude::*;
use vsiflow_workflows::fleet::HistoryError;

use super::*;

const RUN: &str = "01M82PKT8ZC3A212GQQBZDFN6G";

fn line(kind: &str, step: Option<&str>) -> HistoryLine {
    HistoryLine {
        offset: 41,
        entity: "vsi/5f67d68d-0383-451b-bb78-fa616c992ead".to_owned(),
        run: Some(RUN.to_owned()),
        workflow: Some("provision_vsi".to_owned()),
        step: step.map(str::to_owned),
        attempt: step.map(|_| 2),
        kind: kind.to_owned(),
        duration_ms: Some(300),
        ..HistoryLine::default()
    }
}

fn made(kind: &str, step: Option<&str>) -> Span {
    span(&line(kind, step), "vsi/web", 1_795_387_160_000).unwrap()
}

#[test]
fn a_run_is_the_trace_and_its_steps_are_spans_in_it() {
    let mut finished = line("run_finished", None);
    finished.outcome = Some("Succeeded".to_owned());
    let run = span(&finished, "vsi/web", 1_795_387_160_000).unwrap();
    let step = made("step_succeeded", Some("define_domain"));
    assert_eq!(run.trace, step.trace);
    assert_eq!(step.parent, Some(run.id));
    assert_eq!((run.parent, &run.status), (None, &Status::Ok));
    assert_eq!(run.began, 1_795_387_156_767, "when the ULID was made");
    assert_eq!(step.ended - step.began, 300);
    insta::assert_debug_snapshot!((run, step));
}

#[test]
fn the_same_event_makes_the_same_ids_and_another_attempt_others() {
    let one = made("step_failed", Some("define_domain"));
    assert_eq!(one, made("step_failed", Some("define_domain")));
    let other = made("step_failed", Some("start_domain"));
    assert_ne!(one.id, other.id);
    let mut again = line("step_failed", Some("define_domain"));
    again.attempt = Some(3);
    assert_ne!(span(&again, "", 1).unwrap().id, one.id);
}

#[test]
fn a_failure_is_an_error_with_its_code_and_a_bounded_text() {
    let mut failed = line("step_blocked", Some("define_domain"));
    failed.error = Some(HistoryError {
        code: "VSI0101".to_owned(),
        message: "x".repeat(100_000),
        ..HistoryError::default()
    });
    let span = span(&failed, "vsi/web", 5).unwrap();
    let Status::Error(why) = &span.status else {
        panic!("{span:?}")
    };
    assert!(
        why.starts_with("VSI0101: xxx") && why.len() == MAX_LEN,
        "{why}"
    );
    let code = ("error.type", AttributeValue::Text("VSI0101".to_owned()));
    assert!(span.attributes.contains(&code));
    assert_eq!(
        span.began, 0,
        "it began before 1970: nobody's clock is trusted"
    );
}

#[test]
fn what_ends_nothing_has_no_span() {
    for kind in [
        "run_started",
        "step_started",
        "intent",
        "desired",
        "missing",
        "",
    ] {
        assert_eq!(span(&line(kind, Some("a")), "", 1), None, "{kind}");
    }
    let mut nobodys = line("step_succeeded", Some("a"));
    for run in [
        None,
        Some("nonsense"),
        Some("00000000000000000000000000"),
        Some("ZZZZZZZZZZZZZZZZZZZZZZZZZZ"),
    ] {
        nobodys.run = run.map(str::to_owned);
        assert_eq!(span(&nobodys, "", 1), None, "{run:?}");
    }
}

proptest! {
    #[test]
    fn any_event_makes_a_bounded_span_or_none(
        texts in prop::collection::vec(".{0,2000}", 8), time in any::<u64>(), took in any::<Option<u64>>(),
        attempt in any::<Option<u32>>(), known in any::<bool>(),
    ) {
        let text = |at: usize| texts[at].clone();
        let line = HistoryLine {
            offset: time,
            entity: text(0),
            run: Some(if known { RUN.to_owned() } else { text(1) }),
            workflow: Some(text(2)),
            step: Some(text(3)),
            attempt,
            kind: if known { "step_failed".to_owned() } else { text(4) },
            duration_ms: took,
            error: Some(HistoryError { code: text(5), message: text(6), host: text(7), ..HistoryError::default() }),
            ..HistoryLine::default()
        };
        if let Some(span) = span(&line, &texts[0], time) {
            prop_assert!(span.began <= span.ended);
            prop_assert!(span.name.chars().count() <= MAX_LEN);
            prop_assert!(span.id != [0; 8] && span.trace != [0; 16]);
            for (_, value) in &span.attributes {
                if let AttributeValue::Text(shown) = value {
                    prop_assert!(shown.chars().count() <= MAX_LEN);
                }
            }
        }
    }
}
