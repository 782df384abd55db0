//! Leader election: two daemons share one state directory and one Lease.

use std::{
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use serde_json::{Value, json};
use vsiflow_tests::{TestCluster, Vsi, Vsiflow, until};

const LEADS: [&str; 1] = ["--leader-elect"];

#[test]
fn kube_a_standby_takes_over_within_40_s_of_the_leaders_death() {
    let Some(cluster) = TestCluster::enter() else {
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
    // Not before the Lease has expired and calls of the old leader must have ended.
    assert!((25..40).contains(&took.as_secs()), "{took:?}");
    cluster.wait_ready("vsi/db");
    assert_eq!(vsiflow.sim().domains().len(), 2);

    // A daemon that ends in order releases the Lease immediately.
    let mut third = cluster.serve(&vsiflow, &more);
    assert!(third.reaches("waiting for the Lease", 30));
    second.terminate();
    second.end(30).exits(0);
    let ended = Instant::now();
    assert!(third.reaches("serving the resources", 30));
    // A standby that waits until the Lease expires needs 30 s.
    assert!(ended.elapsed().as_secs() < 20, "{:?}", ended.elapsed());
}

#[test]
fn kube_a_leader_that_was_stopped_does_nothing_any_more() {
    let Some(cluster) = TestCluster::enter() else {
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
    // The stopped process still holds the directory: the standby has the Lease and waits for the
    // directory.
    let holder = || {
        let shown_lease = cluster.get("lease/vsiflow");
        shown_lease["spec"]["leaseTransitions"].clone()
    };
    let before = holder();
    cluster.until("the Lease changes hands", 60, || holder() != before);
    first.go_on();
    first.end(30).exits(6);
    assert!(second.reaches("serving the resources", 30));
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready("vsi/web");
}

/// A proxy to the API server whose connections can be cut.
struct ApiServerPath {
    address: String,
    /// The open connections; `None` if the path is cut.
    open: Arc<Mutex<Option<Vec<TcpStream>>>>,
}

impl ApiServerPath {
    fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let open = Arc::new(Mutex::new(Some(Vec::new())));
        let connections = open.clone();
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                // A cut path does not answer, as on a network that drops all packets.
                let mut opened = connections.lock().unwrap();
                let Some(all) = opened.as_mut() else {
                    std::mem::forget(caller);
                    continue;
                };
                let called = TcpStream::connect(&server).unwrap();
                all.extend([caller.try_clone().unwrap(), called.try_clone().unwrap()]);
                for (mut from, mut to) in [
                    (caller.try_clone().unwrap(), called.try_clone().unwrap()),
                    (called, caller),
                ] {
                    std::thread::spawn(move || std::io::copy(&mut from, &mut to));
                }
            }
        });
        Self { address, open }
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// A kubeconfig with the rights of the chart, through a path that can be cut.
fn by_proxy(cluster: &TestCluster, vsiflow: &Vsiflow) -> (ApiServerPath, PathBuf) {
    let text = std::fs::read_to_string(cluster.granted()).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    let its = &mut config["clusters"][0]["cluster"];
    let server = its["server"].as_str().unwrap().to_owned();
    let server = server
        .strip_prefix("https://")
        .unwrap()
        .trim_end_matches('/');
    let proxy = ApiServerPath::to(server.to_owned());
    its["tls-server-name"] = json!(server.split(':').next().unwrap());
    its["server"] = json!(format!("https://{}", proxy.address));
    (proxy, vsiflow.write("way", &config.to_string()))
}

/// Shifts the Lease's renewal time, as if the holder's clock had jumped.
fn clock_jumps(cluster: &TestCluster, by_seconds: i64) {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let then = format!("@{}", i64::try_from(now).unwrap() + by_seconds);
    let date = ["-u", "-d", &then, "+%Y-%m-%dT%H:%M:%S.000000Z"];
    let date = std::process::Command::new("date")
        .args(date)
        .output()
        .unwrap();
    let printed = String::from_utf8(date.stdout).unwrap();
    let patch = json!({"spec": {"renewTime": printed.trim()}}).to_string();
    let patched = ["patch", "lease/vsiflow", "--type=merge", "-p", &patch];
    cluster.kubectl(&patched).exits(0);
}

#[test]
fn kube_never_two_writers_on_one_host_whatever_is_cut_and_whose_clock_jumps() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let lease = format!("{}/vsiflow", cluster.namespace());
    let more = [LEADS[0], "--lease-name", &lease];
    let (proxy, config) = by_proxy(&cluster, &vsiflow);
    let mut first = cluster.serve_as(config.to_str().unwrap(), &vsiflow, &more);
    assert!(first.reaches("serving the resources", 60));
    let mut second = cluster.serve(&vsiflow, &more);
    assert!(second.reaches("waiting for the Lease", 60));
    cluster.apply(Vsi::named("web"));
    cluster.wait_ready("vsi/web");

    // The leader still reaches its hosts, but not the API server.
    proxy.cut();
    until("the leader gives way", 60, || {
        first.has_ended().then_some(())
    });
    let alone = Instant::now();
    assert!(second.reaches("serving the resources", 90));
    // It ended before the other daemon's Lease began, by at least the longest call minus one poll.
    assert!(
        alone.elapsed() > Duration::from_secs(5),
        "{:?}",
        alone.elapsed()
    );
    first.end(30).exits(6);
    cluster.apply(Vsi::named("db"));
    cluster.wait_ready("vsi/db");

    let mut third = cluster.serve(&vsiflow, &more);
    assert!(third.reaches("waiting for the Lease", 60));
    for hour in [-3_600, 3_600] {
        clock_jumps(&cluster, hour);
        // The holder renews with its own clock; the other daemon does not take the Lease over.
        let holder = || cluster.get("lease/vsiflow")["spec"].clone();
        let before = holder();
        cluster.until("the Lease is renewed", 30, || {
            holder()["renewTime"] != before["renewTime"]
        });
        assert_eq!(holder()["holderIdentity"], before["holderIdentity"]);
        assert!(!second.has_ended());
    }
    // A process that was stopped for longer than its Lease does nothing when it continues.
    second.stop();
    let transitions = || cluster.get("lease/vsiflow")["spec"]["leaseTransitions"].clone();
    let before = transitions();
    cluster.until("the Lease changes hands", 90, || transitions() != before);
    second.go_on();
    second.end(30).exits(6);
    assert!(third.reaches("serving the resources", 60));
    cluster.apply(Vsi::named("last"));
    cluster.wait_ready("vsi/last");
    assert_eq!(vsiflow.sim().domains().len(), 3);
    vsiflow.run(&["audit", "verify"]).exits(0);
}
