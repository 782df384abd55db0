//! Several processes that share a set of journals and serve the custom resources of one cluster.

use vsiflow_tests::{Lab, Running, TestCluster, Vsi, Vsiflow};

use super::shards::ShardsSite;

/// Starts a process of the set that serves the cluster's resources.
fn process(site: &ShardsSite, cluster: &TestCluster) -> Running {
    site.process_that(&[
        "--lease",
        "15s",
        "--kube",
        "--allow-image-addresses",
        "127.0.0.0/8",
        "--namespace",
        cluster.namespace(),
        "--kubeconfig",
        cluster.granted(),
    ])
}

/// The process ID of the holder of the host's journal.
fn holder(site: &ShardsSite) -> u32 {
    let select = "SELECT journal FROM vsiflow.shard_hosts WHERE host = 'sim'";
    let journal = site.server.sql(select).trim().parse().unwrap();
    site.holder_of(journal)
}

fn status(cluster: &TestCluster, name: &str, field: &str) -> String {
    let object = cluster.get(&format!("vsi/{name}"));
    object["status"][field]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn kube_shards_resources_go_on_in_whichever_process_has_their_journal() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let site = ShardsSite::with(Vsiflow::simulated());
    let mut first = process(&site, &cluster);
    assert!(
        first.reaches("serving journal 3", 120),
        "{}",
        first.error_output()
    );
    let second = process(&site, &cluster);
    site.until_held(4, 2);
    cluster.apply(Vsi::named("web"));
    cluster.until("web is ready", 120, || {
        cluster.condition("vsi/web", "Ready") == "True"
    });
    let run = status(&cluster, "web", "runId");

    let died = holder(&site);
    let (dead, _living) = if first.pid() == died {
        (first, second)
    } else {
        (second, first)
    };
    dead.kill();
    cluster.apply(Vsi::named("db"));
    // After a death, hosts get no calls for a minute.
    cluster.until("db is ready", 240, || {
        cluster.condition("vsi/db", "Ready") == "True"
    });
    assert_ne!(holder(&site), died);
    assert_eq!(
        status(&cluster, "web", "runId"),
        run,
        "nothing was begun anew"
    );
    assert_eq!(site.vsiflow.sim().domains().len(), 2);
    let namespace = ["get", "-n", cluster.namespace(), "-o", "name"];
    let listed = site.run(&namespace).exits(0).stdout;
    assert_eq!(listed.lines().count(), 2, "{listed}");

    let delete = ["delete", "vsi/web", "vsi/db", "--timeout=120s"];
    cluster.kubectl(&delete).exits(0);
    assert!(site.vsiflow.sim().domains().is_empty());
}

/// A server that may be placed on any host of the cluster.
fn anywhere(name: &str, image: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {image}\n  guest: {{type: none}}\n  machine: {{cpus: 1, memory: 256Mi}}\n  \
         targetSelector: {{matchExpressions: [{{key: config, operator: Exists}}]}}\n  \
         placement: {{requires: {{poolRoom: 1Gi}}}}\n"
    )
}

#[test]
fn kube_shards_a_host_is_chosen_over_all_journals() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter()) else {
        return;
    };
    let (image, site) = (
        lab.image("t-resource.qcow2"),
        ShardsSite::with(Vsiflow::of_documents()),
    );
    let mut first = process(&site, &cluster);
    assert!(
        first.reaches("serving journal 3", 120),
        "{}",
        first.error_output()
    );
    let mut silent = lab.host();
    silent.label = "silent".to_owned();
    silent.hostname = "127.0.0.3".to_owned();
    silent.port = 9;
    cluster.apply(format!("{}{silent}", lab.host()));
    cluster.apply(anywhere("t-resource", &image.url()));
    cluster.wait_ready("virtualserver/t-resource");
    let object = cluster.get("virtualserver/t-resource");
    assert_eq!(object["status"]["host"], lab.host_id());
    let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
    lab.virsh(&["domid", &uid]);
    let described = site.run(&["describe", "-n", cluster.namespace(), "vsi/t-resource"]);
    described.exits(0).says("it does not answer");

    let second = process(&site, &cluster);
    site.until_held(4, 2);
    cluster.apply(anywhere("t-huge", &image.url()).replace("256Mi", "8Ti"));
    cluster.until("it reports that no host fits", 120, || {
        let status = cluster.get("virtualserver/t-huge")["status"].to_string();
        status.contains("VSI0737") && status.contains("it lacks 8Ti of memory")
    });
    for name in ["virtualserver/t-huge", "virtualserver/t-resource"] {
        cluster
            .kubectl(&["delete", name, "--timeout=120s"])
            .exits(0);
    }
    let left = lab.virsh(&["list", "--all", "--uuid"]);
    assert!(!left.contains(&uid), "{left}");
    drop((first, second));
}

/// A pool of such servers.
fn pool(name: &str, image: &str, replicas: u32) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: {name}}}\nspec:\n  \
         replicas: {replicas}\n  template:\n    spec:\n      imageURL: {image}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: 128Mi}}\n      \
         targetSelector: {{matchExpressions: [{{key: config, operator: Exists}}]}}\n      \
         placement: {{requires: {{poolRoom: 1Gi}}}}\n"
    )
}

#[test]
fn kube_shards_a_pool_and_its_members_go_on_in_whichever_processes_have_their_journals() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter()) else {
        return;
    };
    let (image, site) = (
        lab.image("t-members.qcow2"),
        ShardsSite::with(Vsiflow::of_documents()),
    );
    let mut first = process(&site, &cluster);
    assert!(
        first.reaches("serving journal 3", 120),
        "{}",
        first.error_output()
    );
    cluster.apply(lab.host());
    cluster.apply(pool("t-members", &image.url(), 2));
    let is_available = |replicas: u32| {
        let status = cluster.get("virtualserverpool/t-members")["status"].clone();
        status["phase"] == "Available" && status["readyReplicas"] == replicas
    };
    cluster.until("two members are ready", 180, || is_available(2));
    let vsi_of = |name: &str| {
        let object = cluster.get(&format!("virtualserver/{name}"));
        object["metadata"]["annotations"]["vsiflow.io/vsi-uid"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    cluster.wait_ready("virtualserver/t-members-1");
    let (stays, goes) = (vsi_of("t-members-0"), vsi_of("t-members-1"));
    let running = |uid: &str| lab.virsh(&["domid", uid]);
    let boot = running(&stays);

    // The successor sends no calls to the hosts for a minute.
    let second = process(&site, &cluster);
    site.until_held(4, 2);
    first.kill();
    let delete_one = ["delete", "virtualserver/t-members-1", "--wait=false"];
    cluster.kubectl(&delete_one).exits(0);
    cluster.until("the member is recreated", 300, || {
        let now = vsi_of("t-members-1");
        !now.is_empty() && now != goes
    });
    let scale = ["scale", "virtualserverpool/t-members", "--replicas=3"];
    cluster.kubectl(&scale).exits(0);
    cluster.until("three members are ready", 180, || is_available(3));
    assert_eq!(running(&stays), boot, "the VSI is unchanged");

    let delete = ["delete", "virtualserverpool/t-members", "--timeout=180s"];
    cluster.kubectl(&delete).exits(0);
    let shown = cluster.kubectl(&["get", "virtualservers", "-o", "name"]);
    assert!(!shown.stdout.contains("t-members"), "{}", shown.stdout);
    let left = lab.virsh(&["list", "--all", "--uuid"]);
    assert!(!left.contains(&stays), "{left}");
    drop(second);
}

/// A server on the network that vsiflow makes.
fn networked(name: &str, image: &str) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {image}\n  guest: {{type: none}}\n  machine: {{cpus: 1, memory: 128Mi}}\n  \
         targetSelector: {{matchExpressions: [{{key: config, operator: Exists}}]}}\n  \
         interfaces: [{{network: t-inner}}]\n"
    )
}

#[test]
fn kube_shards_networks_and_snapshots_are_served_and_go_from_the_host() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter()) else {
        return;
    };
    let (image, site) = (
        lab.image("t-networked.qcow2"),
        ShardsSite::with(Vsiflow::of_documents()),
    );
    let mut first = process(&site, &cluster);
    assert!(
        first.reaches("serving journal 3", 120),
        "{}",
        first.error_output()
    );
    let network = "---\napiVersion: vsiflow.io/v1\nkind: VirtualServerNetwork\nmetadata: {name: t-inner}\n\
                   spec: {cidr: 10.77.3.0/24}\n";
    cluster.apply(format!("{}{network}", lab.host()));
    cluster.apply(networked("t-networked", &image.url()));
    cluster.wait_ready("virtualserver/t-networked");
    cluster.wait_ready("virtualservernetwork/t-inner");
    let served = cluster.get("virtualservernetwork/t-inner");
    assert_eq!(served["status"]["host"], lab.host_id());
    let on_host = || lab.virsh(&["net-list", "--all", "--name"]);
    assert!(on_host().contains("t-inner"), "{}", on_host());

    // The successor continues with them.
    let second = process(&site, &cluster);
    site.until_held(4, 2);
    let stop = r#"{"spec": {"powerState": "Stopped"}}"#;
    let patch = [
        "patch",
        "virtualserver/t-networked",
        "--type=merge",
        "-p",
        stop,
    ];
    cluster.kubectl(&patch).exits(0);
    cluster.until("it is off", 180, || {
        cluster.get("virtualserver/t-networked")["status"]["phase"] == "Stopped"
    });
    cluster.apply(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServerSnapshot\nmetadata: {name: t-first}\n\
         spec: {virtualServer: t-networked}\n",
    );
    cluster.wait_ready("virtualserversnapshot/t-first");
    first.kill();

    let unhurried = ["delete", "virtualservernetwork/t-inner", "--wait=false"];
    cluster.kubectl(&unhurried).exits(0);
    cluster.until("it reports who uses it", 240, || {
        let status = cluster.get("virtualservernetwork/t-inner")["status"].to_string();
        status.contains("VSI0746") && status.contains("t-networked")
    });
    assert!(on_host().contains("t-inner"), "a server is on it");
    for name in [
        "virtualserversnapshot/t-first",
        "virtualserver/t-networked",
        "virtualservernetwork/t-inner",
    ] {
        cluster
            .kubectl(&["delete", name, "--timeout=240s", "--ignore-not-found"])
            .exits(0);
    }
    assert!(!on_host().contains("t-inner"), "{}", on_host());
    drop(second);
}

/// A quota of the number of VSIs.
fn quota(vsis: u32) -> String {
    format!(
        "---\napiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {{name: all}}\n\
         spec: {{hard: {{vsis: {vsis}}}}}\n"
    )
}

fn is_used(cluster: &TestCluster, vsis: u32) -> bool {
    let status = &cluster.get("virtualserverquota/all")["status"];
    status["used"]["vsis"].as_str() == Some(vsis.to_string().as_str())
}

#[test]
fn kube_shards_quotas_hold_over_all_journals() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let site = ShardsSite::with(Vsiflow::simulated());
    let mut first = process(&site, &cluster);
    assert!(
        first.reaches("serving journal 3", 120),
        "{}",
        first.error_output()
    );
    let second = process(&site, &cluster);
    site.until_held(4, 2);
    cluster.apply(quota(1));
    cluster.until("the quota is recorded", 60, || is_used(&cluster, 0));
    cluster.apply(Vsi::named("a"));
    cluster.until("a is ready", 120, || {
        cluster.condition("vsi/a", "Ready") == "True"
    });
    cluster.until("it is counted", 90, || is_used(&cluster, 1));
    cluster.apply(Vsi::named("b"));
    cluster.until("the quota refuses b", 60, || {
        cluster.get("vsi/b")["status"]
            .to_string()
            .contains("VSI0738")
    });
    let place = format!("  name: c\n  namespace: {}\n", cluster.namespace());
    let document = Vsi::named("c").to_string().replace("  name: c\n", &place);
    site.apply(&document, &[]).exits(4).says("VSI0738");
    assert_eq!(site.vsiflow.sim().domains().len(), 1);

    cluster.apply(quota(2));
    cluster.until("b is ready", 120, || {
        cluster.condition("vsi/b", "Ready") == "True"
    });
    let delete = ["delete", "virtualserverquota/all", "--timeout=60s"];
    cluster.kubectl(&delete).exits(0);
    cluster.apply(Vsi::named("c"));
    cluster.until("c is ready", 120, || {
        cluster.condition("vsi/c", "Ready") == "True"
    });
    drop((first, second));
}

#[test]
fn kube_shards_options_of_a_process_with_all_journals_are_refused() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let site = ShardsSite::with(Vsiflow::simulated());
    for refused in [
        &["--leader-elect"][..],
        &["--id-key-secret", "a/b"],
        &["--journal-lost", "adopt"],
        &[
            "--subresources-address",
            "127.0.0.1:0",
            "--subresources-service",
            "a/b",
        ],
    ] {
        let serve = ["serve", "--shards", "auto", "--kube", "--kubeconfig"];
        let all = [&serve[..], &[cluster.granted()], refused].concat();
        site.run(&all).exits(2).says("VSI0762").says(refused[0]);
    }
}
