//! Many VSIs on many hosts at the same time. Environment variables set how many: every run tests a
//! few, and `tests/run --part many` tests many.

use std::time::Instant;

use vsiflow_tests::{Lab, Vsi, Vsiflow, lab::Deleted, until};

fn number(variable: &str, otherwise: usize) -> usize {
    let set = std::env::var(variable);
    set.map_or(otherwise, |text| text.parse().unwrap())
}

fn running(vsiflow: &Vsiflow) -> usize {
    let all = vsiflow.run(&["get", "-o", "json"]).exits(0).json();
    let items = all["items"].as_array().unwrap().iter();
    items
        .filter(|vsi| vsi["status"]["phase"] == "Running")
        .count()
}

#[test]
fn many_vsis_on_many_hosts_run_at_once_and_a_dead_host_delays_only_its_own() {
    let hosts = number("VSIFLOW_MANY_HOSTS", 4);
    let each = number("VSIFLOW_MANY_VSIS", 5);
    let vsiflow = Vsiflow::of_documents();
    let daemon = vsiflow.serve(&[]);
    let apply = |uri: &str, prefix: &str| {
        let vsis = (0..each).map(|one| Vsi::named(&format!("{prefix}-{one}")).to_string());
        let vsis = vsis.collect::<Vec<_>>().join("---\n");
        let path = vsiflow.write(&format!("{prefix}.yaml"), &vsis);
        let path = path.to_str().unwrap();
        vsiflow.run(&["--host", uri, "apply", "-f", path]).exits(0);
    };
    // First, the host that does not answer.
    apply("unix:/nowhere/libvirt-sock", "dead");
    let begun = Instant::now();
    for host in 0..hosts {
        apply(&format!("sim:h{host}"), &format!("h{host}"));
    }
    let limit = 60 + u64::try_from(hosts * each).unwrap();
    until("all that can run do", limit, || {
        (running(&vsiflow) == hosts * each).then_some(())
    });
    println!(
        "{} VSIs on {hosts} hosts: {:?}",
        hosts * each,
        begun.elapsed()
    );
    let dead = vsiflow.run(&["get", "host"]).exits(0).stdout;
    let dead = dead.lines().find(|line| line.starts_with("unix:")).unwrap();
    assert!(dead.contains("NotReady"), "{dead}");
    // One attempt, or a few that began together; after that one probe checks the host for all of
    // them.
    let attempts = |name: &str| {
        let history = vsiflow.history(name);
        history
            .iter()
            .filter(|event| event.kind() == "step_started")
            .count()
    };
    let most = (0..each).map(|one| attempts(&format!("dead-{one}"))).max();
    assert!(most.unwrap() <= 3, "{most:?}");
    daemon.terminate();
    daemon.end(60).exits(0);
}

#[test]
fn lab_many_guests_boot_run_and_go_at_once() {
    let Some(lab) = Lab::enter() else { return };
    let guests = number("VSIFLOW_MANY_GUESTS", 3);
    let (image, vsiflow) = (lab.image("t-many.qcow2"), Vsiflow::of_documents());
    let names: Vec<_> = (0..guests).map(|one| format!("t-many-{one}")).collect();
    let vsis = names
        .iter()
        .map(|name| Vsi::named(name).image(image.url()).to_string());
    let vsis = vsis.collect::<Vec<_>>().join("---\n");
    let _gone: Vec<_> = names.iter().map(|name| Deleted(&vsiflow, name)).collect();
    vsiflow
        .apply(format!("{}{vsis}", lab.host()), &["--wait"])
        .exits(0);
    let active = lab.names(&["list", "--title"]);
    assert!(active.len() >= guests, "{active:?}");
    assert_eq!(running(&vsiflow), guests);
    let all: Vec<_> = names.iter().map(String::as_str).collect();
    vsiflow
        .run(&[&["delete", "--wait"], &all[..]].concat())
        .exits(0);
    for name in &names {
        assert!(lab.domains(&format!("default/{name}")).is_empty());
    }
}
