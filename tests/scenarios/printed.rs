//! What `get -o yaml` prints, `apply -f` takes, and it changes nothing.

use vsiflow_tests::{SIMULATED_IMAGE, Vsi, Vsiflow};

const USER_DATA: &str = "#cloud-config\\nmotd: hello\\n";

/// A virtual server with what documents can choose.
fn server() -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\nmetadata: {{name: lan, labels: {{of: web}}}}\n\
         spec: {{cidr: 10.9.8.0/24}}\n---\n\
         apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web, labels: {{app: web}}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: cloudInit, userData: \"{USER_DATA}\"}}\n  \
         machine: {{cpus: 3, memory: 700M, graphics: vnc}}\n  bootDisk: {{size: 200Gi}}\n  \
         networkSelector: {{matchLabels: {{of: web}}}}\n  diskSelector: {{matchLabels: {{of: web}}}}\n  \
         ready: {{within: 3m, all: [{{console: \"login:\"}}]}}\n---\n\
         apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDisk\n\
         metadata: {{name: data, labels: {{of: web}}}}\nspec: {{size: 1Gi}}\n"
    )
}

fn pool() -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: db}}\nspec:\n  replicas: 2\n  \
         updatePolicy: Manual\n  \
         diskTemplates:\n  - metadata: {{name: data}}\n    spec: {{size: 1Gi, deletionPolicy: Delete}}\n  \
         template:\n    metadata: {{labels: {{app: db}}}}\n    spec:\n      imageURL: {SIMULATED_IMAGE}\n      \
         guest: {{type: cloudInit, userData: \"{USER_DATA}\"}}\n      machine: {{cpus: 1, memory: 512Mi}}\n"
    )
}

fn group() -> String {
    let spec = format!(
        "spec: {{imageURL: \"{SIMULATED_IMAGE}\", guest: {{type: none}}, machine: {{cpus: 1, memory: 512Mi}}}}"
    );
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerGroup\nmetadata: {{name: shop}}\nspec:\n  waves:\n  \
         - name: first\n    members: [{{name: a, template: {{{spec}}}}}]\n    \
         gate: {{probes: [{{console: \"login:\"}}]}}\n  \
         - name: second\n    pools:\n    - name: b\n      replicas: 2\n      \
         diskTemplates: [{{metadata: {{name: data}}, spec: {{size: 1Gi}}}}]\n      template: {{{spec}}}\n  \
         outputs: [{{name: host, member: a-0, console: \"(login)\", secret: false}}]\n"
    )
}

/// The object as `get` prints it, with its status, which documents may have.
fn printed(vsiflow: &Vsiflow, kind: &str, name: &str) -> String {
    vsiflow
        .run(&["get", kind, name, "-o", "yaml"])
        .exits(0)
        .stdout
}

/// Applies what is printed, and expects that it is what is there, and that the journal gains nothing.
fn applies_unchanged(vsiflow: &Vsiflow, kind: &str, name: &str) {
    let (text, before) = (printed(vsiflow, kind, name), events(vsiflow));
    let file = vsiflow.write("printed.yaml", &text);
    let file = file.to_str().unwrap();
    vsiflow.run(&["plan", "-f", file]).exits(0);
    let applied = vsiflow.run(&["apply", "-f", file]).exits(0);
    applied.says("unchanged");
    assert_eq!(events(vsiflow), before, "{text}");
    assert_eq!(printed(vsiflow, kind, name), text);
}

fn events(vsiflow: &Vsiflow) -> String {
    vsiflow.run(&["events", "-o", "json"]).exits(0).stdout
}

#[test]
fn a_virtual_server_and_its_parts_are_applied_as_they_are_printed() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(), &["--wait"]).exits(0);
    applies_unchanged(&vsiflow, "vsi", "web");
    applies_unchanged(&vsiflow, "disk", "data");
    vsiflow
        .run(&["snapshot", "create", "web", "--wait"])
        .exits(0);
    applies_unchanged(&vsiflow, "snapshot", "web-1");
}

#[test]
fn a_hyper_protect_vsi_a_pool_a_group_and_a_quota_are_applied_as_they_are_printed() {
    let vsiflow = Vsiflow::simulated();
    let quota = "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {name: all}\nspec: {hard: {vsis: 9}}\n";
    let with_credentials = SIMULATED_IMAGE.replace("://", "://user:secret@");
    let hpcr = Vsi::named("hpcr").image(with_credentials).to_string();
    let all = [&hpcr, &pool(), &group(), quota].map(str::to_owned);
    for documents in all {
        vsiflow.apply(documents, &["--wait"]).exits(0);
    }
    for (kind, name) in [
        ("vsi", "hpcr"),
        ("pool", "db"),
        ("group", "shop"),
        ("quota", "all"),
    ] {
        assert!(!printed(&vsiflow, kind, name).contains("user:secret"));
        applies_unchanged(&vsiflow, kind, name);
    }
}

#[test]
fn types_are_applied_as_they_are_printed() {
    let vsiflow = Vsiflow::simulated();
    let tiny = "apiVersion: vsiflow.io/v1\nkind: VirtualServerType\nmetadata: {name: tiny}\n\
                spec: {cpus: 1, memory: 512Mi, bootDisk: 5Gi, guest: {type: cloudInit}}\n";
    vsiflow.apply(tiny, &[]).exits(0);
    applies_unchanged(&vsiflow, "type", "tiny");
    // With the built-in ones.
    let all = vsiflow.run(&["get", "types", "-o", "yaml"]).exits(0).stdout;
    let file = vsiflow.write("types.yaml", &all);
    let file = file.to_str().unwrap();
    vsiflow
        .run(&["apply", "-f", file])
        .exits(0)
        .says("type/tiny unchanged");
    let other = vsiflow.write("other.yaml", &all.replace("cpus: 4", "cpus: 5"));
    vsiflow
        .run(&["apply", "-f", other.to_str().unwrap()])
        .exits(2)
        .says("the type large is built in");
}

#[test]
fn what_is_not_recorded_of_the_same_object_is_refused() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(), &["--wait"]).exits(0);
    vsiflow.apply(Vsi::named("hpcr"), &["--wait"]).exits(0);
    let web = printed(&vsiflow, "vsi", "web");
    let hpcr = printed(&vsiflow, "vsi", "hpcr");
    let secret_of = |text: &str| {
        let line = text.lines().find(|line| line.contains("recorded:"));
        line.unwrap().trim().to_owned()
    };
    let (its, other) = (secret_of(&web), secret_of(&hpcr));
    for (text, why) in [
        (web.replace(&its, &other), "VSI0759"),
        (web.replace(&its, "recorded: unknown"), "VSI0759"),
        (web.replace("- default.lan", "- other"), "VSI0759"),
        (web.replace("- name: data", "- name: other"), "VSI0759"),
        (web.replace("host: sim", "host: elsewhere"), "VSI0759"),
        (
            web.replace("name: web", "name: another")
                .replace("uid: ", "# "),
            "VSI0759",
        ),
        // What earlier versions printed in place of the secret.
        (
            web.replace("userData:", "userData: <hidden>")
                .replace(&its, ""),
            "VSI0604",
        ),
        (
            hpcr.replace("contract:", "contract: <hidden>")
                .replace(&other, ""),
            "VSI0604",
        ),
    ] {
        let file = vsiflow.write("changed.yaml", &text);
        for command in [&["apply"][..], &["plan"], &["apply", "--dry-run"]] {
            let words = [command, &["-f", file.to_str().unwrap()]].concat();
            let ran = vsiflow.run(&words).says(why);
            assert_ne!(ran.code, Some(0), "{text}");
        }
    }
    assert_eq!(printed(&vsiflow, "vsi", "web"), web);
}
