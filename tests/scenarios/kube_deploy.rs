//! The manifests in `deploy`: the API server accepts them, and the pods follow the Pod Security
//! rules.

use std::{collections::BTreeSet, path::Path};

use serde_json::{Value, json};
use vsiflow_tests::{TestCluster, Vsi, Vsiflow};

const KUSTOMIZATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kustomize");
/// Servers before 1.22 do not know the default access mode.
const OLD_MODE: &str = "persistence.accessMode=ReadWriteOnce";

/// The chart, rendered with the values that change it most. A missing namespace would not be an
/// error of the text.
fn rendered(cluster: &TestCluster, more: &[&str]) -> Vec<String> {
    let here = format!("watchNamespaces={{{}}}", cluster.namespace());
    let choices: [&[&str]; 4] = [
        &[],
        &["--set", &here],
        &["--set", "watchAllNamespaces=true"],
        &[
            "--set",
            "standby=true",
            "--set",
            "networkPolicy.enabled=false",
        ],
    ];
    let rendered = choices.iter().map(|choice| {
        let all = [more, choice].concat();
        cluster.chart(&all).exits(0).stdout
    });
    rendered.collect()
}

fn kustomized(cluster: &TestCluster) -> String {
    kustomized_of(cluster, "")
}

/// The text of one folder of the kustomization.
fn kustomized_of(cluster: &TestCluster, folder: &str) -> String {
    let folder = format!("{KUSTOMIZATION}/{folder}");
    let ran = cluster.kubectl(&["kustomize", &folder]).exits(0);
    let namespace = format!("namespace: {}\n", cluster.namespace());
    ran.stdout
        .replace("ReadWriteOncePod", "ReadWriteOnce")
        .replace("namespace: vsiflow\n", &namespace)
}

/// The objects of a text, as the API server reads them.
fn objects(cluster: &TestCluster, text: &str) -> Vec<Value> {
    let arguments = [
        "create",
        "--dry-run=client",
        "--validate=false",
        "-o",
        "json",
        "-f",
        "-",
    ];
    let ran = cluster.feed_anywhere(&arguments, text).exits(0);
    let all = serde_json::Deserializer::from_str(&ran.stdout).into_iter();
    all.map(|object| object.unwrap()).collect()
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> &'a Value {
    let mut all = all.iter();
    all.find(|object| object["kind"] == kind).unwrap()
}

#[test]
fn the_definitions_are_the_same_everywhere() {
    let definitions = include_str!("../../deploy/crd.yaml");
    for (place, copy) in [
        ("helm/crds", include_str!("../../deploy/helm/crds/crd.yaml")),
        (
            "kustomize/crd",
            include_str!("../../deploy/kustomize/crd/crd.yaml"),
        ),
    ] {
        assert!(
            copy == definitions,
            "run: cp deploy/crd.yaml deploy/{place}/"
        );
    }
}

#[test]
fn kube_the_api_server_takes_what_is_deployed() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let taken = |text: &str| {
        let dry = ["apply", "--dry-run=server", "-f", "-"];
        let applied = std::iter::repeat_with(|| cluster.feed_anywhere(&dry, text));
        // Another test may have made the same cluster role between kubectl's look and its attempt to make it.
        let mut applied = applied
            .take(5)
            .skip_while(|ran| ran.stderr.contains("AlreadyExists"));
        applied.next().expect("a role that comes and goes").exits(0);
    };
    for text in rendered(&cluster, &["--set", OLD_MODE]) {
        taken(&text);
    }
    for folder in ["", "shards", "shards-resources"] {
        taken(&kustomized_of(&cluster, folder));
    }
}

#[test]
fn kube_pods_keep_to_the_restricted_standard() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let mut texts = rendered(&cluster, &[]);
    let folders = ["", "shards", "shards-resources"].into_iter();
    texts.extend(folders.map(|folder| kustomized_of(&cluster, folder)));
    for text in texts {
        let all = objects(&cluster, &text);
        let pod = &of_kind(&all, "Deployment")["spec"]["template"]["spec"];
        let context = &pod["securityContext"];
        assert_eq!(context["runAsNonRoot"], true);
        assert_eq!(context["seccompProfile"]["type"], "RuntimeDefault");
        for shared in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(pod[shared].is_null(), "{shared}");
        }
        for container in pod["containers"].as_array().unwrap() {
            let own_context = &container["securityContext"];
            assert_eq!(own_context["allowPrivilegeEscalation"], false);
            assert_eq!(own_context["readOnlyRootFilesystem"], true);
            assert_eq!(own_context["capabilities"]["drop"][0], "ALL");
            assert!(own_context["capabilities"]["add"].is_null());
            assert!(container["ports"][0]["hostPort"].is_null());
        }
        for volume in pod["volumes"].as_array().unwrap() {
            let kinds: Vec<_> = volume.as_object().unwrap().keys().collect();
            let allowed = ["name", "persistentVolumeClaim", "emptyDir", "secret"];
            assert!(
                kinds.iter().all(|kind| allowed.contains(&kind.as_str())),
                "{kinds:?}"
            );
        }
    }
}

#[test]
fn kube_the_chart_and_the_kustomization_run_the_same_with_the_same_rights() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let chart = objects(&cluster, &cluster.chart(&[]).exits(0).stdout);
    let kustomized = objects(&cluster, &kustomized(&cluster));
    let pod = |all: &[Value]| {
        let mut pod = of_kind(all, "Deployment")["spec"]["template"]["spec"].clone();
        // Only the arguments may differ: they name the namespace.
        pod["containers"][0]["args"] = Value::Null;
        pod
    };
    assert_eq!(pod(&chart), pod(&kustomized));
    let rules = |all: &[Value], name: &str| {
        let mut all = all.iter();
        let role = all.find(|one| one["kind"] == "Role" && one["metadata"]["name"] == name);
        role.unwrap()["rules"].clone()
    };
    for name in ["vsiflow", "vsiflow-leader"] {
        assert_eq!(rules(&chart, name), rules(&kustomized, name), "{name}");
    }
    let claim = cluster.chart(&[]).exits(0).stdout;
    assert!(
        claim.contains("ReadWriteOncePod"),
        "no second pod may ever open the journal"
    );
}

#[test]
fn kube_what_is_granted_in_all_namespaces_is_about_vsis_alone_and_can_be_left_out() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    // The permissions for the API of subresources are checked elsewhere.
    let off = ["--set", "subresources.enabled=false"];
    let others = [&off[..], &["--set", "watchNamespaces={elsewhere}"]].concat();
    let chart = cluster.chart(&others).exits(0).stdout;
    let role = of_kind(&objects(&cluster, &chart), "ClusterRole")["rules"].clone();
    let namespaces = format!("{KUSTOMIZATION}/namespaces");
    let kustomized = cluster.kubectl(&["kustomize", &namespaces]).exits(0).stdout;
    let own = objects(&cluster, &kustomized);
    assert_eq!(role, of_kind(&own, "ClusterRole")["rules"]);
    for rule in role.as_array().unwrap() {
        let groups = rule["apiGroups"].as_array().unwrap();
        let ours = groups
            .iter()
            .all(|one| one == "hpse.ibm.com" || one == "vsiflow.io");
        assert!(ours, "{rule}");
    }
    let dry = ["apply", "--dry-run=server", "-f", "-"];
    cluster.feed(&dry, &kustomized).exits(0);

    let none = ["--set", "finishDeletedNamespaces=false"];
    let without = cluster.chart(&[&others[..], &none].concat()).exits(0);
    without.keeps_quiet_about("ClusterRole");
    // An operator that serves only its own namespace needs no cluster role.
    cluster
        .chart(&off)
        .exits(0)
        .keeps_quiet_about("ClusterRole");
}

#[test]
fn kube_what_subresources_take_is_the_same_everywhere_and_little() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let only = ["-s", "templates/subresources.yaml"];
    let chart = cluster.chart(&only).exits(0).stdout;
    let folder = format!("{KUSTOMIZATION}/subresources");
    let kustomized = cluster.kubectl(&["kustomize", &folder]).exits(0).stdout;
    let place = format!("namespace: {}\n", cluster.namespace());
    let kustomized = kustomized.replace("namespace: vsiflow\n", &place);
    let has_line = |text: &str| {
        let all = objects(&cluster, text).into_iter().map(|mut one| {
            let meta = one["metadata"].take();
            one["metadata"] = serde_json::json!([meta["name"], meta["namespace"]]);
            one["spec"]["selector"].take();
            one.to_string()
        });
        all.collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(has_line(&chart), has_line(&kustomized));
    let dry = ["apply", "--dry-run=server", "-f", "-"];
    cluster.feed_anywhere(&dry, &kustomized).exits(0);
    // The operator itself: it asks for permissions and publishes its certificate.
    let all = objects(&cluster, &chart);
    let rules = of_kind(&all, "ClusterRole")["rules"].to_string();
    assert!(
        !rules.contains('*') && !rules.contains("secrets"),
        "{rules}"
    );
}

#[test]
fn kube_the_rights_of_the_chart_suffice_and_go_no_further() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let lease = format!("{}/vsiflow", cluster.namespace());
    let _serving = cluster.serve(&vsiflow, &["--leader-elect", "--lease-name", &lease]);
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready("vsi/web");
    cluster
        .kubectl(&["delete", "vsi", "web", "--timeout=60s"])
        .exits(0);

    let account = format!("--as=system:serviceaccount:{}:vsiflow", cluster.namespace());
    for denied in [
        ["create", "secrets"],
        ["delete", "onprem-hpcrs"],
        ["create", "pods"],
        ["update", "configmaps"],
        ["get", "secrets"],
    ] {
        let arguments = ["auth", "can-i", denied[0], denied[1], &account];
        let ran = cluster.kubectl(&arguments);
        assert_eq!(ran.stdout.trim(), "no", "{denied:?}");
    }
    let elsewhere = [
        "auth",
        "can-i",
        "list",
        "secrets",
        &account,
        "-n",
        "kube-system",
    ];
    assert_eq!(cluster.kubectl(&elsewhere).stdout.trim(), "no");
}

/// How many files of a folder are not empty.
fn filled(folder: &Path) -> usize {
    let files = std::fs::read_dir(folder).unwrap();
    let lengths = files.map(|file| file.unwrap().metadata().unwrap().len());
    lengths.filter(|length| *length > 0).count()
}

/// The key was lost with the volume, so a changed contract could not be detected any more.
#[test]
fn kube_a_process_without_the_secrets_of_the_one_before_tells_whether_a_contract_has_changed() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let secret = format!("{}/vsiflow-id-key", cluster.namespace());
    let serve = || cluster.serve(&vsiflow, &["--id-key-secret", &secret]);
    let serving = serve();
    let manual = Vsi::named("web").with("updatePolicy: Manual");
    cluster.apply(manual.clone());
    cluster.wait_ready("vsi/web");
    serving.terminate();
    serving.end(60).exits(0);
    let secrets = vsiflow.state().join("secrets");
    assert_eq!(filled(&secrets), 0, "the key is in the cluster alone");
    let key = cluster.get("secret/vsiflow-id-key")["data"]["key"].clone();
    assert!(key.as_str().is_some_and(|key| key.len() > 40), "{key}");

    // An empty folder, as on a new volume.
    std::fs::remove_dir_all(&secrets).unwrap();
    let mut folder = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.create(&secrets).unwrap();
    let proposal = || cluster.get("vsi/web")["status"]["proposal"].clone();
    let _serving = serve();
    cluster.apply(manual.contract("env: other\nworkload: other\n"));
    cluster.until("the change is noticed", 60, || !proposal().is_null());
    assert_eq!(filled(&secrets), 0);
    let after = cluster.get("secret/vsiflow-id-key")["data"]["key"].clone();
    assert_eq!(after, key);
}

/// What a user may do in a namespace, as the API server reports it: group, resource and verb. A
/// permission for one object includes its name: `resource/NAME`.
fn rights(cluster: &TestCluster, of: &str, namespace: &str) -> BTreeSet<(String, String, String)> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let arguments = ["create", "-f", "-", "-o", "json", of];
    let answer = cluster
        .feed(&arguments, &review.to_string())
        .exits(0)
        .json();
    let texts = |value: &Value| -> Vec<String> {
        let all = value.as_array().cloned().unwrap_or_default();
        all.iter()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect()
    };
    let mut all = BTreeSet::new();
    for rule in answer["status"]["resourceRules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                let names = match (resource.as_str(), texts(&rule["resourceNames"])) {
                    ("secrets", names) if !names.is_empty() => names,
                    _ => vec![String::new()],
                };
                for (verb, name) in texts(&rule["verbs"]).iter().zip(names.iter().cycle()) {
                    let resource = match name.as_str() {
                        "" => resource.clone(),
                        name => format!("{resource}/{name}"),
                    };
                    all.insert((group.clone(), resource, verb.clone()));
                }
                assert!(names.len() < 2, "{names:?}");
            }
        }
    }
    all
}

#[test]
fn kube_defect_30_who_is_deployed_may_do_nothing_that_would_give_it_more() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    cluster.granted();
    let account = format!("--as=system:serviceaccount:{}:vsiflow", cluster.namespace());
    let stranger = format!("--as=system:serviceaccount:{}:nobody", cluster.namespace());
    let own = rights(&cluster, &account, cluster.namespace());
    // Permissions that every user has say nothing about what is deployed.
    let public = rights(&cluster, &stranger, cluster.namespace());
    let granted: BTreeSet<_> = own.difference(&public).collect();
    assert!(granted.len() > 10, "{granted:?}");
    for (group, resource, verb) in granted {
        let may = match (group.as_str(), resource.as_str()) {
            ("hpse.ibm.com" | "vsiflow.io", resource) if resource.ends_with("/status") => {
                &["patch"][..]
            }
            // Members of pools and groups are created and deleted. They may refer only to what the
            // author of the pool could refer to, see kube_tenants.rs.
            ("vsiflow.io", "virtualservers") => {
                &["get", "list", "watch", "patch", "create", "delete"]
            }
            ("hpse.ibm.com" | "vsiflow.io", _) => &["get", "list", "watch", "patch"],
            ("", "secrets" | "configmaps") => &["list", "watch"],
            ("", "secrets/vsiflow-id-key") => &["get", "update"],
            ("", "events") => &["create", "patch"],
            ("coordination.k8s.io", "leases") => &["get", "create", "update"],
            // Asking for a user's identity and permissions grants nothing.
            ("authentication.k8s.io" | "authorization.k8s.io", _) => &["create"],
            _ => &[],
        };
        assert!(may.contains(&verb.as_str()), "{group}/{resource}: {verb}");
    }
    let elsewhere = rights(&cluster, &account, "kube-system");
    let none = rights(&cluster, &stranger, "kube-system");
    let beyond: Vec<_> = elsewhere.difference(&none).collect();
    assert!(beyond.is_empty(), "{beyond:?}");
}
