//! References of VSIs to other documents: chosen by labels, and never lost when a document is
//! missing.

use serde_json::{Value, json};
use vsiflow_tests::{DiskDocument, Vsi, Vsiflow};

fn running(vsi: &Vsi) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(vsi, &[]).exits(0);
    vsiflow
}

/// Runs `plan -f` with these documents and asserts its exit code; returns the first item.
fn plan(vsiflow: &Vsiflow, documents: impl ToString, code: i32) -> Value {
    let path = vsiflow.write("plan.yaml", &documents.to_string());
    let json = vsiflow.run(&["plan", "-f", path.to_str().unwrap(), "-o", "json"]);
    json.exits(code).json()["items"][0].clone()
}

/// What the condition says is missing; empty if nothing is.
fn unresolved(vsiflow: &Vsiflow) -> String {
    let conditions = vsiflow.vsi("web")["status"]["conditions"].clone();
    let mut conditions = conditions.as_array().unwrap().iter();
    let found = conditions.find(|one| one["type"] == "ReferencesResolved");
    let message = found.map_or("", |one| one["message"].as_str().unwrap());
    let words = message.strip_prefix("there is no document of ");
    let words = words.and_then(|words| words.split_once(';'));
    words.map_or(String::new(), |(words, _)| words.to_owned())
}

#[test]
fn defect_01_a_data_disk_that_is_away_for_a_moment_changes_nothing() {
    let with_both = Vsi::named("web").disk("one", "1Gi").disk("two", "1Gi");
    let vsiflow = running(&with_both);
    let history = |kind: &str| {
        let history = vsiflow.history("web");
        history.iter().filter(|e| e.kind() == kind).count()
    };
    let runs = history("run_opened");
    let without_one = Vsi::named("web").disk("two", "1Gi");
    let planned = plan(&vsiflow, &without_one, 0);
    assert_eq!(planned["missing"], json!(["data disk one"]), "{planned:#}");
    vsiflow
        .apply(&without_one, &[])
        .exits(0)
        .says("there is no document of data disk one");
    assert_eq!(history("run_opened"), runs, "nothing ran");
    assert_eq!(vsiflow.phase("web"), "Running");
    let conditions = vsiflow.vsi("web")["status"]["conditions"].to_string();
    assert!(conditions.contains("ReferencesResolved"), "{conditions}");
    let disks = vsiflow.sim().domain("default/web")["spec"]["disks"].clone();
    assert_eq!(disks.as_array().unwrap().len(), 4);
    vsiflow.apply(&with_both, &[]).exits(0);
    assert_eq!(history("run_opened"), runs, "nothing ran");
    let later_conditions = vsiflow.vsi("web")["status"]["conditions"].to_string();
    assert!(
        !later_conditions.contains("ReferencesResolved"),
        "{later_conditions}"
    );
}

#[test]
fn defect_02_a_network_that_is_away_for_a_moment_changes_nothing() {
    let vsiflow = running(&Vsi::named("web").network("default"));
    let document = Vsi::named("web").network("default").to_string();
    let (vsi, _) = document.rsplit_once("---\n").unwrap();
    // Its only network reference does not exist: the selector matches nothing.
    vsiflow
        .apply(vsi, &[])
        .exits(0)
        .says("warning[VSI0605]")
        .says("there is no document of what networkSelector chooses");
    assert_eq!(vsiflow.phase("web"), "Running");
    assert_eq!(unresolved(&vsiflow), "what networkSelector chooses");
    let nics = vsiflow.sim().domain("default/web")["spec"]["nics"].clone();
    assert_eq!(nics[0]["network"], "default");
}

#[test]
fn defect_19_expressions_match_as_they_do_in_kubernetes() {
    let vsiflow = Vsiflow::simulated();
    let select = |expression: &str| {
        let web = Vsi::named("web").choosing_disks().to_string();
        let labels = "matchLabels:\n      disks: web\n";
        assert!(web.contains(labels), "{web}");
        web.replace(labels, &format!("matchExpressions:\n    - {expression}\n"))
    };
    let disks =
        ["web", "db", "spare"].map(|of| DiskDocument::named(&format!("of-{of}")).of_vsi(of));
    let disks = disks.map(|disk| disk.to_string()).concat();
    for (expression, chosen) in [
        (
            "{key: disks, operator: In, values: [web, db]}",
            "of-db of-web",
        ),
        (
            "{key: disks, operator: NotIn, values: [web, db]}",
            "of-spare",
        ),
        ("{key: disks, operator: Exists}", "of-db of-spare of-web"),
        (
            "{key: other, operator: DoesNotExist}",
            "of-db of-spare of-web",
        ),
    ] {
        vsiflow
            .apply(format!("{}{disks}", select(expression)), &[])
            .exits(0);
        let serials = vsiflow.sim().domain("default/web")["spec"]["disks"].clone();
        let serials = serials.as_array().unwrap().iter().skip(2);
        let serials: Vec<_> = serials.map(|d| d["serial"].as_str().unwrap()).collect();
        assert_eq!(serials.join(" "), chosen, "{expression}");
        vsiflow.run(&["delete", "web"]).exits(0);
    }
    // A misspelt key of the old schema is never read as a condition that matches nothing.
    let mistyped = select("{key: disks, operator: In, value: [web]}");
    vsiflow
        .apply(format!("{mistyped}{disks}"), &[])
        .exits(2)
        .says("values");
}

#[test]
fn an_update_whose_selectors_match_nothing_changes_nothing_but_what_it_says_itself() {
    let vsiflow = running(&Vsi::named("web").disk("data", "1Gi"));
    let before = vsiflow.sim().domain("default/web")["spec"].clone();
    let runs = || {
        let history = vsiflow.history("web");
        history.iter().filter(|e| e.kind() == "run_opened").count()
    };
    let opened = runs();
    let alone = || Vsi::named("web").choosing_disks();
    assert_eq!(plan(&vsiflow, alone(), 0)["action"], "none");
    vsiflow
        .apply(alone(), &["--wait"])
        .exits(0)
        .says("is Running");
    assert_eq!(unresolved(&vsiflow), "what diskSelector chooses");
    // The disk's document exists, but with other labels.
    let relabelled = format!("{}{}", alone(), DiskDocument::named("data").of_vsi("other"));
    vsiflow.apply(relabelled, &[]).exits(0).says("VSI0605");
    assert_eq!(runs(), opened, "nothing ran");
    // A change of the VSI itself is made, with the disk that it had.
    vsiflow.apply(alone().cpus(2), &["--wait"]).exits(0);
    let after = vsiflow.sim().domain("default/web")["spec"].clone();
    assert_eq!(
        (&after["disks"], &after["machine"]["cpus"]),
        (&before["disks"], &json!(2))
    );
    vsiflow
        .apply(Vsi::named("web").disk("data", "1Gi").cpus(2), &[])
        .exits(0);
    assert_eq!(unresolved(&vsiflow), "");
}

#[test]
fn a_host_whose_documents_are_away_is_known_from_before() {
    let vsiflow = Vsiflow::of_documents();
    let documents = Vsi::named("web").disk("data", "1Gi");
    vsiflow.apply(&documents, &["--host", "sim:"]).exits(0);
    let before = vsiflow.history("web").len();
    vsiflow
        .apply(&documents, &["--wait"])
        .exits(0)
        .says("warning[VSI0605]")
        .says("vsi/web is Running");
    assert_eq!(unresolved(&vsiflow), "what targetSelector chooses");
    assert_eq!(vsiflow.vsi("web")["status"]["host"], "sim");
    let again = vsiflow.apply(&documents, &[]).exits(0);
    again.says("vsi/web unchanged").says("disk/data unchanged");
    let history = vsiflow.history("web");
    let kinds = history.iter().skip(before).map(|e| e.kind().to_owned());
    assert_eq!(kinds.collect::<Vec<_>>(), ["desired"]);
}

#[test]
fn what_selects_nothing_at_first_is_blocked_and_says_what_to_add() {
    let vsiflow = Vsiflow::simulated();
    let alone = Vsi::named("web").choosing_disks();
    vsiflow
        .apply(&alone, &[])
        .exits(4)
        .says("warning[VSI0605]")
        .says("documents-0.yaml:")
        .says("error[VSI0214]: no data disk in namespace default matches disks=web")
        .says("add a data disk with such labels");
    assert_eq!(vsiflow.phase("web"), "Blocked");
    assert!(vsiflow.sim().volumes().is_empty(), "something was begun");
    vsiflow.apply(&alone, &[]).exits(4).says("unchanged");
    vsiflow
        .apply(Vsi::named("web").disk("data", "1Gi"), &[])
        .exits(0)
        .says("vsi/web is Running");
    let disks = vsiflow.sim().domain("default/web")["spec"]["disks"].clone();
    assert_eq!(disks.as_array().map(Vec::len), Some(3));
}

#[test]
fn what_is_on_no_known_host_is_blocked_and_can_be_deleted() {
    let vsiflow = Vsiflow::of_documents();
    let lost = Vsi::named("web").disk("data", "1Gi").on("nowhere");
    let ran = vsiflow.apply(&lost, &[]).exits(4);
    ran.says("error[VSI0214]")
        .says("matches config=nowhere")
        .says("add a ConfigMap with such labels");
    assert_eq!(vsiflow.phase("web"), "Blocked");
    // With `--host`, it is created there.
    vsiflow.apply(&lost, &["--host", "sim:"]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
    let unplaced = Vsi::named("lost").on("nowhere");
    vsiflow.apply(unplaced, &[]).exits(4);
    vsiflow.run(&["delete", "lost", "--wait"]).exits(0);
    vsiflow.run(&["get", "vsi", "lost"]).exits(3);
}
