//! Scheduled snapshots of a running guest on a real host.

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde_json::Value;
use vsiflow_tests::{Lab, Vsiflow, lab::Deleted, until};

const NAME: &str = "t-due";

fn server(image: &str, policy: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {NAME}}}\nspec:\n  \
         imageURL: {image}\n  targetSelector: {{matchLabels: {{config: lab}}}}\n  \
         machine: {{arch: s390x, cpus: 1, memory: 512Mi}}\n{policy}  guest:\n    type: cloudInit\n    \
         userData: |\n      #cloud-config\n      workload: lab\n      env: lab\n  \
         ready: {{within: 10m, all: [{{console: \"HPL10001I\"}}]}}\n"
    )
}

fn current(vsiflow: &Vsiflow) -> String {
    let vsi = vsiflow.vsi(NAME);
    let conditions = vsi["status"]["conditions"].as_array().unwrap();
    let mut all = conditions.iter();
    let found = all.find(|one| one["type"] == "SnapshotsCurrent");
    found
        .map_or("", |one| one["reason"].as_str().unwrap())
        .to_owned()
}

fn snapshots(vsiflow: &Vsiflow) -> Vec<Value> {
    let list = vsiflow.run(&["get", "snapshots", "-o", "json"]).exits(0);
    list.json()["items"].as_array().unwrap().clone()
}

/// Gives the server a schedule that is due soon, and waits until the daemon has seen it.
fn begin(vsiflow: &Vsiflow, documents: impl Fn(&str) -> String) {
    loop {
        let due = (Timestamp::now() + 90.seconds()).to_zoned(TimeZone::UTC);
        let policy = format!(
            "  snapshotPolicy: {{schedule: \"{} {} * * *\", keep: 1}}\n",
            due.minute(),
            due.hour()
        );
        vsiflow.apply(documents(&policy), &["--wait"]).exits(0);
        until("the schedule begins", 60, || {
            (current(vsiflow) != "NotBegun").then_some(())
        });
        let next = vsiflow.vsi(NAME)["status"]["snapshots"]["nextScheduleTime"].clone();
        let next: Timestamp = next.as_str().unwrap().parse().unwrap();
        if next < Timestamp::now() + 180.seconds() {
            return;
        }
    }
}

#[test]
fn lab_a_guest_that_runs_is_copied_when_it_is_due_and_the_one_before_goes_once_that_is_whole() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-due.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, NAME);
    let documents = |policy: &str| format!("{}{}", lab.host(), server(&image.url(), policy));
    let _daemon = vsiflow.serve(&[]);
    vsiflow.apply(documents(""), &["--wait"]).exits(0);
    let uid = lab.domains(&format!("default/{NAME}")).remove(0);
    let disks = || lab.virsh(&["domblklist", &uid]);
    let before = disks();
    vsiflow
        .run(&["snapshot", "create", NAME, "t-due-mine", "--wait"])
        .exits(0);
    let mut names: Vec<String> = Vec::new();
    // The second snapshot is the first one of another schedule.
    for _ in 0..2 {
        begin(&vsiflow, documents);
        until("a snapshot that is due", 300, || {
            let all = snapshots(&vsiflow);
            let due = |one: &&Value| !one["status"]["scheduledTime"].is_null();
            let found: Vec<_> = all.iter().filter(due).collect();
            let [one] = found.as_slice() else { return None };
            let name = one["metadata"]["name"].as_str()?.to_owned();
            let is_new = one["status"]["phase"] == "Ready" && !names.contains(&name);
            is_new.then(|| names.push(name))
        });
        assert_eq!(lab.virsh(&["domstate", &uid]).trim(), "running");
        assert_eq!(disks(), before, "the guest writes into its own disk again");
    }
    let all = snapshots(&vsiflow);
    for one in &all {
        assert_eq!(lab.layers_of(one), [""; 0]);
    }
    let there = lab.volumes("images");
    for one in &all {
        let copy = one["status"]["disks"][0]["copy"].as_str().unwrap();
        assert!(there.iter().any(|name| copy.ends_with(name)), "{copy}");
    }
    assert_eq!(all.len(), 2, "that of the schedule, and mine: {all:?}");
    let listed_names = all
        .iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap());
    for name in listed_names {
        vsiflow
            .run(&["snapshot", "delete", name, "--wait"])
            .exits(0);
    }
    vsiflow.run(&["delete", NAME, "--wait"]).exits(0);
}
