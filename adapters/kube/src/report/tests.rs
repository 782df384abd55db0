use serde_json::json;
use vsiflow_workflows::fleet;

use super::*;
use crate::{
    sample::{vsi as sample, world},
    translate::translate,
};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn object(phase: Phase, description: &str) -> VsiObject {
    let ready = matches!(phase, Phase::Running | Phase::Degraded);
    VsiObject {
        api_version: "hpse.ibm.com/v1",
        kind: "HyperProtectContainerRuntimeOnPrem",
        metadata: fleet::Metadata {
            name: "web".to_owned(),
            namespace: "default".to_owned(),
            uid: "u".to_owned(),
            generation: 4,
            creation_timestamp: String::new(),
            labels: Default::default(),
            annotations: Default::default(),
        },
        spec: json!({}),
        status: fleet::VsiStatus {
            host_jumps: Vec::new(),
            status: phase.old_status(),
            description: description.to_owned(),
            phase,
            observed_generation: 4,
            current_step: None,
            progress: None,
            ip_addresses: vec!["192.168.122.7".to_owned()],
            run_id: Some("01".to_owned()),
            proposal: None,
            placement: None,
            host: "sim".to_owned(),
            host_last_seen: None,
            warnings: Vec::new(),
            failed_boots: 0,
            next_try: None,
            evidence: Vec::new(),
            snapshots: None,
            conditions: vec![fleet::Condition {
                name: "Ready".into(),
                status: if ready { "True" } else { "False" }.into(),
                reason: phase.to_string(),
                message: String::new(),
                last_transition_time: "2026-01-01T00:00:00Z".to_owned(),
            }],
        },
    }
}

fn findings() -> StatusFindings {
    StatusFindings {
        generation: 7,
        ..StatusFindings::default()
    }
}

fn wrong() -> StatusFindings {
    let translation = translate(
        &world(vec![sample("web", 1, json!({"machine": {"cpus": 0}}))]),
        &crate::sample::rules(None),
    );
    let problems = translation.problems.into_values().flatten().collect();
    StatusFindings {
        problems,
        ..findings()
    }
}

fn is<'a>(status: &'a VsiResourceStatus, name: &str) -> &'a ResourceCondition {
    status
        .conditions
        .iter()
        .find(|one| one.name == name)
        .unwrap()
}

#[test]
fn a_vsi_that_runs_says_what_the_old_status_said_and_more() {
    let object = object(Phase::Running, "VSI has started successfully.");
    let status = vsi(
        &findings(),
        Some(&object),
        &VsiResourceStatus::default(),
        at(1_767_225_660),
    );
    insta::assert_json_snapshot!(status);
}

#[test]
fn a_resource_that_cannot_be_read_is_blocked_and_says_why() {
    let status = vsi(&wrong(), None, &VsiResourceStatus::default(), at(0));
    insta::assert_json_snapshot!(status);
}

#[test]
fn a_vsi_that_runs_stays_ready_when_its_resource_is_changed_for_the_worse() {
    let object = object(Phase::Running, "up");
    let status = vsi(
        &wrong(),
        Some(&object),
        &VsiResourceStatus::default(),
        at(0),
    );
    assert_eq!(
        (status.status, is(&status, "Ready").status.as_str()),
        (1, "True")
    );
    assert_eq!(is(&status, "Accepted").status, "False");
    assert_eq!(status.description, "up");
}

#[test]
fn moments_change_only_with_the_status_of_a_condition() {
    let running = object(Phase::Running, "up");
    let first = vsi(
        &findings(),
        Some(&running),
        &VsiResourceStatus::default(),
        at(100),
    );
    let again = vsi(&findings(), Some(&running), &first, at(200));
    assert_eq!(first, again, "nothing is written without a change");
    let failed = object(Phase::Failed, "down");
    let worse = vsi(&findings(), Some(&failed), &again, at(300));
    let moment = |status: &VsiResourceStatus, name| is(status, name).last_transition_time.clone();
    assert_eq!(moment(&worse, "Accepted"), moment(&first, "Accepted"));
}

#[test]
fn kube_defect_27_a_status_holds_the_end_of_a_log_only() {
    let object = object(Phase::Running, &"ä console line\n".repeat(100_000));
    let status = vsi(
        &findings(),
        Some(&object),
        &VsiResourceStatus::default(),
        at(0),
    );
    let size = serde_json::to_vec(&status).unwrap().len();
    assert!(size < 40_000, "{size}");
}

#[test]
fn a_lost_journal_is_said_and_nothing_else_claimed() {
    let held = StatusFindings {
        hold: Some(Hold::JournalLost),
        ..findings()
    };
    let status = vsi(&held, None, &VsiResourceStatus::default(), at(0));
    assert_eq!(status.phase.as_deref(), Some("Blocked"));
    assert_eq!(is(&status, "JournalLost").status, "True");
    assert_eq!(is(&status, "Ready").status, "False");
}

#[test]
fn how_far_something_is_can_wait_and_a_phase_cannot() {
    let one = VsiResourceStatus {
        progress: Some("1/9".to_owned()),
        ..VsiResourceStatus::default()
    };
    let two = VsiResourceStatus {
        progress: Some("2/9".to_owned()),
        ..VsiResourceStatus::default()
    };
    let other = VsiResourceStatus {
        phase: Some("Failed".to_owned()),
        ..two.clone()
    };
    assert!(is_only_progress(&one, &two));
    assert!(!is_only_progress(&one, &other));
    assert!(!is_only_progress(&one, &one));
}

#[test]
fn the_text_of_many_long_problems_fits_a_condition() {
    let problem = Problem {
        code: vsiflow_workflows::spec::ProblemCode::WrongValue,
        document: vsiflow_workflows::spec::DocumentRef {
            index: 0,
            source: String::new(),
            line: None,
        },
        kind: String::new(),
        object: String::new(),
        path: vsiflow_workflows::spec::FieldPath::default(),
        message: "é".repeat(40_000),
        remedy: "shorten it".to_owned(),
    };
    let text = problems_text(&vec![problem; 60]);
    assert!(text.len() < 20 << 10, "{}", text.len());
    assert!(text.ends_with("more"), "{text}");
}
