//! Two daemons, one state directory, one Lease.

use std::time::Instant;

use vsiflow_tests::{Cluster, Vsi, Vsiflow};

const LEADS: [&str; 1] = ["--leader-elect"];

#[test]
fn kube_a_standby_takes_over_within_40_s_of_the_leaders_death() {
    let Some(cluster) = Cluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let lease = format!("{}/vsiflow", cluster.namespace());
    let more = [LEADS[0], "--lease-name", &lease];
    let mut first = cluster.serve(&vsiflow, &more);
    assert!(first.reaches("serving the resources", 30));
    let mut second = cluster.serve(&vsiflow, &more);
    assert!(second.reaches("waiting for the Lease", 30));
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready("vsi/web");

    first.kill();
    let died = Instant::now();
    cluster.apply(Vsi::named("db"));
    assert!(second.reaches("serving the resources", 60));
    let took = died.elapsed();
    // Not before the Lease is past, and what the other one may have sent.
    assert!((25..40).contains(&took.as_secs()), "{took:?}");
    cluster.wait_ready("vsi/db");
    assert_eq!(vsiflow.sim().domains().len(), 2);

    // One that ends in order lets the Lease go at once.
    let mut third = cluster.serve(&vsiflow, &more);
    assert!(third.reaches("waiting for the Lease", 30));
    second.terminate();
    second.end(30).exits(0);
    let ended = Instant::now();
    assert!(third.reaches("serving the resources", 30));
    assert!(ended.elapsed().as_secs() < 8, "{:?}", ended.elapsed());
}

#[test]
fn kube_a_leader_that_was_stopped_does_nothing_any_more() {
    let Some(cluster) = Cluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let lease = format!("{}/vsiflow", cluster.namespace());
    let more = [LEADS[0], "--lease-name", &lease];
    let mut first = cluster.serve(&vsiflow, &more);
    assert!(first.reaches("serving the resources", 30));
    let mut second = cluster.serve(&vsiflow, &more);
    assert!(second.reaches("waiting for the Lease", 30));
    first.stop();
    // The directory is still held by the one that was stopped: the standby leads, and waits for it.
    let holder = || {
        let lease = cluster.get("lease/vsiflow");
        lease["spec"]["leaseTransitions"].clone()
    };
    let before = holder();
    cluster.until("the Lease changes hands", 60, || holder() != before);
    first.go_on();
    first.end(30).exits(6);
    assert!(second.reaches("serving the resources", 30));
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready("vsi/web");
}
