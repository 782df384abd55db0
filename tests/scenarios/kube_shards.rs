//! Several processes that share the journals of a set, and with them the custom resources of a cluster.

use vsiflow_tests::{Cluster, Running, Vsi, Vsiflow};

use super::shards::Site;

/// A process of the set that serves the cluster's resources.
fn process(site: &Site, cluster: &Cluster) -> Running {
    site.process_that(&[
        "--lease",
        "15s",
        "--kube",
        "--namespace",
        cluster.namespace(),
        "--kubeconfig",
        cluster.granted(),
    ])
}

/// The process that has the journal of the one host.
fn holder(site: &Site) -> u32 {
    let select = "SELECT journal FROM vsiflow.shard_hosts WHERE host = 'sim'";
    let journal = site.server.sql(select).trim().parse().unwrap();
    site.holder_of(journal)
}

fn status(cluster: &Cluster, name: &str, field: &str) -> String {
    let object = cluster.get(&format!("vsi/{name}"));
    object["status"][field]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn kube_shards_resources_go_on_in_whichever_process_has_their_journal() {
    let Some(cluster) = Cluster::enter() else {
        return;
    };
    let site = Site::with(Vsiflow::simulated());
    let mut first = process(&site, &cluster);
    assert!(first.reaches("serving journal 3", 120), "{}", first.told());
    let second = process(&site, &cluster);
    site.comes_to(4, 2);
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
    // Hosts are left alone for a minute after a death.
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

#[test]
fn kube_shards_options_of_a_process_with_all_journals_are_refused() {
    let Some(cluster) = Cluster::enter() else {
        return;
    };
    let site = Site::with(Vsiflow::simulated());
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
