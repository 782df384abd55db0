//! `kubectl vsi image upload`: sends a local file to a host's pool through the cluster's API
//! server.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use vsiflow_tests::{
    Aggregated, Answer, Lab, Plugin, Ran, Server, TestCluster, Vsi, Vsiflow, server, until,
};

const MIB: usize = 1 << 20;
const NAME: &str = "t-upload.img";

/// Sets up the cluster, vsiflow and the API, or ends the test.
macro_rules! served {
    ($cluster:ident, $vsiflow:ident, $api:ident) => {
        let Some($cluster) = TestCluster::enter() else {
            return;
        };
        let $vsiflow = Vsiflow::simulated();
        #[allow(unused_mut)]
        let mut $api = Aggregated::serve(&$cluster, &$vsiflow);
    };
}

/// A local qcow2 file of random bytes with a hole.
struct Local {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Local {
    fn of(vsiflow: &Vsiflow, name: &str, mib: usize) -> Self {
        let mut bytes = vec![0; mib * MIB];
        let mut random = StdRng::seed_from_u64(mib as u64);
        let hole = mib / 2 * MIB..(mib / 2 + 5) * MIB + 100;
        random.fill(&mut bytes[..]);
        bytes[hole].fill(0);
        let head = server::image(112);
        bytes[..head.len()].copy_from_slice(&head);
        let path = vsiflow.folder().join(name);
        std::fs::write(&path, &bytes).unwrap();
        Self { path, bytes }
    }

    fn sha256(&self) -> String {
        let digits = Sha256::digest(&self.bytes);
        digits.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// A VSI that boots from the uploaded file.
    fn vsi(&self, cluster: &TestCluster) -> Vsi {
        let url = format!("upload://{}/{NAME}", cluster.namespace());
        let checksum = format!("sha256:{}", self.sha256());
        Vsi::named("web").image(url).checksum(&checksum)
    }
}

/// Sends an upload without the plugin, byte by byte.
struct RawUpload<'a> {
    cluster: &'a TestCluster,
    path: String,
    folder: &'a Path,
}

impl<'a> RawUpload<'a> {
    fn of(cluster: &'a TestCluster, vsiflow: &'a Vsiflow) -> Self {
        let namespace = cluster.namespace();
        let base = "/apis/subresources.vsiflow.io/v1/namespaces";
        Self {
            cluster,
            path: format!("{base}/{namespace}/images/{NAME}/upload"),
            folder: vsiflow.folder(),
        }
    }

    /// The same upload under another name.
    fn named(&self, name: &str) -> Self {
        Self {
            cluster: self.cluster,
            path: self.path.replace(NAME, name),
            folder: self.folder,
        }
    }

    fn announce(&self, length: usize, sha256: &str) -> Ran {
        let announcement =
            json!({"length": length, "sha256": sha256, "waitSeconds": 2}).to_string();
        let create = ["create", "--raw", &self.path, "-f", "-"];
        self.cluster.feed(&create, &announcement)
    }

    /// The number of the only reader, and the offset that it needs next.
    fn reader(&self, file: &Local) -> (u64, usize) {
        until("the host reads", 60, || self.reading(file))
    }

    fn reading(&self, file: &Local) -> Option<(u64, usize)> {
        let ran = self.announce(file.bytes.len(), &file.sha256());
        if ran.code != Some(0) {
            return None;
        }
        let reader = ran.json()["readers"][0].clone();
        let from = reader["from"].as_u64()? as usize;
        Some((reader["id"].as_u64()?, from))
    }

    /// How much of the file a host has received, as far as the API reports it.
    fn at(&self, file: &Local) -> usize {
        let ran = self.announce(file.bytes.len(), &file.sha256());
        if ran.code != Some(0) {
            return 0;
        }
        let status = ran.json();
        if status["images"][0]["ready"] == true {
            return file.bytes.len();
        }
        let from = status["readers"][0]["from"].as_u64();
        from.unwrap_or_default() as usize
    }

    fn send(&self, file: &Local, (reader, from): (u64, usize), bytes: &[u8]) -> Ran {
        let piece = self.folder.join("piece");
        std::fs::write(&piece, bytes).unwrap();
        let (length, sha256) = (file.bytes.len(), file.sha256());
        let query = format!("length={length}&sha256={sha256}&reader={reader}&from={from}");
        let path = format!("{}?{query}", self.path);
        let replace = ["replace", "--raw", &path, "-f", piece.to_str().unwrap()];
        self.cluster.kubectl(&replace)
    }

    /// Sends the file up to `end`, then stops.
    fn send_until(&self, file: &Local, end: usize) {
        until("so much is sent", 120, || {
            let (id, from) = self.reader(file);
            if from >= end {
                return Some(());
            }
            let next = end.min(from + 8 * MIB);
            self.send(file, (id, from), &file.bytes[from..next]);
            None
        });
    }
}

impl RawUpload<'_> {
    /// Kills the operator in the middle of the file; returns the offset at which the host
    /// continues.
    fn resumes_after_a_kill(&self, file: &Local, api: &mut Aggregated<'_>) -> usize {
        self.send_until(file, 40 * MIB);
        api.kill();
        api.start();
        api.wait();
        // The host reads the beginning of the file first, to inspect it.
        let from = until("the host reads on", 60, || {
            let (id, from) = self.reader(file);
            if from <= MIB {
                self.send(file, (id, from), &file.bytes[from..from + MIB / 16]);
            }
            (from > MIB).then_some(from)
        });
        assert!(from >= 24 * MIB, "{from}: more than 16 MiB are sent again");
        from
    }
}

fn upload<'a>(file: &'a Local, more: &[&'a str]) -> Vec<&'a str> {
    [&["image", "upload", file.path(), NAME][..], more].concat()
}

/// Asserts that the host has the whole file and the VSI runs from it.
fn is_there(cluster: &TestCluster, vsiflow: &Vsiflow, file: &Local) {
    cluster.wait_ready("vsi/web");
    assert!(vsiflow.sim().content(NAME) == file.bytes, "other bytes");
}

/// Deletes the host's volumes when dropped.
struct VolumesCleanup<'a>(&'a Lab);

impl Drop for VolumesCleanup<'_> {
    fn drop(&mut self) {
        let all = self.0.volumes("images");
        for volume in all.iter().filter(|name| name.contains(NAME)) {
            self.0.virsh(&["vol-delete", "--pool", "images", volume]);
        }
    }
}

#[test]
fn kube_lab_uploads_resume_after_the_operator_and_the_client_died_in_their_middle() {
    let (Some(lab), Some(cluster)) = (Lab::enter(), TestCluster::enter()) else {
        return;
    };
    let (_gone, vsiflow) = (VolumesCleanup(&lab), Vsiflow::of_documents());
    let mut api = Aggregated::serve(&cluster, &vsiflow);
    let file = Local::of(&vsiflow, "local.img", 60);
    let jo = api.person("jo");
    api.grant("jo", "create,update", "images/upload", NAME);
    let plugin = Plugin::of(&cluster, &vsiflow).with_kubeconfig(&jo);
    let raw = RawUpload::of(&cluster, &vsiflow);
    cluster.apply(format!("{}{}", lab.host(), file.vsi(&cluster)));
    cluster.until("it reports what it waits for", 60, || {
        cluster.get("vsi/web")["status"]
            .to_string()
            .contains("VSI0331")
    });
    let from = raw.resumes_after_a_kill(&file, &mut api);
    let mut sending = plugin.start(&upload(&file, &[]));
    until("it sends", 60, || (raw.at(&file) > from).then_some(()));
    if !sending.has_ended() {
        sending.kill();
    }
    let there = format!("upload://{}/{NAME} is at host", cluster.namespace());
    let ran = plugin.run(&upload(&file, &[])).exits(0);
    let ran = ran.says(&there).says(&file.sha256());
    assert!(!ran.stderr.contains(['\r', '\x1b']), "no bars: {ran:?}");
    let history = ["history", "-n", cluster.namespace(), "image/t-upload.img"];
    let history_text = vsiflow.run(&history).exits(0);
    history_text.says("the file is sent");
    // A second upload has nothing to do.
    plugin.run(&upload(&file, &[])).exits(0).says("is at host");
    let delete = ["delete", "vsi/web", "--timeout=90s"];
    cluster.kubectl(&delete).exits(0);
}

#[test]
fn kube_uploads_of_a_file_that_is_not_the_one_meant_are_refused() {
    served!(cluster, vsiflow, _api);
    let file = Local::of(&vsiflow, "local.img", 12);
    let other = Local::of(&vsiflow, "other.img", 13);
    let plugin = Plugin::of(&cluster, &vsiflow);
    let absent = vsiflow.folder().join("absent");
    for (path, bytes) in [(&absent, None), (&absent, Some(b""))] {
        if let Some(bytes) = bytes {
            std::fs::write(path, bytes).unwrap();
        }
        let ran = plugin.run(&["image", "upload", path.to_str().unwrap(), NAME]);
        ran.exits(1).says("VSI1036");
    }
    // No document needs the file yet; it changes before one does.
    let mut sending = plugin.start(&upload(&file, &[]));
    assert!(sending.reaches("waiting for documents", 60));
    let raw = RawUpload::of(&cluster, &vsiflow);
    let ran = raw.announce(other.bytes.len(), &other.sha256());
    assert!(ran.stderr.contains("VSI1035"), "{ran:?}");
    let mut writes = File::options().append(true).open(&file.path).unwrap();
    writes.write_all(b"x").unwrap();
    cluster.apply(file.vsi(&cluster));
    sending.end(120).exits(1).says("VSI1036").says("changed");
    let second_ran = plugin.run(&upload(&other, &["--timeout", "100s"]));
    second_ran
        .exits(4)
        .says("VSI1035")
        .says(&other.sha256())
        .says(&file.sha256());
    // The upload succeeds with the right bytes.
    std::fs::write(&file.path, &file.bytes).unwrap();
    plugin.run(&upload(&file, &[])).exits(0);
    is_there(&cluster, &vsiflow, &file);
    // The image stays, and the name is free for another file.
    cluster
        .kubectl(&["delete", "vsi/web", "--timeout=90s"])
        .exits(0);
    let mut second_sending = plugin.start(&upload(&other, &[]));
    let waits = second_sending.reaches("waiting for documents", 60);
    assert!(waits, "{:?}", second_sending.end(10));
    cluster.apply(other.vsi(&cluster));
    second_sending.end(120).exits(0).says(&other.sha256());
}

#[test]
fn kube_uploads_are_for_their_namespace_and_for_who_has_the_right() {
    served!(cluster, vsiflow, api);
    let file = Local::of(&vsiflow, "local.img", 12);
    let (jo, raw) = (api.person("jo"), RawUpload::of(&cluster, &vsiflow));
    let plugin = Plugin::of(&cluster, &vsiflow).with_kubeconfig(&jo);
    let refused = plugin.run(&upload(&file, &[]));
    refused.exits(1).says("VSI1031").says("images/upload");
    api.grant("jo", "create,update", "images/upload", "another");
    plugin.run(&upload(&file, &[])).exits(1).says("VSI1031");

    // Documents must name files of their own namespace, with a checksum.
    let elsewhere = format!("upload://default/{NAME}");
    let checksum = format!("sha256:{}", file.sha256());
    let url = format!("upload://{}/{NAME}", cluster.namespace());
    for (name, vsi) in [
        ("a", Vsi::named("a").image(elsewhere).checksum(&checksum)),
        ("b", Vsi::named("b").image(url)),
    ] {
        cluster.apply(vsi);
        cluster.until("it is refused", 60, || {
            let shown = cluster.get(&format!("vsi/{name}")).to_string();
            shown.contains("VSI0611")
        });
    }

    // An invalid request is refused, and none of its bytes are stored.
    cluster.apply(file.vsi(&cluster));
    let (id, from) = raw.reader(&file);
    let stale = raw.send(&file, (id + 7, from), &file.bytes[..10]).exits(0);
    assert_eq!(stale.json()["next"], Value::Null);
    let beyond = raw.send(&file, (id, from + 1), &file.bytes[..10]).exits(0);
    assert_eq!(beyond.json()["next"], Value::Null);
    let long = vec![1; 16 * MIB + 1];
    let ran = raw.send(&file, (id + 7, from), &long);
    assert!(ran.stderr.contains("VSI1033"), "{ran:?}");
    for (length, sha256) in [(0, file.sha256()), (12, "x".to_owned())] {
        let announced = raw.announce(length, &sha256);
        assert!(announced.stderr.contains("VSI1033"), "{announced:?}");
    }
    api.grant("jo", "create,update", "images/upload", NAME);
    plugin.run(&upload(&file, &[])).exits(0);
    is_there(&cluster, &vsiflow, &file);
}

#[test]
fn kube_uploads_whose_bytes_are_not_those_announced_are_no_image() {
    served!(cluster, vsiflow, _api);
    let file = Local::of(&vsiflow, "local.img", 12);
    let (raw, plugin) = (
        RawUpload::of(&cluster, &vsiflow),
        Plugin::of(&cluster, &vsiflow),
    );
    cluster.apply(file.vsi(&cluster));
    // The host reads bytes that do not match the checksum; that is recorded.
    let history = ["history", "-n", cluster.namespace(), "image/t-upload.img"];
    cluster.until("the mismatch is detected", 90, || {
        if let Some((id, from)) = raw.reading(&file) {
            let mut wrong = file.bytes[from..].to_vec();
            let Some(last) = wrong.last_mut() else {
                return false;
            };
            *last ^= 1;
            raw.send(&file, (id, from), &wrong).exits(0);
        }
        let ran = vsiflow.run(&history);
        ran.stdout.contains("VSI0312")
    });
    assert_ne!(cluster.condition("vsi/web", "Ready"), "True");
    plugin.run(&upload(&file, &[])).exits(0);
    is_there(&cluster, &vsiflow, &file);
}

#[test]
fn kube_uploads_to_a_simulated_host_resume_after_the_operator_died() {
    served!(cluster, vsiflow, api);
    let file = Local::of(&vsiflow, "local.img", 60);
    let (raw, plugin) = (
        RawUpload::of(&cluster, &vsiflow),
        Plugin::of(&cluster, &vsiflow),
    );
    cluster.apply(file.vsi(&cluster));
    raw.resumes_after_a_kill(&file, &mut api);
    plugin.run(&upload(&file, &[])).exits(0);
    is_there(&cluster, &vsiflow, &file);
}

#[test]
fn kube_uploads_that_are_announced_and_never_sent_hold_up_no_other() {
    const HOSTILE: usize = 6;
    served!(cluster, vsiflow, _api);
    let file = Local::of(&vsiflow, "local.img", 20);
    let (raw, plugin) = (
        RawUpload::of(&cluster, &vsiflow),
        Plugin::of(&cluster, &vsiflow),
    );
    let checksum = format!("sha256:{}", file.sha256());
    let name = |number: usize| format!("hostile-{number}.img");
    for number in 0..HOSTILE {
        let url = format!("upload://{}/{}", cluster.namespace(), name(number));
        let vsi = Vsi::named(&format!("hostile-{number}")).image(url);
        cluster.apply(vsi.checksum(&checksum));
    }
    cluster.apply(file.vsi(&cluster));
    let all: Vec<_> = (0..HOSTILE)
        .map(|number| raw.named(&name(number)))
        .collect();
    let announce = || {
        let announcement = all
            .iter()
            .map(|uploader| uploader.announce(file.bytes.len(), &file.sha256()));
        announcement
            .filter(|ran| ran.code == Some(0))
            .map(|ran| ran.json())
            .collect::<Vec<_>>()
    };
    let pauses = |announcement: &Vec<Value>| {
        let paused = announcement
            .iter()
            .filter(|announcement| announcement["pauseSeconds"].as_u64() > Some(0));
        paused.count()
    };
    // A host waits only briefly for each upload, however often it is announced.
    until("no host waits for them any more", 180, || {
        let announcement = announce();
        let readers = announcement
            .iter()
            .filter(|announcement| announcement["readers"] != json!([]));
        (pauses(&announcement) == HOSTILE && readers.count() == 0).then_some(())
    });
    let mut sending = plugin.start(&upload(&file, &[]));
    until("the valid upload has ended", 120, || {
        announce();
        sending.has_ended().then_some(())
    });
    sending.end(10).exits(0);
    is_there(&cluster, &vsiflow, &file);
    cluster.until("they report why they wait", 60, || {
        let shown = cluster.get("vsi/hostile-0")["status"].to_string();
        shown.contains("VSI0331") && shown.contains("sent none, or too few")
    });
}

#[test]
fn kube_uploads_go_to_several_places_by_one_command() {
    let Some(cluster) = TestCluster::enter() else {
        return;
    };
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    let url = server.answers("first", Answer::Image(server::image(1_000)));
    vsiflow.run(&["image", "upload", &url]).exits(0);
    vsiflow.change_sim(|sim| {
        let mut pool = sim["pools"]["images"].clone();
        pool["path"] = json!("/var/lib/second");
        pool["volumes"] = json!({});
        sim["pools"]["second"] = pool;
    });
    let _api = Aggregated::serve(&cluster, &vsiflow);
    let file = Local::of(&vsiflow, "local.img", 40);
    let second = file.vsi(&cluster).pool("second").to_string();
    cluster.apply(file.vsi(&cluster));
    cluster.apply(second.replace("name: web", "name: web-2"));
    for vsi in ["vsi/web", "vsi/web-2"] {
        cluster.until("it waits for the file", 60, || {
            let shown = cluster.get(vsi)["status"].to_string();
            shown.contains("VSI0331")
        });
    }
    let plugin = Plugin::of(&cluster, &vsiflow);
    let ran = plugin.run(&upload(&file, &[])).exits(0);
    ran.says("host sim, pool images")
        .says("host sim, pool second");
    cluster.wait_ready("vsi/web");
    cluster.wait_ready("vsi/web-2");
}

#[test]
fn kube_uploads_of_a_packed_file_become_the_image_inside() {
    served!(cluster, vsiflow, _api);
    let file = Local::of(&vsiflow, "local.img", 12);
    let packed = vsiflow.folder().join("local.img.gz");
    let gzip = Command::new("gzip").args(["-kn", file.path()]).status();
    assert!(gzip.unwrap().success());
    cluster.apply(file.vsi(&cluster));
    let plugin = Plugin::of(&cluster, &vsiflow);
    let checksum = format!("sha256:{}", file.sha256());
    let packed = packed.to_str().unwrap();
    // If the image inside has another checksum, nothing is sent.
    let other = format!("sha256:{}", "0".repeat(64));
    let ran = plugin.run(&["image", "upload", packed, NAME, "--checksum", &other]);
    ran.exits(4).says("VSI1035");
    let second_ran = plugin.run(&["image", "upload", packed, NAME, "--checksum", &checksum]);
    second_ran.exits(0).says(&file.sha256());
    is_there(&cluster, &vsiflow, &file);
}
