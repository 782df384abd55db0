//! The etcd cluster of `deploy/examples/etcd.yaml` on a real host: real guests, one document.
//!
//! A writer puts keys all the time. Each key that etcd acknowledged must exist at the end,
//! whichever guests were killed, rebuilt, added or deleted.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use vsiflow_tests::{Lab, Vsiflow, lab::quietly, until};

const EXAMPLE: &str = include_str!("../../deploy/examples/etcd.yaml");
const IMAGE: &str = "http://images.lab.test:8080/debian-12.qcow2";

/// Seconds. Each wave has emulated guests.
const PATIENCE_S: u64 = 60 * 60;

/// The example adapted to the lab: only its host and its image are changed.
fn documents(lab: &Lab) -> String {
    let image = EXAMPLE
        .lines()
        .find(|line| line.trim_start().starts_with("image: https://"))
        .unwrap();
    let example = EXAMPLE.replace(image, &format!("      image: {IMAGE}"));
    let example = example.replace("config: lpar1", "config: lab");
    format!("{}---\n{example}", lab.host())
}

/// Deletes everything of the cluster from the host when dropped, even if the test fails.
struct ClusterCleanup<'a>(&'a Lab, &'a Vsiflow);

impl Drop for ClusterCleanup<'_> {
    fn drop(&mut self) {
        self.1.run(&["delete", "group/etcd", "--wait"]);
        let members = ["etcd-seed-0".to_owned()]
            .into_iter()
            .chain((0..4).map(|index| format!("etcd-member-{index}")));
        for member in members {
            for domain in self.0.domains(&format!("default/{member}")) {
                quietly(&["destroy", &domain]);
                quietly(&["undefine", &domain, "--nvram"]);
            }
            let disk = format!("disk/data-{member}");
            self.1.run(&["delete", &disk, "--purge", "--wait"]);
        }
        for end in ["net-destroy", "net-undefine"] {
            quietly(&[end, "default.etcd"]);
        }
    }
}

/// A client of the etcd cluster, with the certificate from the group's outputs.
#[derive(Clone)]
struct Client {
    folder: PathBuf,
    endpoint: String,
}

impl Client {
    fn of(vsiflow: &Vsiflow) -> Self {
        let output = |name: &str| {
            let read = vsiflow.run(&["output", "group/etcd", name]);
            read.exits(0).stdout.trim().to_owned()
        };
        for (file, name) in [("ca.pem", "ca"), ("client.pem", "client")] {
            let bytes = BASE64_STANDARD.decode(output(name)).unwrap();
            vsiflow.write(file, &String::from_utf8(bytes).unwrap());
        }
        Self {
            folder: vsiflow.folder().to_owned(),
            endpoint: output("endpoint"),
        }
    }

    /// Calls etcd's JSON gateway; returns `None` without an answer.
    fn call(&self, path: &str, body: &Value) -> Option<Value> {
        let called = Command::new("curl")
            .args(["-sf", "--max-time", "20", "--cacert"])
            .arg(self.folder.join("ca.pem"))
            .arg("--cert")
            .arg(self.folder.join("client.pem"))
            .args(["-d", &body.to_string()])
            .arg(format!("{}{path}", self.endpoint))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let answer = called.status.success().then_some(called.stdout)?;
        serde_json::from_slice(&answer).ok()
    }

    fn put(&self, key: &str) -> bool {
        let key = BASE64_STANDARD.encode(key);
        self.call("/v3/kv/put", &json!({"key": key, "value": key}))
            .is_some()
    }

    /// The keys that begin with `key-`, read with a quorum.
    fn keys(&self) -> BTreeSet<String> {
        let (from, to) = (
            BASE64_STANDARD.encode("key-"),
            BASE64_STANDARD.encode("key."),
        );
        let all = until("the cluster reads", 300, || {
            self.call("/v3/kv/range", &json!({"key": from, "range_end": to}))
        });
        let keys = all["kvs"].as_array().unwrap().iter();
        keys.map(|one| {
            let key = BASE64_STANDARD.decode(one["key"].as_str().unwrap());
            String::from_utf8(key.unwrap()).unwrap()
        })
        .collect()
    }

    /// The names of the members, or `None` until all have started.
    fn members(&self) -> Option<Vec<String>> {
        let listed = self.call("/v3/cluster/member/list", &json!({}))?;
        let members = listed["members"].as_array()?.iter();
        let mut names: Vec<_> = members
            .map(|one| one["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        names.sort();
        names.iter().all(|name| !name.is_empty()).then_some(names)
    }

    fn has_members(&self, names: &[&str]) {
        let mut last = None;
        until(&format!("members {names:?}"), 600, || {
            let now = self.members();
            let same = now.as_ref().is_some_and(|now| now == names);
            if now != last {
                println!("members: {now:?}");
                last = now;
            }
            same.then_some(())
        });
    }
}

/// Puts one key after another until it is stopped.
struct KeyWriter {
    ends: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<BTreeSet<String>>>,
    thread: JoinHandle<()>,
}

impl KeyWriter {
    fn start(client: Client) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(Mutex::new(BTreeSet::new()));
        let (end, keys) = (ends.clone(), acknowledged.clone());
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("key-{number:06}");
                if client.put(&key) {
                    keys.lock().unwrap().insert(key);
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        Self {
            ends,
            acknowledged,
            thread,
        }
    }

    /// Waits until three more keys are acknowledged, so the cluster accepts writes.
    fn takes_writes(&self) {
        let before = self.acknowledged.lock().unwrap().len();
        until("more keys are acknowledged", 600, || {
            (self.acknowledged.lock().unwrap().len() >= before + 3).then_some(())
        });
    }

    fn end(self) -> BTreeSet<String> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.acknowledged.lock().unwrap().clone()
    }
}

/// Kills a guest's QEMU process (`kill -9`).
fn kill_guest(uid: &str) {
    let processes = std::fs::read_dir("/proc").unwrap();
    let names = processes.map(|one| one.unwrap().file_name().into_string().unwrap());
    let of = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        words.contains("qemu-system") && words.contains(&format!("guest={uid}"))
    };
    let pid = names.filter_map(|name| name.parse().ok()).find(of);
    let pid = pid.and_then(Pid::from_raw).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
#[ignore = "minutes: tests/run --part cluster"]
fn lab_cluster_of_etcd_loses_no_key() {
    let Some(lab) = Lab::enter() else { return };
    let served = Command::new("curl").args(["-sfI", IMAGE]).output();
    assert!(
        served.unwrap().status.success(),
        "build the image: deploy/lab/image-url debian"
    );
    let vsiflow = Vsiflow::of_documents().patient(PATIENCE_S);
    let _gone = ClusterCleanup(&lab, &vsiflow);
    let file = vsiflow.write("cluster.yaml", &documents(&lab));
    let create = ["cluster", "create", "-f", file.to_str().unwrap(), "--wait"];

    // vsiflow is killed in the middle, and the command is run again.
    let running = vsiflow.start(&create);
    until("the first member runs", 600, || {
        let domains = lab.domains("default/etcd-seed-0");
        domains.first().map(|_| ())
    });
    running.kill();
    vsiflow.run(&create).exits(0);
    let client = Client::of(&vsiflow);
    let three = ["etcd-member-0", "etcd-member-1", "etcd-seed-0"];
    client.has_members(&three);
    let writer = KeyWriter::start(client.clone());
    writer.takes_writes();

    // A member dies and is started again: it continues with its data.
    let uid = vsiflow.vsi("etcd-member-0")["metadata"]["uid"].clone();
    kill_guest(uid.as_str().unwrap());
    writer.takes_writes();
    vsiflow.run(&["start", "etcd-member-0", "--wait"]).exits(0);
    client.has_members(&three);

    let scale = |replicas: &str| {
        let words = ["scale", "group/etcd", "--pool", "member", "--replicas"];
        let words = [&words[..], &[replicas, "--wait"]].concat();
        vsiflow.run(&words).exits(0);
    };
    scale("4");
    client.has_members(&[
        "etcd-member-0",
        "etcd-member-1",
        "etcd-member-2",
        "etcd-member-3",
        "etcd-seed-0",
    ]);
    writer.takes_writes();
    scale("2");
    client.has_members(&three);
    writer.takes_writes();

    // A member is rebuilt with the disk that it had.
    vsiflow.run(&["delete", "etcd-member-1", "--wait"]).exits(0);
    client.has_members(&three);
    writer.takes_writes();

    let acknowledged = writer.end();
    println!("{} keys acknowledged", acknowledged.len());
    let found = client.keys();
    let lost: Vec<_> = acknowledged.difference(&found).collect();
    assert_eq!(lost, Vec::<&String>::new());
    vsiflow.run(&["delete", "group/etcd", "--wait"]).exits(0);
    assert!(lab.domains("default/etcd-seed-0").is_empty());
    let all = lab.virsh(&["net-list", "--all", "--name"]);
    assert!(!all.contains("default.etcd"), "{all}");
}
