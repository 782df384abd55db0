//! What `kubectl wait`, kstatus (Flux and Helm 4) and Argo CD conclude from what the operator writes.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, condition_of};
use crate::{APPROVE, sample::uid};

const SERVERS: &str = "virtualservers";
const POOLS: &str = "virtualserverpools";
const LONG: Duration = Duration::from_secs(300);
const IMAGE: &str = "http://images.lab.test:8080/debian-12.qcow2";

/// `kubectl wait --for=condition=NAME`, as kubectl compares generations.
fn is_waited_for(object: &Value, name: &str) -> bool {
    let condition = condition_of(Some(object.clone()), name);
    let observed = condition["observedGeneration"].as_i64();
    let observed = observed.or(object["status"]["observedGeneration"].as_i64());
    let generation = object["metadata"]["generation"].as_i64().unwrap();
    condition["status"] == "True" && observed.is_none_or(|observed| observed >= generation)
}

/// The status that kstatus computes for a custom resource.
fn kstatus(object: &Value) -> &'static str {
    let is_true = |name| condition_of(Some(object.clone()), name)["status"] == "True";
    let observed = &object["status"]["observedGeneration"];
    let ready = condition_of(Some(object.clone()), "Ready");
    if *observed != object["metadata"]["generation"] || is_true("Reconciling") {
        "InProgress"
    } else if is_true("Stalled") {
        "Failed"
    } else if ready.is_null() || ready["status"] == "True" {
        "Current"
    } else {
        "InProgress"
    }
}

fn server(rig: &Rig, spec: Value) {
    let mut all = json!({
        "imageURL": IMAGE, "storagePool": "images",
        "machine": {"arch": "x86_64", "cpus": 1, "memory": "512Mi"},
        "guest": {"type": "none"},
    });
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    rig.server
        .apply(SERVERS, "run", uid(1), json!({"spec": all}));
}

fn object(rig: &Rig) -> Value {
    rig.server.get(SERVERS, "run").unwrap()
}

async fn until_as_desired(rig: &Rig) {
    rig.until("it is as desired", || {
        is_waited_for(&object(rig), "AsDesired")
    })
    .await;
}

/// The messages of Warning Events of the object.
fn warnings(rig: &Rig) -> Vec<String> {
    let events = rig.server.all("events").into_iter();
    let warnings = events.filter(|event| event["type"] == "Warning");
    warnings
        .map(|event| format!("{} {}", event["reason"], event["message"]))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_refused_change_never_looks_like_success() {
    let rig = Rig::new().await;
    server(&rig, json!({}));
    until_as_desired(&rig).await;
    assert_eq!(kstatus(&object(&rig)), "Current");
    let recorded = object(&rig)["status"].clone();
    let quota = json!({"spec": {"hard": {"cpus": 1}}});
    rig.server
        .apply("virtualserverquotas", "team", uid(7), quota);
    rig.until("the quota holds", || {
        condition_of(rig.server.get("virtualserverquotas", "team"), "Ready")["status"] == "True"
    })
    .await;
    let refused = [
        (json!({"storagePool": "other"}), "VSI0701"),
        (json!({"imageURL": "file:/etc/passwd"}), "VSI0611"),
        (json!({"machine": {"arch": "x86_64", "cpus": 7}}), "VSI0738"),
    ];
    for (spec, code) in refused {
        let before = warnings(&rig).len();
        server(&rig, spec);
        let generation = object(&rig)["metadata"]["generation"].clone();
        rig.until("it is seen", || {
            let now = object(&rig);
            assert!(!is_waited_for(&now, "Ready"), "{now:#}");
            assert!(!is_waited_for(&now, "AsDesired"), "{now:#}");
            assert_ne!(kstatus(&now), "Current", "{now:#}");
            now["status"]["observedGeneration"] == generation
        })
        .await;
        rig.settle().await;
        let now = object(&rig);
        let stalled = condition_of(Some(now.clone()), "Stalled");
        assert_eq!(kstatus(&now), "Failed");
        assert!(
            stalled["reason"].as_str().unwrap().starts_with(code),
            "{stalled}"
        );
        // The server itself is as before, and so is what columns show.
        let ready = condition_of(Some(now.clone()), "Ready");
        assert_eq!(
            (&ready["status"], &ready["observedGeneration"]),
            (&json!("True"), &json!(1))
        );
        for field in ["image", "storagePool", "guest", "recordedGeneration"] {
            assert_eq!(now["status"][field], recorded[field], "{field}");
        }
        let events = warnings(&rig);
        assert!(
            events.len() > before && events.iter().any(|one| one.contains(code)),
            "{events:?}"
        );
    }
    server(&rig, json!({}));
    until_as_desired(&rig).await;
    assert_eq!((kstatus(&object(&rig)), rig.runs()), ("Current", 1));
}

#[tokio::test(start_paused = true)]
async fn each_refused_generation_has_an_event_and_a_restart_has_none() {
    let mut rig = Rig::new().await;
    server(&rig, json!({}));
    until_as_desired(&rig).await;
    for cpus in [2, 3] {
        let spec = json!({"storagePool": "other", "machine": {"arch": "x86_64", "cpus": cpus}});
        server(&rig, spec);
        rig.settle().await;
    }
    let refusals = |operator: &Rig| {
        let warnings = warnings(operator);
        warnings
            .iter()
            .filter(|one| one.contains("RefusedVSI0701"))
            .count()
    };
    assert_eq!(refusals(&rig), 2);
    rig.restart().await;
    tokio::time::sleep(LONG).await;
    assert_eq!(refusals(&rig), 2);
    // Kinds that are no VSI have Events, too.
    let broken = json!({"spec": {"size": "many", "targetSelector": {"matchLabels": {"a": "b"}}}});
    rig.server
        .apply("onprem-datadisks", "data", uid(8), broken.clone());
    rig.server
        .apply("onprem-networkrefs", "net", uid(9), broken);
    rig.settle().await;
    let of = |kind: &str| {
        let events = rig.server.all("events").into_iter();
        let mut events = events.filter(|event| event["type"] == "Warning");
        events.any(|event| {
            event["involvedObject"]["kind"]
                .as_str()
                .unwrap()
                .ends_with(kind)
        })
    };
    assert!(
        of("DataDisk"),
        "{:#?}",
        rig.server.get("onprem-datadisks", "data")
    );
    assert!(
        of("NetworkRef"),
        "{:#?}",
        rig.server.get("onprem-networkrefs", "net")
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_off_or_suspended_as_desired_says_so() {
    let rig = Rig::new().await;
    for power in ["Stopped", "Running", "Paused", "Stopped"] {
        server(&rig, json!({"powerState": power}));
        until_as_desired(&rig).await;
        let now = object(&rig);
        assert_eq!(now["status"]["phase"], power);
        assert!(condition_of(Some(now.clone()), "Stalled").is_null());
        assert!(condition_of(Some(now.clone()), "Reconciling").is_null());
    }
    rig.start_by_command("run").await;
    rig.until("it is not as desired", || {
        let now = condition_of(Some(object(&rig)), "AsDesired");
        now["status"] == "False" && now["reason"] == "Running"
    })
    .await;
}

/// Until a change is in effect, nothing says that it is.
#[tokio::test(start_paused = true)]
async fn a_change_is_in_effect_only_when_its_run_has_ended() {
    let rig = Rig::new().await;
    server(&rig, json!({}));
    until_as_desired(&rig).await;
    for cpus in [2, 3, 4] {
        let runs = rig.runs();
        server(
            &rig,
            json!({"machine": {"arch": "x86_64", "cpus": cpus, "memory": "512Mi"}}),
        );
        rig.until("it is in effect", || {
            let now = object(&rig);
            let is_said = is_waited_for(&now, "Ready") || is_waited_for(&now, "AsDesired");
            let is_done = rig.runs() == runs + 1 && rig.is_idle();
            assert!(!is_said || is_done, "{now:#}");
            is_waited_for(&now, "AsDesired") && kstatus(&now) == "Current"
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_that_waits_for_approval_is_under_way() {
    let rig = Rig::new().await;
    server(&rig, json!({"updatePolicy": "Manual"}));
    until_as_desired(&rig).await;
    let spec = json!({"updatePolicy": "Manual", "machine": {"arch": "x86_64", "cpus": 2}});
    server(&rig, spec);
    rig.until("it waits", || {
        condition_of(Some(object(&rig)), "Reconciling")["reason"] == "AwaitingApproval"
    })
    .await;
    rig.settle().await;
    let now = object(&rig);
    assert!(
        !is_waited_for(&now, "Ready") && kstatus(&now) == "InProgress",
        "{now:#}"
    );
    let id = now["status"]["proposal"]["id"].clone();
    rig.server.relabel(
        SERVERS,
        "run",
        json!({"metadata": {"annotations": {APPROVE: id}}}),
    );
    until_as_desired(&rig).await;
}

fn argo_pool(rig: &Rig, annotations: Value, spec: Value) {
    let mut all = json!({"imageURL": IMAGE, "guest": {"type": "none"}});
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    let pool = json!({
        "metadata": {
            "labels": {"argocd.argoproj.io/instance": "my-app"},
            "annotations": {"argocd.argoproj.io/tracking-id": "my-app:vsiflow.io/VirtualServerPool:t/argo"},
        },
        "spec": {"replicas": 2, "template": {
            "metadata": {
                "labels": {"app": "web", "app.kubernetes.io/instance": "my-app"},
                "annotations": annotations,
            },
            "spec": all,
        }},
    });
    rig.server.apply(POOLS, "argo", uid(1), pool);
}

fn pool(rig: &Rig) -> Value {
    rig.server.get(POOLS, "argo").unwrap()
}

async fn until_available(rig: &Rig) {
    rig.until("the pool is as desired", || {
        is_waited_for(&pool(rig), "AsDesired") && kstatus(&pool(rig)) == "Current"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn argo_cd_does_not_take_members_for_its_own() {
    let rig = Rig::new().await;
    argo_pool(
        &rig,
        json!({"argocd.argoproj.io/sync-wave": "3"}),
        json!({}),
    );
    until_available(&rig).await;
    let is_right = |name: &str, wave: &str| {
        let meta = rig.server.get(SERVERS, name).unwrap()["metadata"].take();
        let annotations = &meta["annotations"];
        assert_eq!(meta["labels"]["app"], "web");
        annotations["argocd.argoproj.io/sync-wave"] == wave
            && annotations["argocd.argoproj.io/sync-options"] == "Prune=false"
            && annotations["argocd.argoproj.io/compare-options"] == "IgnoreExtraneous"
            && !meta["labels"].to_string().contains("my-app")
            && !annotations.to_string().contains("my-app")
    };
    assert!(is_right("argo-0", "3") && is_right("argo-1", "3"));
    // An earlier version copied the label.
    let label = json!({"metadata": {"labels": {"app.kubernetes.io/instance": "my-app"}}});
    rig.server.relabel(SERVERS, "argo-1", label);
    argo_pool(
        &rig,
        json!({"argocd.argoproj.io/sync-wave": "4"}),
        json!({}),
    );
    rig.until("they are corrected", || {
        is_right("argo-0", "4") && is_right("argo-1", "4")
    })
    .await;
    until_available(&rig).await;
    assert_eq!(rig.runs(), 2, "no guest was touched");
}

#[tokio::test(start_paused = true)]
async fn what_leaves_a_template_leaves_its_members_and_what_others_added_stays() {
    let rig = Rig::new().await;
    argo_pool(&rig, json!({"team": "red", "wave": "3"}), json!({}));
    until_available(&rig).await;
    let added = json!({"metadata": {"labels": {"cost": "7"}, "annotations": {"seen": "yes"}}});
    rig.server.relabel(SERVERS, "argo-0", added);
    let marks = || {
        let meta = rig.server.get(SERVERS, "argo-0").unwrap()["metadata"].take();
        (meta["labels"].clone(), meta["annotations"].clone())
    };

    // A refused template takes nothing away.
    argo_pool(&rig, json!({"not a key": "x"}), json!({}));
    rig.until("it is refused", || kstatus(&pool(&rig)) == "Failed")
        .await;
    assert_eq!(marks().1["team"], "red");

    let mut without = pool(&rig);
    let metadata = &mut without["spec"]["template"]["metadata"];
    metadata["annotations"] = json!({"wave": "3", "team": null, "not a key": null});
    metadata["labels"] = json!({"tier": "front", "app": null});
    rig.server.apply(POOLS, "argo", uid(1), without);
    rig.until("the members have what the template has", || {
        let (labels, annotations) = marks();
        labels["tier"] == "front"
            && labels.get("app").is_none()
            && annotations.get("team").is_none()
    })
    .await;
    let (labels, annotations) = marks();
    assert_eq!(labels["cost"], "7");
    assert_eq!(annotations["seen"], "yes");
    assert_eq!(annotations["wave"], "3");
    until_available(&rig).await;
    assert_eq!(rig.runs(), 2, "no guest was touched");
}

#[tokio::test(start_paused = true)]
async fn a_refused_template_is_not_taken_for_available() {
    let rig = Rig::new().await;
    argo_pool(&rig, json!({}), json!({}));
    until_available(&rig).await;
    argo_pool(&rig, json!({"not a key": "x"}), json!({}));
    rig.until("it is refused", || kstatus(&pool(&rig)) == "Failed")
        .await;
    let accepted = condition_of(Some(pool(&rig)), "Accepted");
    let message = accepted["message"].as_str().unwrap();
    assert!(message.contains("metadata.annotations"), "{message}");
    argo_pool(
        &rig,
        json!({"not a key": null}),
        json!({"imageURL": "file:/etc/passwd"}),
    );
    rig.until("it is seen", || {
        let now = pool(&rig);
        assert!(
            !is_waited_for(&now, "Available") && kstatus(&now) != "Current",
            "{now:#}"
        );
        kstatus(&now) == "Failed"
    })
    .await;
    assert_eq!(
        condition_of(Some(pool(&rig)), "Available")["status"],
        "True"
    );
    let member = rig.server.get(SERVERS, "argo-1").unwrap();
    let member = (
        &member["spec"]["imageURL"],
        &member["metadata"]["annotations"]["not a key"],
    );
    assert_eq!(
        member,
        (&json!(IMAGE), &Value::Null),
        "a refused template is copied"
    );
    argo_pool(&rig, json!({}), json!({}));
    until_available(&rig).await;
}
