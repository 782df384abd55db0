//! Groups in a set of journals: the group is in journal 0, its guests are in the journals of their
//! hosts.

use std::collections::BTreeSet;

use serde_json::Value;
use vsiflow_tests::{Running, SIMULATED_IMAGE, until_lasting};

use super::{
    shards::ShardsSite,
    shards_deaths::{Asker, Point, Stall, dies_at},
    shards_placing::{all_are_running, anchors, hosts, places, start_apply, two},
    shards_pools::nothing_is_left,
};

/// A group with a member on one host; a pool on others gets the member's token and address.
#[derive(Clone)]
struct Group {
    name: &'static str,
    gate: &'static str,
    boot: &'static str,
    workers: &'static str,
    replicas: u32,
    memory: &'static str,
    more: &'static str,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            name: "ocp",
            gate: "{probes: [{tcp: 22}, {agentCommand: {path: /bin/true}}]}",
            boot: "config: d",
            workers: "fleet: blue",
            replicas: 3,
            memory: "256Mi",
            more: "",
        }
    }
}

impl Group {
    fn documents(&self) -> String {
        let spec = |label: &str, memory: &str, words: &str| {
            format!(
                "{{imageURL: '{SIMULATED_IMAGE}', machine: {{cpus: 1, memory: {memory}}}, targetSelector: {{matchLabels: {{{label}}}}}, \
                 placement: {{spread: {{over: host}}}}, guest: {{type: cloudInit, userData: \"#cloud-config\\n{words}\\n\"}}}}"
            )
        };
        let words = "# boot=$(group.members.boot-0.address) token=$(group.outputs.token) end=1";
        let Self {
            name,
            gate,
            replicas,
            more,
            ..
        } = self;
        let boot = spec(self.boot, "128Mi", "{}");
        let workers = spec(self.workers, self.memory, words);
        hosts()
            + &format!(
                "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: {name}}}\nspec:\n  waves:\n  \
                 - name: first\n    gate: {gate}\n    members:\n    - name: boot\n      {more}\n      template: {{spec: {boot}}}\n  \
                 - name: second\n    pools:\n    - name: worker\n      replicas: {replicas}\n      template: {{spec: {workers}}}\n  \
                 outputs: [{{name: token, member: boot-0, file: /etc/token}}]\n---\n"
            )
    }
}

fn shown(site: &ShardsSite, name: &str) -> Value {
    let name = ["get", "group", name, "-o", "json"];
    site.run(&name).exits(0).json()
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    until_lasting(what, 240, holds);
}

#[track_caller]
fn is_available(site: &ShardsSite, name: &str) {
    until("the group is not available", || {
        shown(site, name)["status"]["phase"] == "Available"
    });
}

/// The names of a group's members that exist.
fn members(site: &ShardsSite, group: &str) -> BTreeSet<String> {
    let own = format!("{group}-");
    let all = places(site).into_keys();
    all.filter(|name| name.starts_with(&own)).collect()
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

/// The cidata that a member's guest reads.
fn seed(site: &ShardsSite, name: &str) -> String {
    let shown = site.run(&["get", name, "-o", "json"]).exits(0).json();
    let uid = shown["metadata"]["uid"].as_str().unwrap();
    let (host, _) = places(site)[name].clone();
    let sim = site.vsiflow.sim_of(host.strip_prefix("sim:").unwrap());
    let bytes = sim.content(&format!("cidata-{uid}"));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How many VSIs of that name were ever created.
fn made(site: &ShardsSite, name: &str) -> usize {
    let all = site
        .run(&["get", "-o", "json", "--deleted"])
        .exits(0)
        .json();
    let all = all["items"].as_array().unwrap();
    let named = all.iter().filter(|one| one["metadata"]["name"] == name);
    named.count()
}

#[test]
fn a_group_over_journals_comes_up_in_waves_scales_changes_and_goes() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let group = Group::default();
    site.apply(&group.documents(), &["--dry-run"])
        .exits(0)
        .says("group/ocp created (dry run)");
    assert_eq!(members(&site, "ocp"), names(&[]));
    site.apply(&group.documents(), &["--wait"])
        .exits(0)
        .says("group/ocp is Available");
    let all = ["ocp-boot-0", "ocp-worker-0", "ocp-worker-1", "ocp-worker-2"];
    assert_eq!(members(&site, "ocp"), names(&all));
    let there = places(&site);
    let on: BTreeSet<_> = all[1..].iter().map(|name| &there[*name].0).collect();
    assert_eq!(on.len(), 3, "{there:?}");
    let status = shown(&site, "ocp")["status"].clone();
    assert_eq!(status["phase"], "Available", "{status}");
    assert_eq!(status["readyReplicas"], 4, "{status}");
    site.run(&["describe", "group/ocp"])
        .exits(0)
        .says("ocp-worker-2")
        .says("<secret>");
    site.run(&["wait", "group/ocp", "--for", "condition=Available"])
        .exits(0);
    site.run(&["history", "group/ocp"]).exits(0);

    // A guest's output is passed to other hosts, and is visible nowhere else.
    for worker in &all[1..] {
        let read = seed(&site, worker);
        assert!(read.contains("token=token-of-ocp-boot-0 end"), "{read}");
        assert!(read.contains("boot=192.168.122."), "{read}");
    }
    let token = site.run(&["output", "group/ocp", "token"]).exits(0);
    assert_eq!(token.stdout, "token-of-ocp-boot-0\n");
    assert!(!shown(&site, "ocp").to_string().contains("token-of"));
    for column in [
        "events: bytes",
        "secrets: sealed",
        "shard_requests: sealed",
        "shard_requests: answer",
    ] {
        let (table, column) = column.split_once(": ").unwrap();
        let plain = format!(
            "SELECT count(*) FROM vsiflow.{table} WHERE position('token-of'::bytea IN {column}) > 0"
        );
        assert_eq!(site.server.sql(&plain).trim(), "0", "{table}");
    }
    site.apply(&group.documents(), &["--wait"])
        .exits(0)
        .says("group/ocp unchanged");

    let scale = [
        "scale",
        "group/ocp",
        "--pool",
        "worker",
        "--replicas",
        "2",
        "--wait",
    ];
    site.run(&scale).exits(0);
    assert_eq!(members(&site, "ocp"), names(&all[..3]));
    let before = made(&site, "ocp-worker-0");
    let changed = Group {
        memory: "384Mi",
        replicas: 2,
        ..group
    };
    site.apply(&changed.documents(), &["--wait"]).exits(0);
    assert_eq!(made(&site, "ocp-worker-0"), before, "it was recreated");
    let memory = site
        .run(&["get", "ocp-worker-1", "-o", "json"])
        .exits(0)
        .json();
    assert_eq!(memory["spec"]["machine"]["memory"], "384Mi");

    site.run(&["retry", "group/ocp"])
        .exits(0)
        .says("vsi/ocp-boot-0: nothing to retry");
    // The last wave is deleted first.
    let delete = start(&site, &["delete", "group/ocp", "--wait"]);
    until("the group does not go", || {
        let left = members(&site, "ocp");
        let workers = left.iter().any(|name| name.contains("worker"));
        let boot = places(&site)
            .get("ocp-boot-0")
            .map(|(_, phase)| phase.clone());
        assert!(
            !workers || boot.as_deref() == Some("Running"),
            "{boot:?} {left:?}"
        );
        left.is_empty()
    });
    delete.end(120).exits(0);
    site.run(&["get", "group/ocp"]).exits(3);
    assert_eq!(places(&site).len(), 4);
    nothing_is_left(&site);
}

fn start(site: &ShardsSite, arguments: &[&str]) -> Running {
    site.start(&|of_process| site.vsiflow.start(of_process), arguments)
}

#[test]
fn a_closed_gate_and_a_silent_journal_keep_the_next_wave_from_being_made() {
    let site = ShardsSite::new();
    let (_first, second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let closed = Group {
        gate: "{probes: [{agentCommand: {path: /bin/false}}]}",
        more: "removeAfter: second",
        ..Group::default()
    };
    let waited = ["--wait", "--timeout", "20s"];
    site.apply(&closed.documents(), &waited).exits(5);
    assert_eq!(members(&site, "ocp"), names(&["ocp-boot-0"]));
    let message = shown(&site, "ocp")["status"]["phase"].clone();
    assert_eq!(message, "Progressing");

    // The member's journal has no holder now, so the gate of another group stays closed.
    let open = Group {
        name: "late",
        ..Group::default()
    };
    let stall = Stall::at(&site, (Point::Answering, Asker::Pool));
    let outcome = start_apply(&site, &open.documents(), &[]);
    stall.is_reached();
    outcome.end(240).exits(0);
    let pid = second.pid();
    assert_eq!(site.holder_of(3), pid);
    second.kill();
    stall.ends(true);
    assert!(members(&site, "late").contains("late-boot-0"));
    let expected = [
        "wait",
        "group/late",
        "--for",
        "condition=Available",
        "--timeout",
        "20s",
    ];
    assert_ne!(site.run(&expected).code, Some(0));
    assert_eq!(members(&site, "late"), names(&["late-boot-0"]));
    site.release_leases(pid);
    site.until_held(4, 1);
    is_available(&site, "late");
    assert_eq!(made(&site, "late-boot-0"), 1);

    let opened = Group {
        gate: "{members: any, probes: [{ready: {}}, {console: \"login:\"}]}",
        ..closed
    };
    site.apply(&opened.documents(), &["--wait"]).exits(0);
    until("a member with removeAfter still exists", || {
        !members(&site, "ocp").contains("ocp-boot-0")
    });
    is_available(&site, "ocp");
    nothing_is_left(&site);
}

/// Creates a group for each point and kills a process at that point. Every member is created once,
/// behind its gate.
fn created_through(points: &[Point], dies: u16, group_names: &[&'static str]) {
    let site = ShardsSite::new();
    let (first, second) = two(&site);
    let mut processes = vec![first, second];
    site.apply(&anchors(), &["--wait"]).exits(0);
    for (point, name) in points.iter().zip(group_names) {
        let group = Group {
            name,
            workers: "config: a",
            replicas: 1,
            memory: "128Mi",
            ..Group::default()
        };
        let at = (*point, Asker::Pool);
        let begin = || start_apply(&site, &group.documents(), &[]);
        let outcome = dies_at(&site, at, dies, &mut processes, begin, || {});
        outcome.end(240).exits(0);
        is_available(&site, name);
        let (boot, worker) = (format!("{name}-boot-0"), format!("{name}-worker-0"));
        let there = places(&site);
        assert_eq!(there[&boot].0, "sim:d", "{point:?} {dies}: {there:?}");
        assert_eq!(there[&worker].0, "sim:a", "{point:?} {dies}: {there:?}");
        assert_eq!(
            (made(&site, &boot), made(&site, &worker)),
            (1, 1),
            "{point:?} {dies}"
        );
        let read = seed(&site, &worker);
        assert!(
            read.contains(&format!("token=token-of-{boot} end")),
            "{read}"
        );
        site.run(&["delete", "group", name, "--wait"]).exits(0);
    }
    all_are_running(&site);
    assert_eq!(places(&site).len(), 4);
    nothing_is_left(&site);
}

#[test]
fn a_group_comes_up_once_wherever_the_holder_of_journal_0_dies() {
    use Point::{
        Answering, Asking, Beginning, Closing, Deciding, GroupRecorded, HandingOver, Promising,
    };
    let points = [
        GroupRecorded,
        Asking,
        Deciding,
        Promising,
        HandingOver,
        Beginning,
        Answering,
        Closing,
    ];
    let all = ["g0", "g1", "g2", "g3", "g4", "g5", "g6", "g7"];
    created_through(&points, 0, &all);
}

#[test]
fn a_group_comes_up_once_wherever_the_holder_of_its_first_member_dies() {
    use Point::{Answering, Appending, Beginning, Closing, HandingOver, Reporting};
    let points = [
        Reporting,
        HandingOver,
        Beginning,
        Appending,
        Answering,
        Closing,
    ];
    created_through(&points, 3, &["g0", "g1", "g2", "g3", "g4", "g5"]);
}

#[test]
fn a_group_goes_newest_wave_first_through_deaths_on_both_sides() {
    use Point::{Appending, Beginning, Closing, Deciding, HandingOver};
    let site = ShardsSite::new();
    let (first, second) = two(&site);
    let mut processes = vec![first, second];
    site.apply(&anchors(), &["--wait"]).exits(0);
    let group = |name| Group {
        name,
        boot: "config: a",
        workers: "config: d",
        replicas: 1,
        memory: "128Mi",
        ..Group::default()
    };
    let deaths = [
        (Deciding, 0),
        (HandingOver, 3),
        (Beginning, 0),
        (Appending, 3),
        (Closing, 0),
    ];
    let all = ["g0", "g1", "g2", "g3", "g4"];
    for name in all {
        site.apply(&group(name).documents(), &["--wait"]).exits(0);
    }
    for ((point, dies), name) in deaths.into_iter().zip(all) {
        let (boot, worker) = (format!("{name}-boot-0"), format!("{name}-worker-0"));
        let goes = ["delete", "group", name];
        let begin = || start(&site, &goes);
        let at = (point, Asker::Pool);
        let outcome = dies_at(&site, at, dies, &mut processes, begin, || {});
        outcome.end(240).exits(0);
        until("the group does not go", || {
            let there = places(&site);
            let phase = there.get(&boot).map(|(_, phase)| phase.as_str());
            assert!(
                !there.contains_key(&worker) || phase == Some("Running"),
                "{point:?} {dies}: {there:?}"
            );
            phase.is_none()
        });
        until("the group still exists", || {
            site.run(&["get", "group", name]).code == Some(3)
        });
    }
    all_are_running(&site);
    assert_eq!(places(&site).len(), 4);
    nothing_is_left(&site);
}
