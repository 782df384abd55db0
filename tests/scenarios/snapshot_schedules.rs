//! Snapshots by a VSI's `snapshotPolicy`, while a daemon serves.

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::Value;
use vsiflow_tests::{SIMULATED_IMAGE, Vsi, Vsiflow, until};

fn server(name: &str, policy: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  snapshotPolicy: {policy}\n  guest: {{type: cloudInit, \
         userData: \"#cloud-config\"}}\n"
    )
}

/// A schedule that is due once a day, the first time soon.
pub(super) fn soon() -> String {
    let due = (Timestamp::now() + 90.seconds()).to_zoned(TimeZone::UTC);
    format!("{} {} * * *", due.minute(), due.hour())
}

/// Gives both servers a schedule that is due soon, waits until the daemon has seen it, and returns
/// when it is due.
fn begin(vsiflow: &Vsiflow) -> Value {
    loop {
        let policy = format!("{{schedule: \"{}\", keep: 2}}", soon());
        let protected = Vsi::named("safe").with(&format!("snapshotPolicy: {policy}"));
        let documents = format!("{protected}{}", server("web", &policy));
        vsiflow.apply(documents, &["--wait"]).exits(0);
        until("the schedules begin", 60, || {
            let begun = ["web", "safe"].map(|name| current(vsiflow, name).1);
            (!begun.contains(&"NotBegun".to_owned())).then_some(())
        });
        let next = |name: &str| {
            let vsi = vsiflow.vsi(name);
            vsi["status"]["snapshots"]["nextScheduleTime"].clone()
        };
        let (web, safe) = (next("web"), next("safe"));
        let due: Timestamp = web.as_str().unwrap().parse().unwrap();
        // On a slow machine the schedule may be due only tomorrow.
        if web == safe && due < Timestamp::now() + 180.seconds() {
            return web;
        }
    }
}

fn current(vsiflow: &Vsiflow, name: &str) -> (String, String, String) {
    let vsi = vsiflow.vsi(name);
    let conditions = vsi["status"]["conditions"].as_array().unwrap();
    let mut conditions = conditions.iter();
    let found = conditions.find(|one| one["type"] == "SnapshotsCurrent");
    let text = |key: &str| {
        found
            .map_or("", |one| one[key].as_str().unwrap())
            .to_owned()
    };
    (text("status"), text("reason"), text("message"))
}

fn snapshots(vsiflow: &Vsiflow) -> Vec<Value> {
    let words = ["get", "snapshots", "-A", "--deleted", "-o", "json"];
    let list = vsiflow.run(&words).exits(0).json();
    list["items"].as_array().unwrap().clone()
}

#[test]
fn what_is_due_is_taken_once_although_the_daemon_is_killed_and_what_cannot_be_taken_is_said() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    let later = "{schedule: \"@yearly\", keep: 2}";
    let protected = Vsi::named("safe").with(&format!("snapshotPolicy: {later}"));
    let documents = format!("{protected}{}", server("web", later));
    vsiflow.apply(documents, &["--wait"]).exits(0);
    let next = begin(&vsiflow);
    daemon.kill();

    let restarted = vsiflow.serve(&[]);
    until("the snapshot", 180, || {
        (current(&vsiflow, "web").1 == "Taken").then_some(())
    });
    until("the guest that runs is refused", 60, || {
        (current(&vsiflow, "safe").1 == "VSI0222").then_some(())
    });
    let (status, _, message) = current(&vsiflow, "safe");
    assert_eq!(status, "False");
    assert!(message.contains("copied while it is off"), "{message}");
    restarted.kill();

    let _daemon = vsiflow.serve(&[]);
    let all = snapshots(&vsiflow);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(all[0]["status"]["phase"], "Ready");
    assert_eq!(all[0]["status"]["scheduledTime"], next);
    let name = all[0]["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("web-20"), "{name}");
    vsiflow
        .run(&["describe", "web"])
        .exits(0)
        .says("SnapshotsCurrent")
        .says("Snapshots:")
        .says("0 missed");
    // Neither prevents other commands.
    assert_eq!(vsiflow.phase("web"), "Running");
    assert_eq!(vsiflow.phase("safe"), "Running");
    vsiflow.run(&["delete", "web", "safe", "--wait"]).exits(0);
    vsiflow
        .run(&["snapshot", "delete", name, "--wait"])
        .exits(0);
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_policy_is_recorded_without_touching_the_guest_and_a_wrong_one_is_refused() {
    let vsiflow = Vsiflow::simulated();
    let without = server("web", "{schedule: \"@daily\", keep: 2}");
    let without = without.replace("  snapshotPolicy: {schedule: \"@daily\", keep: 2}\n", "");
    vsiflow.apply(&without, &[]).exits(0);
    let boots = vsiflow.sim().domain("default/web")["live"]["started"].clone();
    vsiflow
        .apply(server("web", "{schedule: \"@daily\", keep: 2}"), &[])
        .exits(0)
        .says("vsi/web configured");
    let vsi = vsiflow.vsi("web");
    assert_eq!(vsi["spec"]["snapshotPolicy"]["schedule"], "@daily");
    assert_eq!(current(&vsiflow, "web").1, "NotBegun");
    assert_eq!(
        vsiflow.sim().domain("default/web")["live"]["started"],
        boots
    );
    for (policy, said) in [
        ("{schedule: \"* * * * *\", keep: 2}", "15 minutes"),
        ("{schedule: \"0 3 * * * Europe/Berlin\", keep: 2}", "UTC"),
        ("{schedule: \"0 0 30 2 *\", keep: 2}", "never due"),
        ("{schedule: \"@daily\", keep: 0}", "between 1 and 100"),
        ("{schedule: \"@daily\"}", "keep"),
        ("{schedul: \"@daily\", keep: 2}", "schedule"),
    ] {
        let refused = vsiflow.apply(server("web", policy), &[]);
        refused.exits(2).says(said).says("snapshotPolicy");
    }
    vsiflow.apply(&without, &[]).exits(0);
    let later = vsiflow.vsi("web");
    assert!(later["status"]["snapshots"].is_null(), "{later}");
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
}
