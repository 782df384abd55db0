//! What other hands do to a real API server: a backup tool, edited ConfigMaps, stripped finalizers, late writes and
//! lists that lack objects. No guest and no data is lost by it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use vsiflow_tests::{Lab, Running, TestCluster, Vsi, Vsiflow};

/// Long enough for several reconciliations.
const LONG: Duration = Duration::from_secs(15);
const FINALIZER: &str = "vsiflow.io/finalizer";

fn pool() -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: pool}}\nspec:\n  \
         replicas: 2\n  template:\n    spec:\n      imageURL: {}\n      guest: {{type: none}}\n      \
         machine: {{cpus: 1, memory: 512Mi}}\n---\n",
        vsiflow_tests::SIMULATED_IMAGE
    )
}

/// A VSI with a data disk, one without, and a pool of two members.
fn applied(cluster: &TestCluster) {
    let web = Vsi::named("web").disk("data", "1Mi");
    cluster.apply(format!("{web}---\n{}---\n{}", Vsi::named("db"), pool()));
    for what in ["vsi/web", "vsi/db"] {
        cluster.wait_ready(what);
    }
    cluster.until("the pool is available", 90, || {
        cluster.condition("vsp/pool", "Available") == "True"
    });
    cluster.until("both members are ready", 90, || {
        ["vs/pool-0", "vs/pool-1"]
            .iter()
            .all(|member| cluster.condition(member, "Ready") == "True")
    });
}

/// When the guest of each domain was started, and the volumes: only this shows what is made anew or lost.
fn on_host(vsiflow: &Vsiflow) -> (BTreeMap<String, Value>, Vec<String>) {
    let sim = vsiflow.sim();
    let titles = sim.domains().into_iter();
    let guests = titles.map(|title| {
        let live = &sim.domain(title)["live"];
        assert_eq!(live["end"], Value::Null, "{title} shuts down");
        (title.to_owned(), live["started"].clone())
    });
    let guests = guests.collect();
    let volumes = sim.volumes().into_iter().map(str::to_owned).collect();
    (guests, volumes)
}

fn strip(cluster: &TestCluster, what: &str) {
    let patch = r#"{"metadata":{"finalizers":null}}"#;
    let patch = ["patch", what, "--type=merge", "-p", patch];
    cluster.kubectl(&patch).exits(0);
}

/// Deletes an object whatever its finalizers are, while no daemon looks.
fn lose(cluster: &TestCluster, what: &str) {
    cluster.kubectl(&["delete", what, "--wait=false"]).exits(0);
    if !cluster.get(what).is_null() {
        strip(cluster, what);
    }
    cluster.until("it is gone", 30, || cluster.get(what).is_null());
}

/// The object as a backup tool restores it: with its labels, annotations and finalizers, and a new UID.
fn restored(mut object: Value) -> Value {
    object.as_object_mut().unwrap().remove("status");
    let meta = object["metadata"].as_object_mut().unwrap();
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
    ] {
        meta.remove(field);
    }
    object
}

#[test]
fn kube_what_a_backup_tool_restores_under_new_uids_destroys_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    applied(&cluster);
    let before = on_host(&vsiflow);
    serving.kill();
    let all = [
        "vsidisk/data",
        "vsi/web",
        "vsi/db",
        "vsp/pool",
        "vs/pool-0",
        "vs/pool-1",
    ];
    let objects: Vec<Value> = all.iter().map(|what| cluster.get(what)).collect();
    for what in all {
        lose(&cluster, what);
    }
    for object in objects {
        cluster.apply(restored(object));
    }
    let _serving = cluster.serve(&vsiflow, &[]);
    for what in ["vsidisk/data", "vsi/db", "vsp/pool"] {
        cluster.until(&format!("{what} is refused"), 60, || {
            cluster.get(what)["status"].to_string().contains("VSI0726")
        });
    }
    std::thread::sleep(LONG);
    // It waits for its disk.
    assert_ne!(cluster.condition("vsi/web", "Accepted"), "True");
    assert_eq!(on_host(&vsiflow), before);
    vsiflow.run(&["audit", "verify"]).exits(0);
}

#[test]
fn kube_a_stripped_finalizer_is_set_again_and_destroys_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    applied(&cluster);
    let before = on_host(&vsiflow);
    for what in ["vsi/web", "vsidisk/data", "vsp/pool", "vs/pool-0"] {
        strip(&cluster, what);
        cluster.until(&format!("{what} has it again"), 60, || {
            cluster.get(what)["metadata"]["finalizers"] == json!([FINALIZER])
        });
    }
    assert_eq!(on_host(&vsiflow), before);
    // Deleted by force behind the daemon's back.
    serving.stop();
    for what in ["vsidisk/data", "vsp/pool", "vsi/db"] {
        lose(&cluster, what);
    }
    serving.go_on();
    std::thread::sleep(LONG);
    assert_eq!(on_host(&vsiflow), before);
    drop(serving);
}

#[test]
fn kube_a_late_write_of_an_old_leader_does_not_last() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let serving = cluster.serve(&vsiflow, &[]);
    applied(&cluster);
    let before = on_host(&vsiflow);
    serving.kill();
    let _serving = cluster.serve(&vsiflow, &[]);
    cluster.wait_ready("vsi/web");
    // kubectl of that age cannot patch a subresource, so the object is sent with the status of before.
    for (what, path) in [
        (
            "vsi/web",
            "/apis/hpse.ibm.com/v1/namespaces/NS/onprem-hpcrs/web/status",
        ),
        (
            "vsp/pool",
            "/apis/vsiflow.io/v1/namespaces/NS/virtualserverpools/pool/status",
        ),
    ] {
        let path = path.replace("NS", cluster.namespace());
        let phase = cluster.get(what)["status"]["phase"].clone();
        cluster.until(&format!("the late write to {what}"), 30, || {
            let mut object = cluster.get(what);
            object["status"] = json!({"phase": "Provisioning", "observedGeneration": 1});
            let replace = ["replace", "--raw", &path, "-f", "-"];
            cluster.feed(&replace, &object.to_string()).code == Some(0)
        });
        cluster.until(&format!("{what} says what is so"), 90, || {
            let status = &cluster.get(what)["status"];
            status["phase"] == phase && status["conditions"].is_array()
        });
    }
    assert_eq!(on_host(&vsiflow), before);
}

/// The names that lists lack, and how many items were left out.
#[derive(Default)]
struct LackingNames {
    names: Mutex<Vec<&'static str>>,
    left_out: AtomicUsize,
}

/// A server of HTTP before the API server whose lists can lack objects.
struct PartialLists {
    address: String,
    lacking: Arc<LackingNames>,
    /// The open connections.
    open: Arc<Mutex<Vec<TcpStream>>>,
    _kubectl: Running,
}

impl PartialLists {
    fn before(cluster: &TestCluster) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut kubectl = Command::new("kubectl");
        kubectl.args(["--kubeconfig", cluster.granted(), "proxy"]);
        kubectl.arg(format!("--port={port}"));
        kubectl.stdin(Stdio::null());
        let kubectl = Running::start(&mut kubectl);
        cluster.until("kubectl listens", 30, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let lacking = Arc::<LackingNames>::default();
        let open = Arc::new(Mutex::new(Vec::new()));
        let (names, connections) = (lacking.clone(), open.clone());
        std::thread::spawn(move || {
            for caller in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let mut opened = connections.lock().unwrap();
                opened.extend([caller.try_clone().unwrap(), server.try_clone().unwrap()]);
                let names = names.clone();
                std::thread::spawn(move || pass(caller, server, &names));
            }
        });
        Self {
            address,
            lacking,
            open,
            _kubectl: kubectl,
        }
    }

    /// Ends all watches, so that everything is listed again.
    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn kubeconfig(&self, vsiflow: &Vsiflow) -> String {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "partial",
            "clusters": [{"name": "partial", "cluster": {"server": self.address}}],
            "users": [{"name": "partial", "user": {}}],
            "contexts": [{"name": "partial", "context": {"cluster": "partial", "user": "partial"}}],
        });
        let path = vsiflow.write("partial", &config.to_string());
        path.to_str().unwrap().to_owned()
    }
}

/// Passes one request and its answer. HTTP 1.0 has no chunks, and one answer for each connection.
fn pass(caller: TcpStream, mut server: TcpStream, lacking: &LackingNames) -> Option<()> {
    let mut request = BufReader::new(caller.try_clone().ok()?);
    let mut first = String::new();
    request.read_line(&mut first).ok()?;
    let is_list = first.starts_with("GET") && !first.contains("watch=true");
    let mut head = first.replace("HTTP/1.1", "HTTP/1.0");
    loop {
        let mut line = String::new();
        request.read_line(&mut line).ok()?;
        let name = line.to_ascii_lowercase();
        if !name.starts_with("accept-encoding:") && !name.starts_with("connection:") {
            head += &line;
        }
        if line == "\r\n" {
            break;
        }
    }
    server.write_all(head.as_bytes()).ok()?;
    let mut to_server = server.try_clone().ok()?;
    std::thread::spawn(move || std::io::copy(&mut request, &mut to_server));
    let mut to_caller = caller;
    if is_list {
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).ok()?;
        to_caller.write_all(&without(answer, lacking)).ok()?;
    } else {
        std::io::copy(&mut server, &mut to_caller).ok()?;
    }
    to_caller.shutdown(std::net::Shutdown::Both).ok()
}

/// The answer without the items of these names, if it is a list.
fn without(answer: Vec<u8>, lacking: &LackingNames) -> Vec<u8> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return answer;
    };
    let (head, body) = answer.split_at(end + 4);
    let Ok(mut list) = serde_json::from_slice::<Value>(body) else {
        return answer;
    };
    let Some(items) = list["items"].as_array_mut() else {
        return answer;
    };
    let (names, before) = (lacking.names.lock().unwrap().clone(), items.len());
    items.retain(|item| !names.iter().any(|name| item["metadata"]["name"] == *name));
    lacking
        .left_out
        .fetch_add(before - items.len(), Ordering::Relaxed);
    let rest = list.to_string();
    let head = String::from_utf8_lossy(head);
    let lines = head.split("\r\n").filter(|line| {
        !line.is_empty() && !line.to_ascii_lowercase().starts_with("content-length:")
    });
    let lines: Vec<_> = lines.collect();
    let length = rest.len();
    format!(
        "{}\r\nContent-Length: {length}\r\n\r\n{rest}",
        lines.join("\r\n")
    )
    .into_bytes()
}

#[test]
fn kube_a_list_that_lacks_objects_changes_nothing() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let vsiflow = Vsiflow::simulated();
    let lists = PartialLists::before(&cluster);
    let _serving = cluster.serve_as(&lists.kubeconfig(&vsiflow), &vsiflow, &[]);
    applied(&cluster);
    let before = on_host(&vsiflow);
    *lists.lacking.names.lock().unwrap() = vec!["db", "data", "pool-1", "pool"];
    lists.cut();
    std::thread::sleep(LONG);
    assert_eq!(on_host(&vsiflow), before);
    assert!(lists.lacking.left_out.load(Ordering::Relaxed) >= 4);
    lists.lacking.names.lock().unwrap().clear();
    lists.cut();
    // A change is seen, so everything was listed again.
    let stop = r#"{"spec":{"powerState":"Stopped"}}"#;
    let stop = ["patch", "vsi/db", "--type=merge", "-p", stop];
    cluster.kubectl(&stop).exits(0);
    cluster.until("it is stopped", 90, || {
        cluster.get("vsi/db")["status"]["phase"] == "Stopped"
    });
    let sim = vsiflow.sim();
    assert_eq!(sim.domains().len(), 4);
    assert_eq!(sim.volumes(), before.1);
}

#[test]
fn kube_lab_a_config_map_that_is_relabelled_or_names_another_host_moves_no_guest() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter()) else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-foreign-hands.qcow2"), Vsiflow::of_documents());
    let _serving = cluster.serve(&vsiflow, &["--allow-image-addresses", "127.0.0.0/8"]);
    let host = lab.host();
    let label = host.label.clone();
    cluster.apply(&host);
    cluster.apply(Vsi::named("web").image(image.url()).on(&label));
    cluster.wait_ready("vsi/web");
    let uid = cluster.get("vsi/web")["metadata"]["uid"].clone();
    let uid = uid.as_str().unwrap();
    let id_of_guest = || lab.virsh(&["domid", uid]);
    let before = id_of_guest();
    let map = format!("configmap/{label}");
    let edit = |patch: Value| {
        let patch = patch.to_string();
        cluster
            .kubectl(&["patch", &map, "--type=merge", "-p", &patch])
            .exits(0);
    };
    let elsewhere = "127.0.0.9";
    for (config, hostname) in [
        ("other", host.hostname.as_str()),
        (label.as_str(), elsewhere),
        ("other", elsewhere),
    ] {
        edit(json!({
            "metadata": {"labels": {"config": config}}, "data": {"HOSTNAME": hostname},
        }));
        cluster.until("the VSI is not accepted so", 60, || {
            cluster.condition("vsi/web", "Accepted") == "False"
        });
        assert_eq!(cluster.condition("vsi/web", "Stalled"), "True");
        std::thread::sleep(LONG / 3);
        assert_eq!(id_of_guest(), before, "{config} {hostname}");
    }
    edit(json!({
        "metadata": {"labels": {"config": label}}, "data": {"HOSTNAME": host.hostname},
    }));
    cluster.until("it is accepted again", 60, || {
        cluster.condition("vsi/web", "Accepted") == "True"
    });
    assert_eq!(id_of_guest(), before);
    cluster
        .kubectl(&["delete", "vsi/web", "--timeout=90s"])
        .exits(0);
}
