//! Groups: members and pools in waves, behind gates.

use serde_json::{Value, json};
use vsiflow_tests::{Vsi, Vsiflow, http, until};

/// A group: its first wave has a member that is deleted later, its second a pool that gets the member's
/// address and outputs.
#[derive(Clone, Debug)]
struct Group {
    image: String,
    replicas: &'static str,
    /// The gate of the first wave.
    gate: &'static str,
    /// The user-data of the second wave, below `#cloud-config`.
    words: &'static str,
    /// The outputs of the member.
    outputs: &'static str,
    remove_after: &'static str,
}

impl Default for Group {
    fn default() -> Self {
        Self {
            image: vsiflow_tests::SIMULATED_IMAGE.to_owned(),
            replicas: "replicas: 2",
            gate: "{probes: [{tcp: 22}, {agentCommand: {path: /bin/true}}]}",
            words: "# boot=$(group.members.bootstrap-0.address) token=$(group.outputs.token)",
            outputs: "[{name: token, member: bootstrap-0, file: /etc/token}]",
            remove_after: "removeAfter: workers",
        }
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let machine = "machine: {cpus: 1, memory: 512Mi}";
        write!(
            f,
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: ocp}}\nspec:\n  \
             release:\n    node: {{image: \"{}\"}}\n  waves:\n  - name: bootstrap\n    gate: {}\n    \
             members:\n    - name: bootstrap\n      {}\n      template:\n        spec:\n          \
             imageURL: $(group.release.node.image)\n          {machine}\n          guest:\n            \
             type: cloudInit\n            userData: \"#cloud-config\\n{{}}\\n\"\n  - name: workers\n    \
             pools:\n    - name: worker\n      {}\n      template:\n        metadata: {{labels: {{app: w}}}}\n        \
             spec:\n          imageURL: $(group.release.node.image)\n          {machine}\n          guest:\n            \
             type: cloudInit\n            userData: |\n              #cloud-config\n              {}\n  \
             outputs: {}\n",
            self.image, self.gate, self.remove_after, self.replicas, self.words, self.outputs
        )
    }
}

fn group(vsiflow: &Vsiflow) -> Value {
    let group = vsiflow.run(&["get", "groups", "ocp", "-o", "json"]);
    group.exits(0).json()
}

fn names(vsiflow: &Vsiflow) -> String {
    let listed = vsiflow.run(&["get", "vsi", "-o", "json"]).exits(0).json();
    let items = listed["items"].as_array().unwrap().iter();
    let names = items.map(|vsi| vsi["metadata"]["name"].as_str().unwrap().to_owned());
    names.collect::<Vec<_>>().join(" ")
}

fn uid(vsiflow: &Vsiflow, name: &str) -> String {
    let uid = vsiflow.vsi(name)["metadata"]["uid"].clone();
    uid.as_str().unwrap().to_owned()
}

/// The bytes of the member's cidata volume.
fn seed(vsiflow: &Vsiflow, name: &str) -> String {
    let prefix = format!("cidata-{}", uid(vsiflow, name));
    let bytes = vsiflow.sim().content(&prefix);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn waves_come_up_one_after_another_and_what_is_removed_stays_away() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(Group::default(), &["--wait"])
        .exits(0)
        .says("group/ocp is Available");
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1");
    let shown = group(&vsiflow);
    let waves = &shown["status"]["waves"];
    assert_eq!(waves[0]["items"][0]["phase"], "Removed");
    assert_eq!(waves[1]["items"][0]["phase"], "Available");
    assert_eq!(shown["status"]["readyReplicas"], 2);
    let member = vsiflow.vsi("ocp-worker-1");
    assert_eq!(member["metadata"]["labels"]["vsiflow.io/group"], "ocp");
    let read = seed(&vsiflow, "ocp-worker-1");
    assert!(read.contains("boot=192.168.122."), "{read}");
    assert!(read.contains("token=token-of-ocp-bootstrap-0\n"), "{read}");
    let table = vsiflow.run(&["get", "groups"]).exits(0);
    table.says("Available").says("2/2").says("workers");
    let described = vsiflow.run(&["describe", "group/ocp"]).exits(0);
    described
        .says("└─ pool/ocp-worker Available")
        .says("└─ vsi/ocp-worker-1 Running, ready")
        .says("<secret>");
    let available = ["wait", "group/ocp", "--for=condition=Available"];
    vsiflow.run(&available).exits(0);
    vsiflow
        .apply(Group::default(), &["--wait"])
        .exits(0)
        .says("group/ocp unchanged");
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1");
}

#[test]
fn what_a_group_removed_needs_no_other_document() {
    let vsiflow = Vsiflow::of_documents();
    let host = |name: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{host: {name}}}}}\n\
             data: {{HOSTNAME: \"sim:{name}\"}}\n---\n"
        )
    };
    let network = "apiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\nmetadata: {name: lan}\n\
                   spec: {cidr: 10.20.0.0/24}\n---\n";
    let group = |replicas| {
        let document = Group {
            replicas,
            ..Group::default()
        };
        let text = document.to_string();
        let (first, second) = text.rsplit_once("imageURL: $(").unwrap();
        let on = |name: &str| format!("targetSelector: {{matchLabels: {{host: {name}}}}}");
        let own = "interfaces: [{network: lan}]";
        let first = first.replace(
            "imageURL: $(",
            &format!("{}\n          {own}\n          imageURL: $(", on("a")),
        );
        format!("{first}{}\n          imageURL: $({second}", on("b"))
    };
    let without = host("b") + &group("replicas: 2");
    let refused = vsiflow.apply(&without, &[]).exits(4);
    refused.says("VSI0605").says("targetSelector");
    let whole = host("a") + &host("b") + network + &group("replicas: 2");
    vsiflow.apply(&whole, &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1");
    let unchanged = vsiflow.apply(&without, &[]).exits(0);
    unchanged.says("group/ocp unchanged");
    let larger = host("b") + &group("replicas: 3");
    vsiflow.apply(&larger, &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1 ocp-worker-2");
}

#[test]
fn what_names_the_member_of_a_pool_that_is_dropped_stays_as_it_is() {
    let vsiflow = Vsiflow::simulated();
    let of = |replicas: u32, words| {
        let stays = Group {
            remove_after: "removeAfter: null",
            words,
            ..Group::default()
        };
        let pool = format!("pools:\n    - name: bootstrap\n      replicas: {replicas}\n");
        let member = "members:\n    - name: bootstrap\n";
        stays.to_string().replace(member, &pool)
    };
    let words = "# boot=$(group.members.bootstrap-0.address) token=$(group.outputs.token)";
    let refused = vsiflow.apply(of(0, words), &[]).exits(4);
    refused.says("VSI0604").says("no member \"bootstrap-0\"");
    vsiflow.apply(of(1, words), &["--wait"]).exits(0);
    let read = seed(&vsiflow, "ocp-worker-1");
    vsiflow.apply(of(0, words), &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1");
    assert_eq!(seed(&vsiflow, "ocp-worker-1"), read);
    let unchanged = vsiflow.apply(of(0, words), &[]).exits(0);
    unchanged.says("group/ocp unchanged");
    let other = "# boot=$(group.members.bootstrap-1.address)";
    vsiflow.apply(of(0, other), &[]).exits(4).says("VSI0604");
}

#[test]
fn outputs_are_read_once_and_kept_as_secrets() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Group::default(), &["--wait"]).exits(0);
    let token = vsiflow.run(&["output", "group/ocp", "token"]).exits(0);
    assert_eq!(token.stdout, "token-of-ocp-bootstrap-0\n");
    let json = group(&vsiflow).to_string();
    assert!(!json.contains("token-of"), "{json}");
    let refused = vsiflow.run(&["output", "group/ocp", "nothing"]);
    refused.exits(3).says("VSI0735").says("token");
}

#[test]
fn a_closed_gate_keeps_the_next_wave_from_being_made() {
    let vsiflow = Vsiflow::simulated();
    let closed = Group {
        gate: "{probes: [{agentCommand: {path: /bin/false}}]}",
        ..Group::default()
    };
    let waited = vsiflow.apply(&closed, &["--wait", "--timeout", "8s"]);
    waited.exits(5);
    assert_eq!(names(&vsiflow), "ocp-bootstrap-0");
    let open = Group {
        gate: "{members: any, probes: [{ready: {}}, {console: \"login:\"}, {http: {port: 80}}]}",
        ..Group::default()
    };
    vsiflow.apply(&open, &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1");
}

#[test]
fn an_upgrade_goes_through_the_release_and_leaves_values_as_they_were() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Group::default(), &["--wait"]).exits(0);
    let before = group(&vsiflow)["spec"]["release"].clone();
    let newer = Group {
        image: "http://images.lab.test:8080/hpcr-guest-2.qcow2".to_owned(),
        ..Group::default()
    };
    let plan = vsiflow.start_apply(&newer, &["--dry-run"]).end(60);
    plan.exits(0);
    vsiflow.apply(&newer, &["--wait"]).exits(0);
    assert_ne!(group(&vsiflow)["spec"]["release"], before);
    for name in ["ocp-worker-0", "ocp-worker-1"] {
        let url = vsiflow.vsi(name)["spec"]["imageURL"].clone();
        assert_eq!(url, "http://images.lab.test:8080/hpcr-guest-2.qcow2");
    }
    assert_eq!(
        names(&vsiflow),
        "ocp-worker-0 ocp-worker-1",
        "no bootstrap again"
    );
}

#[test]
fn a_pool_of_a_group_is_scaled_and_a_member_made_again() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Group::default(), &["--wait"]).exits(0);
    let scale = |words: &[&str]| vsiflow.run(&[&["scale"], words, &["--wait"]].concat());
    scale(&["group/ocp", "--pool", "worker", "--replicas", "3"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1 ocp-worker-2");
    scale(&["pool/ocp-worker", "--replicas", "1"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0");
    scale(&["group/ocp", "--replicas", "1"]).exits(2);
    // Without `replicas` the number of members does not change.
    let open = Group {
        replicas: "strategy: {maxUnavailable: 1}",
        ..Group::default()
    };
    vsiflow.apply(&open, &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0");
    vsiflow.apply(Group::default(), &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1");
    let before = uid(&vsiflow, "ocp-worker-0");
    vsiflow.run(&["delete", "ocp-worker-0", "--wait"]).exits(0);
    assert_ne!(uid(&vsiflow, "ocp-worker-0"), before);
}

#[test]
fn what_belongs_to_others_is_refused_before_anything_is_made() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(Vsi::named("ocp-worker-1"), &["--wait"])
        .exits(0);
    vsiflow
        .apply(Group::default(), &[])
        .exits(4)
        .says("VSI0721");
    vsiflow.run(&["get", "groups", "ocp"]).exits(3);
    assert_eq!(names(&vsiflow), "ocp-worker-1");
    vsiflow.run(&["delete", "ocp-worker-1", "--wait"]).exits(0);
    vsiflow.apply(Group::default(), &["--wait"]).exits(0);
    vsiflow
        .apply(Vsi::named("ocp-worker-1"), &[])
        .exits(4)
        .says("VSI0720");
    let pool = "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {name: ocp-worker}\n\
                spec: {template: {spec: {imageURL: http://a/b}}}\n";
    vsiflow.apply(pool, &[]).exits(4).says("VSI0730");
    vsiflow
        .run(&["rollback", "pool/ocp-worker"])
        .exits(4)
        .says("VSI0730");
    let without = Group::default()
        .to_string()
        .replace("name: worker\n", "name: other\n");
    vsiflow.apply(without, &[]).exits(4).says("VSI0732");
    let again = Group {
        remove_after: "removeAfter: null",
        ..Group::default()
    };
    let document = vsiflow.write("again.yaml", &again.to_string());
    vsiflow
        .run(&["plan", "-f", document.to_str().unwrap()])
        .exits(4)
        .says("it was removed for good");
    vsiflow
        .apply(again, &[])
        .exits(4)
        .says("bootstrap was removed for good");
    let late = Group {
        words: "# $(group.members.bootstrap-0.address) $(group.members.bootstrap-0.name)",
        ..Group::default()
    };
    vsiflow.apply(late, &["--wait"]).exits(0);
}

#[test]
fn groups_that_cannot_be_are_refused_with_line_field_and_remedy() {
    let vsiflow = Vsiflow::simulated();
    let refused = |group: String, words: &[&str]| {
        let ran = vsiflow.apply(group, &[]).exits(2).says(".yaml:");
        let ran = words.iter().fold(ran, |ran, words| ran.says(words));
        drop(ran);
        vsiflow.run(&["get", "groups", "ocp"]).exits(3);
    };
    let words = |words: &'static str| Group {
        words,
        ..Group::default()
    };
    let of = |group: Group| group.to_string();
    refused(
        of(words("# $(group.members.nobody-0.address)")),
        &["no member \"nobody-0\"", "bootstrap-0", "userData"],
    );
    refused(
        of(words("# $(group.members.bootstrap-1.address)")),
        &["no member \"bootstrap-1\""],
    );
    refused(
        of(words("# $(group.members.worker-0.address)")),
        &["known only once wave workers is up"],
    );
    refused(
        of(words("# $(group.outputs.other)")),
        &["no output \"other\""],
    );
    refused(
        of(words("# $(group.release.other.image)")),
        &["node", "spec.release"],
    );
    refused(
        of(words("# $(group.something)")),
        &["names nothing that there is", "$$("],
    );
    let early = of(Group::default()).replace(
        "userData: \"#cloud-config\\n{}\\n\"",
        "userData: \"#cloud-config\\n# $(group.members.worker-0.address)\\n\"",
    );
    refused(early, &["wait for one another"]);
    let url = of(Group::default()).replace(
        "metadata: {labels: {app: w}}",
        "metadata: {labels: {app: $(group.outputs.token)}}",
    );
    refused(url, &["no value is put into this field"]);
    let earlier = of(Group {
        remove_after: "removeAfter: nothing",
        ..Group::default()
    });
    refused(
        earlier,
        &["there is no wave \"nothing\"", "bootstrap, workers"],
    );
    let gate = of(Group {
        gate: "{probes: [{tcp: 22, http: {port: 80}}]}",
        ..Group::default()
    });
    refused(gate, &["more than one probe"]);
    let output = of(Group {
        outputs: "[{name: token, member: bootstrap-0}]",
        ..Group::default()
    });
    refused(output, &["this output is empty"]);
}

#[test]
fn a_secret_output_is_not_put_where_it_is_shown() {
    let vsiflow = Vsiflow::simulated();
    let shown = Group::default().to_string().replace(
        "  outputs:",
        "            sshKeys: [\"ssh-ed25519 $(group.outputs.token)\"]\n  outputs:",
    );
    let refused = vsiflow.apply(shown, &[]).exits(2);
    refused.says("is a secret").says("secret: false");
}

#[test]
fn a_guests_word_with_quotes_is_refused_unless_it_is_a_whole_field() {
    let vsiflow = Vsiflow::simulated();
    let quoted = Group {
        outputs: "[{name: token, member: bootstrap-0, file: /etc/quoted, secret: false}]",
        ..Group::default()
    };
    let refused = vsiflow.apply(&quoted, &["--wait", "--timeout", "30s"]);
    refused.exits(4).says("VSI0734");
    assert_eq!(names(&vsiflow), "ocp-bootstrap-0");
    vsiflow.run(&["delete", "group/ocp", "--wait"]).exits(0);
    let whole = quoted.to_string().replace(
        "userData: |\n              #cloud-config\n              # boot=$(group.members.bootstrap-0.address) token=$(group.outputs.token)\n",
        "userData: $(group.outputs.token)\n",
    );
    vsiflow.apply(whole, &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1");
}

#[test]
fn a_deleted_group_takes_everything_along_and_limits_count_members() {
    let vsiflow = Vsiflow::simulated();
    let stays = Group {
        remove_after: "removeAfter: null",
        ..Group::default()
    };
    vsiflow.apply(&stays, &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-bootstrap-0 ocp-worker-0 ocp-worker-1");
    vsiflow
        .run(&["delete", "group", "--all", "--yes", "--limit", "2"])
        .exits(4)
        .says("VSI0811");
    let deleted = vsiflow.run(&["delete", "group/ocp", "--wait"]).exits(0);
    deleted.says("group/ocp deleted");
    assert_eq!(names(&vsiflow), "");
    vsiflow.run(&["get", "groups", "ocp"]).exits(3);
    let pools = vsiflow.run(&["get", "pools", "-o", "name"]).exits(0);
    assert_eq!(pools.stdout, "");
    let kept = std::fs::read_dir(vsiflow.state().join("secrets")).unwrap();
    assert_eq!(kept.count(), 0, "no secret stays");
    // A new group with the same name is another group.
    vsiflow.apply(Group::default(), &["--wait"]).exits(0);
}

#[test]
fn a_directory_prunes_groups_and_counts_their_members() {
    let vsiflow = Vsiflow::simulated();
    let folder = vsiflow.state().parent().unwrap().join("documents");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("group.yaml"), Group::default().to_string()).unwrap();
    std::fs::write(folder.join("db.yaml"), Vsi::named("db").to_string()).unwrap();
    let folder_name = folder.to_str().unwrap();
    let apply =
        |more: &[&str]| vsiflow.run(&[&["apply", "-f", folder_name, "--wait"], more].concat());
    apply(&[]).exits(0);
    std::fs::remove_file(folder.join("group.yaml")).unwrap();
    apply(&["--prune", "--prune-limit", "1"])
        .exits(4)
        .says("VSI0709");
    apply(&["--prune", "--prune-limit", "2"]).exits(0);
    assert_eq!(names(&vsiflow), "db");
}

#[test]
fn a_daemon_works_on_groups_and_answers_for_them() {
    let vsiflow = Vsiflow::simulated();
    let _daemon = vsiflow.serve(&[]);
    vsiflow.apply(Group::default(), &["--wait"]).exits(0);
    let socket = vsiflow.state().join("vsiflow.sock");
    const GROUP: &str = "/v1/namespaces/default/virtualservergroups/ocp";
    let shown = http::get(&socket, GROUP).is(200).json();
    assert_eq!(shown["status"]["phase"], "Available");
    let listed = http::get(&socket, "/v1/virtualservergroups").is(200).json();
    assert_eq!(listed["items"][0]["metadata"]["name"], "ocp");
    let output = json!({"output": "token"});
    let output = http::post(&socket, &format!("{GROUP}/output"), &output)
        .is(200)
        .json();
    assert_eq!(output["value"], "token-of-ocp-bootstrap-0");
    let more = json!({"pool": "worker", "replicas": 3, "waitSeconds": 60});
    let scaled = http::post(&socket, &format!("{GROUP}/scale"), &more);
    assert_eq!(scaled.is(200).json()["outcome"], "Reached");
    vsiflow.run(&["delete", "group/ocp"]).exits(0);
    until("the group is gone", 60, || {
        names(&vsiflow).is_empty().then_some(())
    });
}

#[test]
fn what_a_kill_left_of_a_group_is_continued() {
    let vsiflow = Vsiflow::simulated();
    let mut apply = vsiflow.start_apply(Group::default(), &["--wait"]);
    assert!(apply.reaches("resolve_networks", 60));
    apply.kill();
    vsiflow.run(&["resume", "--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "ocp-worker-0 ocp-worker-1");
    assert_eq!(group(&vsiflow)["status"]["phase"], "Available");
    vsiflow.run(&["resume"]).exits(0).says("nothing to resume");
}

#[test]
fn members_of_a_pool_see_their_names_and_nothing_else_is_substituted() {
    let vsiflow = Vsiflow::simulated();
    let pool = |name: &str, data: &str| {
        format!(
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: {name}}}\nspec:\n  \
             template:\n    spec:\n      imageURL: {}\n      machine: {{memory: 512Mi}}\n      \
             guest: {{type: cloudInit, userData: \"#cloud-config\\n{data}\\n\"}}\n",
            vsiflow_tests::SIMULATED_IMAGE
        )
    };
    let text = "# $(pool.member) $(pool.index) $(hostname) $$(pool.name)";
    vsiflow.apply(pool("web", text), &["--wait"]).exits(0);
    let read = seed(&vsiflow, "web-0");
    assert!(
        read.contains("# web-0 0 $(hostname) $(pool.name)\n"),
        "{read}"
    );
    let refused = vsiflow
        .apply(pool("other", "# $(group.name)"), &[])
        .exits(2);
    refused.says("belongs to no group");
}

#[test]
fn an_install_document_brings_up_a_cluster() {
    let vsiflow = Vsiflow::simulated();
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../deploy/examples/openshift.yaml"
    );
    let create = ["cluster", "create", "-f", example, "--wait"];
    vsiflow.run(&create).exits(0).says("group/ocp is Available");
    let nodes = "ocp-master-0 ocp-master-1 ocp-master-2 ocp-worker-0 ocp-worker-1";
    assert_eq!(names(&vsiflow), nodes);
    let version = vsiflow.run(&["output", "ocp", "version"]).exits(0);
    assert_eq!(version.stdout, "6.1.0\n");
    vsiflow.run(&create).exits(0).says("group/ocp unchanged");
}

#[test]
fn fields_of_kinds_are_explained_by_every_name_that_a_kind_has() {
    let vsiflow = Vsiflow::of_documents();
    for (field, words) in [
        ("vsp.spec.strategy.maxUnavailable", "away at the same time"),
        (
            "virtualservergroup.spec.waves.gate.probes.agentCommand",
            "ends with 0",
        ),
        ("vsg.spec.waves.members.removeAfter", "never made again"),
        ("type.spec.bootDisk", "<string>"),
        (
            "VirtualServerType.spec.guest.type",
            "One of: cloudInit, ignition, none.",
        ),
        ("types.spec.guest.sshKeys", "<[]string>"),
        ("snapshot.spec", "virtualServer\t<string> -required-"),
        (
            "virtualserversnapshots.spec.quiesce",
            "holds its file systems",
        ),
    ] {
        vsiflow.run(&["explain", field]).exits(0).says(words);
    }
}

/// A group of two waves; the member of the second has a data disk.
fn two_waves(cpus: u32, policy: &str) -> String {
    let template = |count: u32| {
        let image = vsiflow_tests::SIMULATED_IMAGE;
        format!(
            "      replicas: 1\n      template: {{spec: {{imageURL: '{image}', guest: {{type: none}}, \
             machine: {{cpus: {count}, memory: 512Mi}}}}}}\n"
        )
    };
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: g}}\nspec:\n  waves:\n  \
         - name: first\n    pools:\n    - name: a\n{}  - name: second\n    pools:\n    - name: b\n{}      \
         diskTemplates: [{{metadata: {{name: data}}, spec: {{size: 1Gi, deletionPolicy: {policy}}}}}]\n",
        template(cpus),
        template(1)
    )
}

#[test]
fn a_disk_that_the_newest_document_retains_stays_although_its_wave_is_not_due() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(two_waves(1, "Delete"), &["--wait"]).exits(0);
    vsiflow.change_sim(|state| state["broken"] = json!({"start": "Timeout"}));
    let briefly = ["--wait", "--timeout", "3s"];
    vsiflow.apply(two_waves(2, "Retain"), &briefly).exits(5);
    let policy = || {
        let disk = vsiflow.run(&["get", "disk", "data-g-b-0", "-o", "json"]);
        disk.exits(0).json()["spec"]["deletionPolicy"].clone()
    };
    assert_eq!(policy(), "Delete");
    vsiflow.run(&["delete", "group/g", "--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "");
    assert_eq!(
        policy(),
        "Retain",
        "it is there, and a later document with `Delete` does not change that"
    );
}
