//! Custom resources on a real API server, from `kubectl apply` to `kubectl delete`.

use std::path::Path;

use serde_json::Value;
use vsiflow_tests::{Lab, Running, TestCluster, Vsi, Vsiflow};

const WEB: &str = "vsi/web";

/// A simulated host's state directory, and a daemon that serves the namespace with it.
fn simulated(cluster: &TestCluster) -> (Vsiflow, Running) {
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    (vsiflow, serving)
}

fn domains(vsiflow: &Vsiflow) -> usize {
    vsiflow.sim().domains().len()
}

fn conditions(object: &Value) -> Vec<String> {
    let all = object["status"]["conditions"].as_array().cloned();
    let all = all.unwrap_or_default();
    all.iter()
        .map(|one| {
            format!(
                "{}={}",
                one["type"].as_str().unwrap(),
                one["status"].as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn kube_a_resource_becomes_ready_and_its_deletion_leaves_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = simulated(&cluster);
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready(WEB);
    let web = cluster.get(WEB);
    assert_eq!(
        (&web["status"]["status"], &web["status"]["phase"]),
        (&1.into(), &"Running".into())
    );
    assert_eq!(
        web["status"]["observedGeneration"],
        web["metadata"]["generation"]
    );
    assert_eq!(web["metadata"]["finalizers"][0], "vsiflow.io/finalizer");
    assert!(
        web["status"]["description"]
            .as_str()
            .unwrap()
            .contains("HPL10001I"),
        "{web:#}"
    );
    let title = format!("{}/web", cluster.namespace());
    vsiflow.sim().assert_one_vsi(&title);

    let table = cluster.kubectl(&["get", "vsi"]).exits(0);
    for word in [
        "PHASE", "READY", "HOST", "IP", "STEP", "PROGRESS", "AGE", "Running", "sim",
    ] {
        assert!(table.stdout.contains(word), "{table:?}");
    }
    cluster
        .kubectl(&["get", "vsiflow", "-o", "wide"])
        .exits(0)
        .says("REASON");
    cluster.until("its Events", 30, || {
        let events = cluster.events("web");
        ["Provisioning", "Booting", "Running"]
            .iter()
            .all(|reason_of| {
                events
                    .iter()
                    .filter(|(reason, _)| reason == reason_of)
                    .count()
                    == 1
            })
    });

    cluster.kubectl(&["delete", WEB, "--timeout=60s"]).exits(0);
    assert_eq!(domains(&vsiflow), 0);
    let history = ["history", "-n", cluster.namespace(), "web"];
    vsiflow.run(&history).exits(0).says("kubernetes:kubectl");
}

#[test]
fn kube_every_change_of_what_a_resource_selects_is_seen_at_once() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::of_documents();
    let _serving = cluster.serve(&vsiflow, &[]);
    cluster.apply(Vsi::named("web"));
    let settings = |data: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: lab\n  labels: {{config: lab}}\n\
             data: {{{data}}}\n"
        )
    };
    let until = |word: &str| {
        cluster.until(word, 20, || {
            let web = cluster.get(WEB);
            web["status"].to_string().contains(word)
        });
    };
    until("no ConfigMap or Secret");
    cluster.apply(settings("HOSTNAME: \"\""));
    until("the host's name is empty");
    cluster.apply(settings("HOSTNAME: 127.0.0.1, PORT: \"1\""));
    until("KNOWN_HOSTS");
    // The VSI is recorded from here on, and its host does not answer.
    cluster.apply(settings(
        "HOSTNAME: 127.0.0.1, PORT: \"1\", KNOWN_HOSTS: \"h ssh-ed25519 A\"",
    ));
    until("VSI01");
    let orphan = ["annotate", WEB, "vsiflow.io/orphan=true"];
    cluster.kubectl(&orphan).exits(0);
    cluster.kubectl(&["delete", WEB, "--timeout=60s"]).exits(0);
}

#[test]
fn kube_what_cannot_be_read_is_a_condition_and_harms_nobody_else() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (_vsiflow, _serving) = simulated(&cluster);
    cluster.apply(Vsi::named("web"));
    cluster.apply(Vsi::named("bad").contract("  "));
    cluster.wait_ready(WEB);
    cluster.until("it is refused", 20, || {
        cluster.condition("vsi/bad", "Accepted") == "False"
    });
    let bad = cluster.get("vsi/bad");
    assert_eq!(
        (&bad["status"]["status"], &bad["status"]["phase"]),
        (&2.into(), &"Blocked".into())
    );
    assert!(
        bad["metadata"]["finalizers"].is_null(),
        "nothing was made for it"
    );
    cluster
        .kubectl(&["delete", "vsi/bad", "--timeout=30s"])
        .exits(0);
    let wrong = "apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPrem\n\
                 metadata: {name: worse}\nspec: {machine: {cpus: 0}}\n";
    cluster.try_apply(wrong).exits(1).says("spec.machine.cpus");
}

#[test]
fn kube_the_old_slip_is_let_in_and_warned_of() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (_vsiflow, _serving) = simulated(&cluster);
    let mistyped = Vsi::named("web")
        .with("networkSelector: {matchExpressions: [{key: a, operator: Exists, value: [b]}]}");
    let network = "---\napiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremNetworkRef\n\
                   metadata: {name: net, labels: {a: c}}\nspec: {networkName: default}\n";
    cluster.apply(format!("{mistyped}{network}"));
    cluster.wait_ready(WEB);
    let web = cluster.get(WEB);
    assert!(
        web["status"]["warnings"]
            .to_string()
            .contains("matchExpressions[0].value"),
        "{web:#}"
    );
    cluster.wait_ready("vsinet/net");
    let net = cluster.get("vsinet/net");
    assert_eq!(
        (&net["status"]["status"], &net["status"]["usedBy"][0]),
        (&1.into(), &"web".into())
    );
}

/// A namespace with two VSIs and their disks, served by an operator in another namespace.
fn served_from_elsewhere(cluster: &TestCluster, kubeconfig: &str, vsiflow: &Vsiflow) -> Running {
    let serving = cluster.serve_as(kubeconfig, vsiflow, &[]);
    for name in ["web", "db"] {
        cluster.apply(Vsi::named(name).disk(&format!("{name}-data"), "1Mi"));
    }
    cluster.wait_ready(WEB);
    cluster.wait_ready("vsi/db");
    serving
}

fn delete_namespace(cluster: &TestCluster) {
    let namespace = cluster.namespace().to_owned();
    let delete = ["delete", "namespace", &namespace, "--timeout=90s"];
    cluster.kubectl(&delete).exits(0);
}

#[test]
fn kube_a_namespace_goes_with_everything_in_it() {
    let (Some(operator), Some(cluster)) = (TestCluster::enter(), TestCluster::enter()) else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let rights = operator.grant_elsewhere(&cluster);
    let kubeconfig = vsiflow.write("kubeconfig", rights.kubeconfig());
    let kubeconfig = kubeconfig.to_str().unwrap();
    let _serving = served_from_elsewhere(&cluster, kubeconfig, &vsiflow);
    delete_namespace(&cluster);
    assert_eq!(domains(&vsiflow), 0);
}

#[test]
fn kube_a_namespace_goes_although_its_role_went_first_and_the_operator_was_restarted() {
    let (Some(operator), Some(cluster)) = (TestCluster::enter(), TestCluster::enter()) else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let rights = operator.grant_elsewhere(&cluster);
    let kubeconfig = vsiflow.write("kubeconfig", rights.kubeconfig());
    let kubeconfig = kubeconfig.to_str().unwrap();
    let serving = served_from_elsewhere(&cluster, kubeconfig, &vsiflow);
    for kind in ["rolebinding", "role"] {
        cluster
            .kubectl(&["delete", kind, rights.release()])
            .exits(0);
    }
    serving.kill();
    let _serving = cluster.serve_as(kubeconfig, &vsiflow, &[]);
    delete_namespace(&cluster);
    assert_eq!(domains(&vsiflow), 0);
}

#[test]
fn kube_defect_03_power_is_what_the_resource_says() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = simulated(&cluster);
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready(WEB);
    let runs = |web: &Value| web["status"]["runId"].clone();
    let first = runs(&cluster.get(WEB));
    let patch = r#"{"spec":{"powerState":"Stopped"}}"#;
    cluster
        .kubectl(&["patch", WEB, "--type=merge", "-p", patch])
        .exits(0);
    cluster.until("it is stopped", 60, || {
        cluster.get(WEB)["status"]["phase"] == "Stopped"
    });
    let web = cluster.get(WEB);
    assert_ne!(runs(&web), first);
    assert!(
        conditions(&web).contains(&"Ready=False".to_owned()),
        "{web:#}"
    );
    assert_eq!(domains(&vsiflow), 1, "it is off, and still there");
}

#[test]
fn kube_defect_20_disks_keep_their_order_and_go_only_when_nobody_uses_them() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, _serving) = simulated(&cluster);
    cluster.apply(Vsi::named("web").disk("b", "1Mi").disk("a", "2Mi"));
    cluster.wait_ready(WEB);
    cluster
        .kubectl(&["delete", "vsidisk/a", "--wait=false"])
        .exits(0);
    cluster.until("it is in use", 30, || {
        cluster.condition("vsidisk/a", "InUse") == "True"
    });
    assert_eq!(cluster.get(WEB)["status"]["phase"], "Running");
    cluster.kubectl(&["delete", WEB, "--timeout=60s"]).exits(0);
    cluster.until("the disk's resource is gone", 60, || {
        cluster.get("vsidisk/a").is_null()
    });
    assert_eq!(domains(&vsiflow), 0);
}

#[test]
fn kube_lab_the_manifests_of_the_operator_before_are_taken_as_they_are() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter()) else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-kube.qcow2"), Vsiflow::of_documents());
    // The images of that manual are served on this machine.
    let beside = ["--allow-image-addresses", "127.0.0.0/8"];
    let serving = cluster.serve(&vsiflow, &beside);
    let host = lab.host();
    let indented = |text: &str| {
        text.lines()
            .map(|line| format!("    {line}\n"))
            .collect::<String>()
    };
    // As in the old operator's manual: everything is in one ConfigMap, including the key. That has
    // to be allowed explicitly here.
    let documents = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: vpc-onprem-configmap\n  labels:\n    \
         app: onpremtest\n    version: 20.0.1\ndata:\n  INSECURE_SECRETS_IN_CONFIGMAP: \"true\"\n  HOSTNAME: {}\n  KEY: |\n{}  PORT: \"{}\"\n  \
         KNOWN_HOSTS: |\n{}  USER: root\n---\n\
         kind: HyperProtectContainerRuntimeOnPremDataDisk\napiVersion: hpse.ibm.com/v1\nmetadata:\n  \
         name: sampledisk\n  labels:\n    app: hpcr\nspec:\n  size: 107374182400\n  storagePool: \
         images\n  targetSelector:\n    matchLabels:\n      app: onpremtest\n---\n\
         kind: HyperProtectContainerRuntimeOnPremNetworkRef\napiVersion: hpse.ibm.com/v1\nmetadata:\n  \
         name: samplenetworkref\n  labels:\n    app: hpcr\nspec:\n  networkName: default\n  \
         targetSelector:\n    matchLabels:\n      app: onpremtest\n---\n\
         apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPrem\nmetadata:\n  name: \
         onpremsample\nspec:\n  contract: |\n{}  imageURL: {}\n  storagePool: images\n  \
         targetSelector:\n    matchLabels:\n      app: onpremtest\n  diskSelector:\n    matchLabels:\n      \
         app: hpcr\n  networkSelector:\n    matchLabels:\n      app: hpcr\n",
        host.hostname,
        indented(&host.key),
        host.port,
        indented(&host.known_hosts),
        indented(vsiflow_tests::documents::CONTRACT),
        image.url(),
    );
    cluster.apply(documents);
    cluster.wait_ready("vsi/onpremsample");
    let sample = cluster.get("vsi/onpremsample");
    assert_eq!(sample["status"]["status"], 1);
    let uid = sample["metadata"]["uid"].as_str().unwrap();
    assert_eq!(lab.virsh(&["domstate", uid]).trim(), "running");

    // The key is stored in the cluster alone; the next process finds it there.
    let key = host.key.lines().nth(1).unwrap().to_owned();
    let contract = vsiflow_tests::documents::CONTRACT.lines().last().unwrap();
    assert_eq!(files_with(&vsiflow.state(), &[&key, contract]), 0);
    let runs = sample["status"]["runId"].clone();
    serving.kill();
    let _serving = cluster.serve(&vsiflow, &beside);
    let stop = r#"{"spec":{"powerState":"Stopped"}}"#;
    cluster
        .kubectl(&["patch", "vsi/onpremsample", "--type=merge", "-p", stop])
        .exits(0);
    // A guest has 60 seconds to shut down, and needs them on a busy machine.
    cluster.until("it is stopped", 120, || {
        cluster.get("vsi/onpremsample")["status"]["phase"] == "Stopped"
    });
    let history = [
        "history",
        "-n",
        cluster.namespace(),
        "onpremsample",
        "-o",
        "json",
    ];
    let printed = vsiflow.run(&history).exits(0);
    let of_vsi = |line: &&str| line.contains("run_started") && line.contains("_vsi\"");
    let begun = printed.stdout.lines().filter(of_vsi).count();
    assert_eq!(
        begun, 2,
        "nothing but power changed since {runs}: {printed:#?}"
    );
    cluster
        .kubectl(&["delete", "vsi/onpremsample", "--timeout=90s"])
        .exits(0);
    assert!(
        !lab.names(&["list", "--all", "--name"])
            .contains(&uid.to_owned())
    );
    assert!(!lab.volumes("images").iter().any(|name| name.contains(uid)));
}

/// How many files below a folder contain one of these words.
fn files_with(folder: &Path, words: &[&str]) -> usize {
    let all = std::fs::read_dir(folder).unwrap().flatten();
    let counted = all.map(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => files_with(&entry.path(), words),
        kind if kind.is_file() => {
            let bytes = std::fs::read(entry.path()).unwrap();
            let has = |word: &&str| {
                bytes
                    .windows(word.len())
                    .any(|part| part == word.as_bytes())
            };
            usize::from(words.iter().any(has))
        }
        _ => 0,
    });
    counted.sum()
}
