//! A status that another process wrote is replaced by what is the case.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, condition_of};
use crate::sample::uid;

const VSIS: &str = "onprem-hpcrs";

/// The conditions of an object without their times.
fn conditions(object: &Value) -> Vec<(Value, Value, Value)> {
    let conditions = object["status"]["conditions"].as_array();
    let conditions = conditions.into_iter().flatten();
    let parts = conditions.map(|one| {
        let generation = one["observedGeneration"].clone();
        (one["type"].clone(), one["status"].clone(), generation)
    });
    parts.collect()
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_status_of_a_settled_object_is_written_again() {
    let rig = Rig::new().await;
    let network = json!({"metadata": {"labels": {"net": "a"}}, "spec": {"networkName": "default"}});
    rig.server
        .apply("onprem-networkrefs", "net", uid(9), network);
    rig.disk("data", 8);
    let selects = json!({
        "diskSelector": {"matchLabels": {"disk": "data"}},
        "networkSelector": {"matchLabels": {"net": "a"}},
    });
    rig.vsi_with("web", 1, selects);
    rig.until_ready("web").await;
    rig.settle().await;
    let before = |resource: &str, name: &str| rig.server.get(resource, name).unwrap();
    let objects = [
        (VSIS, "web"),
        ("onprem-datadisks", "data"),
        ("onprem-networkrefs", "net"),
    ];
    for (resource, name) in objects {
        let settled = before(resource, name);
        for status in [
            Value::Null,
            json!({}),
            json!({"phase": "Failed", "conditions": []}),
        ] {
            rig.server.overwrite_status(resource, name, status);
            rig.until("it is written again", || {
                conditions(&before(resource, name)) == conditions(&settled)
            })
            .await;
            assert_eq!(
                before(resource, name)["status"]["phase"],
                settled["status"]["phase"]
            );
        }
    }
    assert_eq!(rig.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_status_copies_from_the_earlier_one_is_what_was_reported() {
    let mut rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.settle().await;
    let settled = rig.status("web");
    assert!(settled["metadata"]["domainXML"].is_string(), "{settled}");
    let written_at = |at: &str| {
        let mut other = settled.clone();
        other["metadata"]["domainXML"] = "<domain/>".into();
        for condition in other["conditions"].as_array_mut().unwrap() {
            condition["lastTransitionTime"] = at.into();
        }
        other
    };
    let ahead = "2999-01-01T00:00:00Z";
    for at in ["2001-01-01T00:00:00Z", ahead] {
        rig.server.overwrite_status(VSIS, "web", written_at(at));
        rig.until("it is written again", || rig.status("web") == settled)
            .await;
    }
    // The next process does not know what was reported, and no transition is in the future.
    rig.server.overwrite_status(VSIS, "web", written_at(ahead));
    rig.restart().await;
    rig.until("nothing is ahead", || {
        !rig.status("web").to_string().contains(ahead)
    })
    .await;
    assert_eq!(rig.runs(), 1);
}

/// The last write of a process that has lost its Lease arrives after the writes of its successor.
#[tokio::test(start_paused = true)]
async fn a_late_write_of_an_old_leader_does_not_last() {
    let mut rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until("it is begun", || {
        rig.status("web")["phase"] == "Provisioning"
    })
    .await;
    let early = rig.status("web");
    rig.restart().await;
    rig.until_ready("web").await;
    rig.settle().await;
    rig.server.overwrite_status(VSIS, "web", early);
    rig.until_ready("web").await;
    assert_eq!(
        (rig.status("web")["phase"].as_str(), rig.runs()),
        (Some("Running"), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_process_that_overwrites_all_the_time_causes_few_writes() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.settle().await;
    let before = rig.server.requests(&["PATCH", "/status"]);
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        rig.server
            .overwrite_status(VSIS, "web", json!({"phase": "Failed"}));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let writes = rig.server.requests(&["PATCH", "/status"]) - before;
    assert!(writes <= 35, "{writes} writes in a minute");
    rig.until_ready("web").await;
    let ready = condition_of(rig.server.get(VSIS, "web"), "Ready");
    assert_eq!(ready["observedGeneration"], 1, "{ready}");
}
