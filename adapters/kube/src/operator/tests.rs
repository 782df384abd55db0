//! Tests of the whole operator against a fake API server that fails on demand, in virtual time.

mod defects;
mod draining;
mod foreign_hands;
mod games;
mod generic_tools;
mod groups;
mod networks;
mod oracle;
mod overwritten;
mod pending;
mod placement;
mod pools;
mod quotas;
mod removed;
mod rig;
mod shared;
mod slow_consoles;
mod tenants;

use std::{path::PathBuf, time::Duration};

use serde_json::json;

use self::rig::Rig;
use super::merged;
use crate::{LostJournal, fake::FakeFault, sample::uid};

fn fault(of: &'static [&'static str], code: u16, times: usize) -> FakeFault {
    FakeFault {
        of,
        code,
        times,
        done: false,
    }
}

#[tokio::test(start_paused = true)]
async fn a_resource_becomes_a_vsi_and_says_so() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    let status = rig.status("web");
    assert_eq!(
        (status["status"].as_i64(), status["phase"].as_str()),
        (Some(1), Some("Running"))
    );
    assert_eq!(rig.runs(), 1);
    assert!(rig.finalizers("web").contains(&crate::FINALIZER.to_owned()));
    let reasons = rig.reasons();
    assert_eq!(
        reasons.iter().filter(|one| *one == "Running").count(),
        1,
        "{reasons:?}"
    );
}

/// The panic ended the watch of all hosts, and the process with it.
#[tokio::test(start_paused = true)]
async fn a_panic_in_a_look_at_a_host_concerns_that_host() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.settle().await;
    rig.panic_at_hosts(true);
    let failed = rig.look().await;
    assert!(
        failed.len() == 1 && failed[0].contains("panic"),
        "{failed:?}"
    );
    rig.panic_at_hosts(false);
    assert_eq!(rig.look().await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_without_a_change() {
    let rig = Rig::new().await;
    for number in 1..=20 {
        rig.vsi(&format!("web-{number}"), number);
    }
    for number in 1..=20 {
        rig.until_ready(&format!("web-{number}")).await;
    }
    rig.settle().await;
    let patches = rig.server.requests(&["PATCH", "/status"]);
    // Pending, provisioning, booting, running, and the progress in between.
    assert!(
        patches <= 20 * 6,
        "{patches} status writes for 20 resources"
    );
    let all = rig.server.requests(&["PATCH"]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(rig.server.requests(&["PATCH"]), all);
    assert_eq!(rig.server.requests(&["PATCH", "/status"]), patches);
}

/// How many payloads of the journal are read when one of this many VSIs changes, and after a restart.
async fn read_with(others: u8) -> (usize, usize) {
    let mut rig = Rig::new().await;
    for number in 1..=others {
        rig.vsi(&format!("web-{number}"), number);
    }
    for number in 1..=others {
        rig.until_ready(&format!("web-{number}")).await;
    }
    rig.settle().await;
    let before = rig.read();
    rig.vsi_with("web-1", 1, json!({"machine": {"cpus": 3}}));
    rig.settle().await;
    assert_eq!(rig.runs(), usize::from(others) + 1);
    let changed = rig.read() - before;
    rig.restart().await;
    let settled = rig.read();
    rig.settle().await;
    (changed, rig.read() - settled)
}

/// Each apply read the desired state of all others, and every tick of a run the status of all.
#[tokio::test(start_paused = true)]
async fn what_is_read_for_one_vsi_does_not_grow_with_how_many_there_are() {
    let (few, many) = (read_with(8).await, read_with(64).await);
    // A pass requests the status of each once more.
    let more = 8 * (64 - 8);
    assert!(many.0 <= few.0 + more, "{few:?} {many:?}");
    assert!(many.1 <= few.1 * 64 / 8 * 3 / 2, "{few:?} {many:?}");
}

#[tokio::test(start_paused = true)]
async fn deleted_resources_go_once_their_host_confirmed() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    assert_eq!(rig.domains().await.len(), 1);
    rig.server.delete("onprem-hpcrs", "web");
    rig.until("it is gone", || {
        rig.server.get("onprem-hpcrs", "web").is_none()
    })
    .await;
    assert!(rig.domains().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_virtual_server_is_made_told_and_removed_like_a_vsi() {
    let rig = Rig::new().await;
    let spec = json!({"spec": {
        "imageURL": "http://images.lab.test:8080/debian.qcow2",
        "guest": {"type": "cloudInit", "userData": "#cloud-config\n"},
        "ready": {"all": [{"cloudInit": {}}, {"tcp": 22}]},
    }});
    rig.server.apply("virtualservers", "web", uid(1), spec);
    let phase = || {
        let object = rig.server.get("virtualservers", "web").unwrap_or_default();
        object["status"]["phase"].clone()
    };
    rig.until("it runs", || phase() == "Running").await;
    assert_eq!(rig.domains().await.len(), 1);
    rig.server.delete("virtualservers", "web");
    rig.until("it is gone", || {
        rig.server.get("virtualservers", "web").is_none()
    })
    .await;
    assert!(rig.domains().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_virtual_server_that_cannot_be_read_says_why_and_shows_no_user_data() {
    let rig = Rig::new().await;
    let spec = json!({"spec": {
        "imageURL": "http://images.lab.test:8080/debian.qcow2",
        "guest": {"type": "cloudInit", "userData": ["hush"]},
    }});
    rig.server.apply("virtualservers", "web", uid(1), spec);
    let status =
        || rig.server.get("virtualservers", "web").unwrap_or_default()["status"].to_string();
    rig.until("it says why", || status().contains("user-data is not text"))
        .await;
    assert!(!status().contains("hush"), "{}", status());
    assert!(rig.domains().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn kube_defect_05_a_dead_host_keeps_the_resource() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.host_reachable(false);
    rig.server.delete("onprem-hpcrs", "web");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let status = rig.status("web");
    assert_eq!(status["phase"], "Deleting", "{status}");
    assert!(
        status["description"].as_str().unwrap().contains("VSI01"),
        "{status}"
    );
    rig.host_reachable(true);
    rig.until("it is gone", || {
        rig.server.get("onprem-hpcrs", "web").is_none()
    })
    .await;
    assert!(rig.domains().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_annotation_lets_go_of_what_a_dead_host_keeps() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.host_reachable(false);
    rig.server.delete("onprem-hpcrs", "web");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let orphan = json!({"metadata": {"annotations": {crate::ORPHAN: "true"}}});
    rig.server.apply("onprem-hpcrs", "web", uid(1), orphan);
    rig.until("it is gone", || {
        rig.server.get("onprem-hpcrs", "web").is_none()
    })
    .await;
    rig.host_reachable(true);
    assert_eq!(rig.domains().await.len(), 1, "the guest stays on the host");
}

#[tokio::test(start_paused = true)]
async fn a_retained_vsi_goes_and_its_guest_stays() {
    let rig = Rig::new().await;
    rig.vsi_with("web", 1, json!({"deletionPolicy": "Retain"}));
    rig.vsi("db", 2);
    rig.until_ready("web").await;
    rig.until_ready("db").await;
    // This change may never be applied.
    rig.vsi_with("db", 2, json!({"deletionPolicy": "Retain"}));
    for name in ["web", "db"] {
        rig.server.delete("onprem-hpcrs", name);
        rig.until("it is gone", || {
            rig.server.get("onprem-hpcrs", name).is_none()
        })
        .await;
    }
    assert_eq!(rig.domains().await.len(), 2, "the guests stay on the host");
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_was_made_again_waits_for_the_end_of_the_earlier_object() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.disk("data", 9);
    rig.until_ready("web").await;
    rig.settle().await;
    // Somebody removes the finalizers by force.
    rig.server.lose("onprem-hpcrs", "web");
    rig.server.lose("onprem-datadisks", "data");
    rig.vsi("web", 2);
    rig.disk("data", 10);
    let says = |status: &serde_json::Value| status.to_string().contains("VSI0726");
    let disk = |of: &Rig| of.server.get("onprem-datadisks", "data").unwrap()["status"].clone();
    rig.until("both are refused", || {
        says(&rig.status("web")) && says(&disk(&rig))
    })
    .await;
    assert_eq!((rig.domains().await.len(), rig.volumes().await), (1, 1));
    rig.delete_vsi(uid(1)).await;
    rig.until_ready("web").await;
    let domains = rig.domains().await;
    assert_eq!(domains, [uid(2).to_string()]);
}

#[tokio::test(start_paused = true)]
async fn lists_that_come_back_empty_or_forbidden_delete_nothing() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    for resource in ["onprem-hpcrs", "configmaps", "secrets", "onprem-datadisks"] {
        rig.server.list_nothing_of(resource);
    }
    rig.server.cut();
    tokio::time::sleep(Duration::from_secs(300)).await;
    rig.server.heal();
    rig.server.fail(fault(&["GET"], 403, 1_000));
    rig.server.cut();
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(rig.domains().await.len(), 1);
    rig.server.heal();
    rig.server.cut();
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!((rig.domains().await.len(), rig.runs()), (1, 1));
    assert_eq!(rig.status("web")["phase"], "Running");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_came_while_no_watch_lived_is_seen() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.server.fail(fault(&["GET"], 500, 7));
    rig.server.cut();
    rig.server.apply(
        "onprem-hpcrs",
        "web",
        uid(1),
        json!({"spec": {"powerState": "Stopped"}}),
    );
    rig.until("it is stopped", || rig.status("web")["phase"] == "Stopped")
        .await;
    assert_eq!(rig.status("web")["observedGeneration"], 2);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_of_a_write_is_overcome_without_a_second_run() {
    for code in [403, 409, 429, 500, 503] {
        let rig = Rig::new().await;
        rig.server.fail(fault(&["PATCH"], code, 3));
        rig.server.fail(fault(&["POST", "events"], code, 3));
        rig.vsi("web", 1);
        rig.until_ready("web").await;
        assert_eq!(rig.runs(), 1, "{code}");
        rig.server.fail(fault(&["PATCH"], code, 3));
        rig.server.delete("onprem-hpcrs", "web");
        rig.until("it is gone", || {
            rig.server.get("onprem-hpcrs", "web").is_none()
        })
        .await;
        assert_eq!(rig.runs(), 2, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_not_done_twice() {
    let rig = Rig::new().await;
    rig.server.fail(FakeFault {
        done: true,
        ..fault(&["PATCH"], 500, 2)
    });
    rig.server.fail(FakeFault {
        done: true,
        ..fault(&["POST", "events"], 500, 4)
    });
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.settle().await;
    let reasons = rig.reasons();
    assert_eq!(
        reasons.iter().filter(|one| *one == "Running").count(),
        1,
        "{reasons:?}"
    );
    assert_eq!(rig.runs(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_resource_that_vanishes_leaves_its_vsi_alone() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.server.lose("onprem-hpcrs", "web");
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((rig.domains().await.len(), rig.runs()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_restart_begins_nothing_anew() {
    let mut rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.settle().await;
    let (patches, events) = (rig.server.requests(&["PATCH"]), rig.reasons());
    rig.restart().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(rig.runs(), 1);
    assert_eq!(rig.server.requests(&["PATCH"]), patches);
    assert_eq!(rig.reasons(), events);
}

#[tokio::test(start_paused = true)]
async fn an_empty_journal_makes_nothing_anew_and_removes_nothing() {
    let mut rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.lose_journal().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    let status = rig.status("web");
    let conditions = status["conditions"].as_array().unwrap();
    assert!(
        conditions.iter().any(|one| one["type"] == "JournalLost"),
        "{status}"
    );
    assert_eq!((rig.domains().await.len(), rig.runs()), (1, 0));
    rig.server.delete("onprem-hpcrs", "web");
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(rig.server.get("onprem-hpcrs", "web").is_some());
    assert_eq!(rig.domains().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_journal_is_overcome_by_adopting_what_stands() {
    let mut rig = Rig::new().await;
    rig.disk("data", 9);
    let selects = json!({"diskSelector": {"matchLabels": {"disk": "data"}}});
    rig.vsi_with("web", 1, selects);
    rig.vsi("db", 2);
    rig.until_ready("web").await;
    rig.until_ready("db").await;
    let before = rig.guests().await;

    rig.if_lost = LostJournal::Adopt;
    rig.lose_journal().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    rig.until_ready("web").await;
    rig.until_ready("db").await;
    assert_eq!(rig.condition("web", "Accepted")["status"], "True");
    assert_eq!(rig.guests().await, before, "no guest was touched");
    assert_eq!(rig.runs(), 2, "each was adopted, and nothing followed");

    rig.server.delete("onprem-hpcrs", "db");
    rig.until("it is gone", || {
        rig.server.get("onprem-hpcrs", "db").is_none()
    })
    .await;
    assert_eq!(rig.domains().await.len(), 1);
}

/// The annotation and finalizer that a migration leaves on a resource.
fn adopt_what_stands(rig: &Rig) {
    let annotated = json!({"metadata": {"annotations": {crate::ADOPT: "true"}}});
    rig.server.apply("onprem-hpcrs", "web", uid(1), annotated);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_over_from_another_operator_is_adopted_and_not_made() {
    let mut rig = Rig::new().await;
    rig.disk("data", 9);
    let selects = json!({"diskSelector": {"matchLabels": {"disk": "data"}}});
    rig.vsi_with("web", 1, selects);
    rig.until_ready("web").await;
    let before = rig.guests().await;
    rig.unmark().await;
    adopt_what_stands(&rig);
    let annotated = json!({"metadata": {"annotations": {crate::ADOPT: "true"}}});
    rig.server
        .apply("onprem-datadisks", "data", uid(9), annotated);
    rig.lose_journal().await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    rig.until_ready("web").await;
    assert_eq!((rig.guests().await, rig.runs()), (before, 1));
    let disk = rig.server.get("onprem-datadisks", "data");
    let ready = rig::condition_of(disk, "Ready");
    assert_eq!(ready["status"], "True", "{ready}");
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_adopted_and_stands_nowhere_is_not_made() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    adopt_what_stands(&rig);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(rig.domains().await.is_empty());
    assert_ne!(rig.condition("web", "Accepted")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn kube_defect_01_a_disk_whose_resource_blinks_stays_attached() {
    let rig = Rig::new().await;
    rig.disk("data", 9);
    rig.vsi_with(
        "web",
        1,
        json!({"diskSelector": {"matchLabels": {"disk": "data"}}}),
    );
    rig.until_ready("web").await;
    rig.server.lose("onprem-datadisks", "data");
    tokio::time::sleep(Duration::from_secs(300)).await;
    let status = rig.status("web");
    assert_eq!(
        (status["phase"].as_str(), rig.runs()),
        (Some("Running"), 1),
        "{status}"
    );
    let accepted = rig.condition("web", "Accepted");
    assert_eq!(accepted["status"], "False", "{accepted}");
    rig.disk("data", 9);
    rig.until("it fits again", || {
        rig.condition("web", "Accepted")["status"] == "True"
    })
    .await;
    // Another resource with the same name is a different disk, and is not made beside this one.
    rig.server.lose("onprem-datadisks", "data");
    rig.disk("data", 10);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let disk = rig.server.get("onprem-datadisks", "data").unwrap();
    assert!(disk["status"].to_string().contains("VSI0726"), "{disk}");
    assert_eq!(rig.volumes().await, 1);
    assert_eq!(
        (rig.status("web")["phase"].as_str(), rig.runs()),
        (Some("Running"), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn kube_defect_08_a_disk_in_use_stays_and_says_by_whom() {
    let rig = Rig::new().await;
    rig.disk("data", 9);
    rig.vsi_with(
        "web",
        1,
        json!({"diskSelector": {"matchLabels": {"disk": "data"}}}),
    );
    rig.until_ready("web").await;
    rig.until("the disk has its finalizer", || {
        !rig.disk_finalizers("data").is_empty()
    })
    .await;
    rig.server.delete("onprem-datadisks", "data");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let disk = rig.server.get("onprem-datadisks", "data").unwrap();
    assert!(disk["status"].to_string().contains("used by web"), "{disk}");
    rig.server.delete("onprem-hpcrs", "web");
    rig.until("both are gone", || {
        rig.server.get("onprem-datadisks", "data").is_none()
            && rig.server.get("onprem-hpcrs", "web").is_none()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_took_the_name_of_one_in_use_is_not_in_use_itself() {
    let rig = Rig::new().await;
    rig.disk("data", 9);
    let selects = json!({"diskSelector": {"matchLabels": {"disk": "data"}}});
    rig.vsi_with("web", 1, selects);
    rig.until_ready("web").await;
    let orphan = json!({"metadata": {"annotations": {crate::ORPHAN: "true"}}});
    rig.server.apply("onprem-datadisks", "data", uid(9), orphan);
    rig.server.delete("onprem-datadisks", "data");
    let disk = |of: &Rig| of.server.get("onprem-datadisks", "data");
    rig.until("the disk is finalized", || disk(&rig).is_none())
        .await;
    rig.disk("data", 10);
    rig.until("another disk has its name", || {
        disk(&rig).is_some_and(|disk| disk["status"]["status"] == 1)
    })
    .await;
    rig.settle().await;
    rig.server.delete("onprem-datadisks", "data");
    rig.until("the disk is gone", || disk(&rig).is_none()).await;
    let phase = rig.status("web")["phase"].clone();
    assert_eq!((phase.as_str(), rig.runs()), (Some("Running"), 1));
}

#[tokio::test(start_paused = true)]
async fn kube_defect_14_many_are_made_at_once_and_none_lies_about_it() {
    let rig = Rig::new().await;
    for number in 1..=40 {
        rig.vsi(&format!("web-{number}"), number);
    }
    rig.until_ready("web-40").await;
    for number in 1..=40 {
        rig.until_ready(&format!("web-{number}")).await;
    }
    assert_eq!((rig.domains().await.len(), rig.runs()), (40, 40));
}

#[tokio::test(start_paused = true)]
async fn two_hundred_at_once_cost_requests_in_proportion() {
    const MANY: u8 = 200;
    let rig = Rig::new().await;
    for number in 1..=MANY {
        rig.vsi(&format!("web-{number}"), number);
    }
    for number in 1..=MANY {
        rig.until_ready(&format!("web-{number}")).await;
    }
    rig.settle().await;
    let many = usize::from(MANY);
    assert_eq!((rig.domains().await.len(), rig.runs()), (many, many));
    let (patches, events) = (
        rig.server.requests(&["PATCH"]),
        rig.server.requests(&["POST", "events"]),
    );
    // A finalizer, and a status for each phase and the progress in between; one Event per phase.
    assert!(patches <= many * 9, "{patches} patches");
    assert!(events <= many * 6, "{events} Events");
    // A list and a watch for each kind, and for ConfigMaps and Secrets.
    let watched = crate::kind::ResourceKind::ALL.len() + 2;
    assert!(
        rig.server.requests(&["GET"]) <= 2 * watched,
        "lists and watches are few"
    );
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_told_and_put_right_by_a_correction() {
    let rig = Rig::new().await;
    rig.vsi_with("web", 1, json!({"machine": {"cpus": 0}}));
    rig.until("it is refused", || rig.status("web")["phase"] == "Blocked")
        .await;
    assert_eq!(rig.status("web")["status"], 2);
    assert!(rig.finalizers("web").is_empty(), "nothing was made for it");
    rig.server.apply(
        "onprem-hpcrs",
        "web",
        uid(1),
        json!({"spec": {"machine": {"cpus": 1}}}),
    );
    rig.until_ready("web").await;
}

#[test]
fn files_of_the_list_that_do_not_exist_are_skipped_as_by_kubectl() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, context: &str| {
        let path = dir.path().join(name);
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: {context}\ncontexts: []\nclusters: []\nusers: []\n"
        );
        std::fs::write(&path, text).unwrap();
        path
    };
    let (first, second) = (file("first", "a"), file("second", "b"));
    let missing = dir.path().join("missing");
    let context = |paths: Vec<PathBuf>| {
        let read = merged(paths.into_iter()).unwrap();
        read.map(|config| config.current_context.unwrap())
    };
    let listed = vec![missing.clone(), PathBuf::new(), first, second];
    assert_eq!(context(listed), Some("a".to_owned()));
    assert_eq!(context(vec![missing]), None);
    std::fs::write(dir.path().join("broken"), "contexts: 3").unwrap();
    assert!(merged([dir.path().join("broken")].into_iter()).is_err());
}

#[test]
fn an_unreadable_kubeconfig_is_refused_without_showing_any_of_it() {
    for text in [
        "users:\n- name: u\n  user:\n    token: hunter2\n    x: [\n",
        "users:\n- name: u\n  user: hunter2\n",
        "hunter2\n",
    ] {
        let wrong = kube::config::Kubeconfig::from_yaml(text).unwrap_err();
        let said = format!("{}", super::ApiConnectError::of_config(&wrong));
        assert!(said.contains("(line "), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
