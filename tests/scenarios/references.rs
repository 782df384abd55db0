//! What VSIs take from other documents: chosen by labels, and never lost because a document is away.

use serde_json::{Value, json};
use vsiflow_tests::{Disk, Vsi, Vsiflow};

fn running(vsi: &Vsi) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(vsi, &[]).exits(0);
    vsiflow
}

/// `plan -f` with these documents, and the exit code it must have.
fn plan(vsiflow: &Vsiflow, documents: impl ToString, code: i32) -> Value {
    let path = vsiflow.write("plan.yaml", &documents.to_string());
    let json = vsiflow.run(&["plan", "-f", path.to_str().unwrap(), "-o", "json"]);
    json.exits(code).json()["items"][0].clone()
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
    let conditions = vsiflow.vsi("web")["status"]["conditions"].to_string();
    assert!(!conditions.contains("ReferencesResolved"), "{conditions}");
}

#[test]
fn defect_02_a_network_that_is_away_for_a_moment_changes_nothing() {
    let vsiflow = running(&Vsi::named("web").network("default"));
    let document = Vsi::named("web").network("default").to_string();
    let (vsi, _) = document.rsplit_once("---\n").unwrap();
    // Its only network reference is not there: the selector matches nothing.
    vsiflow.apply(vsi, &[]).exits(2);
    assert_eq!(vsiflow.phase("web"), "Running");
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
    let disks = ["web", "db", "spare"].map(|of| Disk::named(&format!("of-{of}")).of_vsi(of));
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
    // The word of the old schema is never taken for a condition that nothing meets.
    let slip = select("{key: disks, operator: In, value: [web]}");
    vsiflow
        .apply(format!("{slip}{disks}"), &[])
        .exits(2)
        .says("values");
}
