//! `host drain --move`: members of VSI pools are made on other hosts, and everything with data stays.

use std::collections::BTreeMap;

use serde_json::Value;
use vsiflow_tests::{SIMULATED_IMAGE, Vsiflow};

fn host(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  labels: {{fleet: blue, host: {name}}}\n\
         data:\n  HOSTNAME: sim:{name}\n---\n"
    )
}

fn hosts() -> String {
    host("a") + &host("b")
}

const EPHEMERAL: &str = "      bootDisk: {mode: ephemeral}\n";

/// A pool on both hosts. `own` has fields of the pool, `of` fields of its template, `spec` those of members.
fn pool(replicas: u32, own: &str, of: &str, spec: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n  replicas: {replicas}\n{own}  \
         template:\n{of}    spec:\n      imageURL: {SIMULATED_IMAGE}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: 512Mi}}\n      targetSelector: {{matchLabels: {{fleet: blue}}}}\n      \
         placement: {{spread: {{over: host}}}}\n{spec}---\n"
    )
}

fn server(name: &str, host: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  bootDisk: {{mode: ephemeral}}\n  \
         targetSelector: {{matchLabels: {{host: {host}}}}}\n---\n"
    )
}

fn places(vsiflow: &Vsiflow) -> BTreeMap<String, String> {
    let all = vsiflow.run(&["get", "vsi", "-o", "json"]).exits(0).json();
    let items = all["items"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    items
        .map(|vsi| (text(&vsi["metadata"]["name"]), text(&vsi["status"]["host"])))
        .collect()
}

fn on(vsiflow: &Vsiflow, host: &str) -> Vec<String> {
    let places = places(vsiflow).into_iter();
    let there = places.filter(|(_, place)| place == host);
    there.map(|(name, _)| name).collect()
}

fn events(vsiflow: &Vsiflow) -> usize {
    let events = vsiflow.run(&["events", "-o", "json"]).exits(0);
    events.stdout.lines().count()
}

/// The plan of a dry run for each VSI: whether it moves, to which host, and why.
fn planned(vsiflow: &Vsiflow, host: &str) -> BTreeMap<String, Value> {
    let words = ["host", "drain", host, "--move", "--dry-run", "-o", "json"];
    let planned = vsiflow.run(&words);
    let events = planned.json();
    let items = events["items"].as_array().unwrap().iter();
    let stays = items.clone().any(|one| one["status"]["moves"] == false);
    planned.exits(if stays { 4 } else { 0 });
    items
        .map(|one| {
            let name = one["metadata"]["name"].as_str().unwrap();
            (name.to_owned(), one["status"].clone())
        })
        .collect()
}

#[test]
fn members_without_data_are_made_on_another_host_and_everything_else_stays() {
    let vsiflow = Vsiflow::of_documents();
    let documents = hosts() + &pool(3, "", "", EPHEMERAL) + &server("alone", "a");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let before = on(&vsiflow, "sim:a");
    assert!(before.len() >= 2, "{before:?}");
    let recorded = events(&vsiflow);
    let plan = planned(&vsiflow, "sim:a");
    for (name, events) in &plan {
        let moves = name != "alone";
        assert_eq!(events["moves"], moves, "{name}: {events}");
        if moves {
            assert_eq!(events["to"], "sim:b");
            let lost = events["loses"][0].as_str().unwrap();
            assert!(lost.starts_with("boot disk images/"), "{lost}");
        }
    }
    assert_eq!(plan["alone"]["reason"], "it is not a member of a pool");
    assert_eq!(events(&vsiflow), recorded, "a dry run records nothing");
    vsiflow
        .run(&["host", "drain", "sim:a", "--move"])
        .exits(4)
        .says("VSI0811")
        .says("delete on sim:a and make elsewhere vsi/web-");
    assert_eq!(events(&vsiflow), recorded, "nobody agreed");

    vsiflow
        .run(&["host", "drain", "sim:a", "--move", "--yes", "--wait"])
        .exits(4)
        .says("it is not a member of a pool")
        .says("pool/web is Available");
    assert_eq!(on(&vsiflow, "sim:a"), ["alone"]);
    assert_eq!(on(&vsiflow, "sim:b").len(), 3);
    let moved = before.iter().find(|name| *name != "alone").unwrap();
    vsiflow
        .run(&["describe", moved])
        .exits(0)
        .says("chosen sim:b")
        .says("not sim:a: it is being drained");
    assert_eq!(vsiflow.sim_of("a").domains().len(), 1);
    // No member moves back, and new members are placed on either host.
    vsiflow.run(&["host", "uncordon", "sim:a"]).exits(0);
    assert_eq!(on(&vsiflow, "sim:a"), ["alone"]);
    vsiflow
        .run(&["scale", "pool/web", "--replicas", "5", "--wait"])
        .exits(0);
    assert!(on(&vsiflow, "sim:a").len() > 1);
}

#[test]
fn local_data_stays_where_it_is_unless_its_owner_permits_that_it_is_lost() {
    let vsiflow = Vsiflow::of_documents();
    let disks = |policy: &str| {
        format!(
            "  diskTemplates:\n  - metadata: {{name: data}}\n    spec: {{size: 1Gi, deletionPolicy: {policy}}}\n"
        )
    };
    let documents = |own: &str, of: &str, spec: &str| hosts() + &pool(2, own, of, spec);
    let reason = |of: &Vsiflow| {
        let (_, events) = planned(of, "sim:a").pop_first().unwrap();
        assert_eq!(events["moves"], events["to"].is_string(), "{events}");
        events["reason"].as_str().unwrap().to_owned()
    };
    // A boot disk that is not ephemeral prevents the move.
    vsiflow.apply(documents("", "", ""), &["--wait"]).exits(0);
    let member = on(&vsiflow, "sim:a").remove(0);
    assert!(reason(&vsiflow).contains("it is not ephemeral"));
    // A data disk prevents it too, although the boot disk is ephemeral.
    vsiflow.run(&["delete", "pool/web", "--wait"]).exits(0);
    let with_disks = |policy: &str, of: &str| documents(&disks(policy), of, EPHEMERAL);
    vsiflow
        .apply(with_disks("Delete", ""), &["--wait"])
        .exits(0);
    let before = vsiflow.vsi(&member)["metadata"]["uid"].clone();
    assert!(reason(&vsiflow).contains(&format!("data disk data-{member} is on the host")));
    vsiflow
        .run(&["host", "drain", "sim:a", "--move", "--yes", "--wait"])
        .exits(4)
        .says("the template is not evictable");
    assert_eq!(vsiflow.vsi(&member)["metadata"]["uid"], before);
    // The owner permits evictions. That change alone replaces no member.
    vsiflow
        .apply(with_disks("Delete", "    evictable: true\n"), &["--wait"])
        .exits(0)
        .says("pool/web configured");
    assert_eq!(vsiflow.vsi(&member)["metadata"]["uid"], before);
    let shown = vsiflow.run(&["get", "pool", "web", "-o", "json"]).exits(0);
    assert_eq!(shown.json()["spec"]["template"]["evictable"], true);
    assert!(!reason(&vsiflow).contains("evictable"));
    let disk = format!("data-{member}");
    let disk = vsiflow.run(&["get", "disk", &disk, "-o", "json"]).exits(0);
    let volume = disk.json()["status"]["volume"].as_str().unwrap().to_owned();
    let volume = volume.rsplit('/').next().unwrap().to_owned();
    assert!(vsiflow.sim_of("a").volumes().contains(&volume.as_str()));
    vsiflow
        .run(&["host", "drain", "sim:a", "--move", "--yes", "--wait"])
        .exits(0);
    assert!(on(&vsiflow, "sim:a").is_empty());
    let volumes = vsiflow.sim_of("a");
    assert!(
        !volumes.volumes().contains(&volume.as_str()),
        "the data disk was not deleted with its member"
    );
    let member_disk = format!("data-{member}");
    let member_disk = vsiflow
        .run(&["get", "disk", &member_disk, "-o", "json"])
        .exits(0)
        .json();
    assert_eq!(member_disk["status"]["host"], "sim:b");
}

#[test]
fn a_disk_that_is_retained_stays_whatever_the_template_permits() {
    let vsiflow = Vsiflow::of_documents();
    let own = "  diskTemplates:\n  - metadata: {name: data}\n    spec: {size: 1Gi}\n";
    let documents = hosts() + &pool(2, own, "    evictable: true\n", EPHEMERAL);
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let there = on(&vsiflow, "sim:a");
    vsiflow
        .run(&["host", "drain", "sim:a", "--move", "--yes", "--wait"])
        .exits(4)
        .says("its deletionPolicy is Retain");
    assert_eq!(on(&vsiflow, "sim:a"), there);
}

#[test]
fn a_disk_that_only_the_newest_template_retains_stays() {
    let vsiflow = Vsiflow::of_documents();
    let documents = |policy: &str, more: &str| {
        let own = format!(
            "  diskTemplates:\n  - metadata: {{name: data}}\n    spec: {{size: 1Gi, deletionPolicy: {policy}}}\n{more}"
        );
        hosts() + &pool(2, &own, "    evictable: true\n", EPHEMERAL)
    };
    vsiflow.apply(documents("Delete", ""), &["--wait"]).exits(0);
    let below = documents("Retain", "  strategy: {partition: 2}\n");
    vsiflow.apply(below, &["--wait"]).exits(0);
    let there = on(&vsiflow, "sim:a");
    vsiflow
        .run(&["host", "drain", "sim:a", "--move", "--yes", "--wait"])
        .exits(4)
        .says("its deletionPolicy is Retain");
    assert_eq!(on(&vsiflow, "sim:a"), there);
}

#[test]
fn members_whose_deletion_is_ordered_and_not_begun_stay_when_the_drain_is_taken_back() {
    let vsiflow = Vsiflow::of_documents();
    let own = "  diskTemplates:\n  - metadata: {name: data}\n    spec: {size: 1Gi, deletionPolicy: Delete}\n";
    let documents = hosts() + &pool(2, own, "    evictable: true\n", "");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let there = on(&vsiflow, "sim:a");
    // What undefined its domain before is no part of the deletion.
    vsiflow
        .run(&["rebuild", &there[0], "--in-place", "--yes", "--wait"])
        .exits(0);
    let (domains, volumes) = {
        let sim = vsiflow.sim_of("a");
        (
            format!("{:?}", sim.domains()),
            format!("{:?}", sim.volumes()),
        )
    };
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow.run(&["host", "drain", "sim:a", "--move", "--yes"]);
    let deleting = vsiflow.run(&["get", "vsi"]).exits(0);
    assert!(deleting.stdout.contains("Deleting"), "{}", deleting.stdout);
    vsiflow.run(&["host", "uncordon", "sim:a"]).exits(0);
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).exits(0);
    assert_eq!(on(&vsiflow, "sim:a"), there);
    let sim = vsiflow.sim_of("a");
    assert_eq!(format!("{:?}", sim.domains()), domains);
    assert_eq!(format!("{:?}", sim.volumes()), volumes);
    for member in &there {
        assert_eq!(vsiflow.phase(member), "Running");
        vsiflow.run(&["restart", member, "--wait"]).exits(0);
    }
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn where_no_other_host_fits_nothing_is_deleted_and_the_reason_is_told() {
    let vsiflow = Vsiflow::of_documents();
    let documents = hosts() + &pool(2, "", "", EPHEMERAL);
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    vsiflow.run(&["host", "cordon", "sim:b", "--reason", "firmware"]);
    let there = on(&vsiflow, "sim:a");
    for more in [&["--dry-run"][..], &["--yes", "--wait"]] {
        let words = [&["host", "drain", "sim:a", "--move"][..], more].concat();
        vsiflow
            .run(&words)
            .exits(4)
            .says("VSI0737: no host fits")
            .says("sim:b: it is cordoned: firmware");
    }
    assert_eq!(on(&vsiflow, "sim:a"), there);
    // Once there is room, the same command moves the members.
    vsiflow.run(&["host", "uncordon", "sim:b"]).exits(0);
    vsiflow
        .run(&["host", "drain", "sim:a", "--move", "--yes", "--wait"])
        .exits(0);
    assert!(on(&vsiflow, "sim:a").is_empty());
}

#[test]
fn what_cannot_be_moved_is_shut_down_where_that_is_asked_as_well() {
    let vsiflow = Vsiflow::of_documents();
    let documents = hosts() + &pool(2, "", "", EPHEMERAL) + &server("alone", "a");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    vsiflow
        .run(&["host", "drain", "sim:a", "--move", "--stop", "--yes"])
        .exits(0)
        .says("vsi/alone is Stopped")
        .says("pool/web is Available");
    assert_eq!(on(&vsiflow, "sim:a"), ["alone"]);
    vsiflow
        .run(&["host", "uncordon", "sim:a", "--start"])
        .exits(0)
        .says("vsi/alone is Running");
}

#[test]
fn an_eviction_that_has_not_begun_ends_when_the_host_is_uncordoned() {
    let vsiflow = Vsiflow::of_documents();
    let documents = hosts() + &pool(2, "", "", EPHEMERAL);
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let before = places(&vsiflow);
    let there = on(&vsiflow, "sim:b").remove(0);
    // The member on the other host is off, so a second one must not be interrupted.
    let stop = ["stop", &there, "--wait", "--grace-period", "1s"];
    vsiflow.run(&stop).exits(0);
    vsiflow
        .run(&["host", "drain", "sim:a", "--move", "--yes", "--wait"])
        .exits(4)
        .says("VSI0724")
        .says(&format!("vsi/{there}"));
    let pool = || {
        vsiflow
            .run(&["get", "pool", "web", "-o", "json"])
            .exits(0)
            .json()
    };
    let leaves = |of: &Value| {
        let members = of["status"]["members"].as_array().unwrap().iter();
        members.filter(|one| one["leaves"] == "sim:a").count()
    };
    assert_eq!(leaves(&pool()), 1);
    assert_eq!(places(&vsiflow), before, "nothing was deleted");
    vsiflow.run(&["host", "uncordon", "sim:a"]).exits(0);
    assert_eq!(leaves(&pool()), 0);
    vsiflow.run(&["start", &there, "--wait"]).exits(0);
    vsiflow.run(&["resume"]).exits(0);
    assert_eq!(places(&vsiflow), before);
}

#[test]
fn wrong_words_of_a_drain_are_refused() {
    let vsiflow = Vsiflow::of_documents();
    vsiflow
        .apply(&(hosts() + &server("alone", "a")), &["--wait"])
        .exits(0);
    vsiflow
        .run(&["host", "drain", "sim:a"])
        .exits(2)
        .says("--stop");
    vsiflow
        .run(&["host", "drain", "sim:a", "--stop", "--dry-run"])
        .exits(2);
    vsiflow
        .run(&["host", "drain", "nobody", "--move", "--yes"])
        .exits(3)
        .says("nobody");
    for wrong in ["evictable: yes please", "evictable: [true]"] {
        let of = format!("    {wrong}\n");
        vsiflow
            .apply(&(hosts() + &pool(1, "", &of, EPHEMERAL)), &[])
            .exits(2)
            .says("evictable");
    }
    // `evictable` is a field of templates. A VSI without a pool is never moved.
    let alone = server("alone", "a").replace("spec:\n", "spec:\n  evictable: true\n");
    vsiflow
        .apply(&(hosts() + &alone), &[])
        .exits(2)
        .says("evictable");
}

#[test]
fn the_pools_of_a_group_leave_a_host_through_a_daemon() {
    let vsiflow = Vsiflow::of_documents();
    let group = pool(2, "", "", EPHEMERAL)
        .replace("VirtualServerPool", "VirtualServerGroup")
        .replace("name: web", "name: grp");
    let (head, spec) = group.split_once("spec:\n").unwrap();
    let spec: String = spec
        .trim_end_matches("---\n")
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    let in_group =
        format!("{head}spec:\n  waves:\n  - name: all\n    pools:\n    - name: web\n{spec}---\n");
    let daemon = vsiflow.serve(&[]);
    vsiflow.apply(&(hosts() + &in_group), &["--wait"]).exits(0);
    assert_eq!(on(&vsiflow, "sim:a").len(), 1);
    let socket = vsiflow.state().join("vsiflow.sock");
    let drain = |body: Value| {
        let answer = vsiflow_tests::http::post(&socket, "/v1/hosts/sim:a/drain", &body);
        answer.is(200).json().clone()
    };
    let planned = drain(serde_json::json!({"move": true, "dryRun": true}));
    assert_eq!(planned["vsis"][0]["to"], "sim:b", "{planned}");
    assert_eq!(on(&vsiflow, "sim:a").len(), 1);
    let done = drain(serde_json::json!({"move": true, "reason": "firmware"}));
    let pool = done["entities"][0].as_str().unwrap();
    assert!(pool.starts_with("pool/"), "{done}");
    vsiflow
        .run(&[
            "wait",
            "group/grp",
            "--for=condition=Available",
            "--timeout",
            "60s",
        ])
        .exits(0);
    vsiflow_tests::until("the host to be empty", 60, || {
        (on(&vsiflow, "sim:b").len() == 2).then_some(())
    });
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_member_that_is_told_to_stop_stays_from_then_on() {
    let vsiflow = Vsiflow::of_documents();
    let documents = hosts() + &pool(2, "", "", EPHEMERAL);
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let name = on(&vsiflow, "sim:a").remove(0);
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow
        .run(&["stop", &name, "--timeout", "2s"])
        .says("VSI0016");
    let plan = planned(&vsiflow, "sim:a");
    assert_eq!(plan[&name]["moves"], false, "{plan:?}");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).says("vsi/");
    assert_eq!(vsiflow.phase(&name), "Stopped");
}
