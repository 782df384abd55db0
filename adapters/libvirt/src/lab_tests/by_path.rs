//! Uploads by path on a real host, and when they go through libvirt instead.

use std::os::unix::fs::symlink;

use vsiflow_engine::model::Hash;
use vsiflow_steps::ports::{
    HostPorts, PortErrorKind, Transfer, UploadSink, VolumeFormat, VolumeKey, VolumeSpec,
    conformance::unguarded,
};

use super::{
    ssh::{Running, sshd},
    streams::noise,
    *,
};

const BY_PATH: &str = "sent into the pool's folder";
/// An account without any rights except access to libvirt's socket.
const NOBODY: &str =
    "ForceCommand exec setpriv --reuid=65534 --clear-groups /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"";

pub(super) fn ports_of(config: SshConfig) -> HostPorts {
    let socket = SOCKET.to_owned();
    crate::host_ports("lab", Endpoint::Ssh { config, socket })
}

/// The host behind another sshd with this line of configuration.
async fn behind(lab: &Lab, port: u16, line: &str) -> (Running, HostPorts) {
    let running = sshd(lab, port, line).await;
    let config = SshConfig {
        port,
        host_keys: HostKeys::InsecureAcceptAny,
        ..lab.ssh_config("id_ed25519")
    };
    (running, ports_of(config))
}

/// An empty volume; a volume with this name from an earlier run is deleted.
pub(super) async fn made(ports: &HostPorts, pool: &str, name: &str) -> (VolumeKey, PathBuf) {
    let key = VolumeKey {
        pool: pool.to_owned(),
        name: name.to_owned(),
    };
    let _ = ports.storage.delete(&unguarded::deletion(&key)).await;
    let spec = VolumeSpec {
        key: key.clone(),
        format: VolumeFormat::Raw,
        capacity: 0,
        backing: None,
    };
    let volume = ports.storage.create(&spec).await.unwrap();
    (key, PathBuf::from(volume.path))
}

pub(super) async fn fill(
    ports: &HostPorts,
    key: &VolumeKey,
    transfer: Transfer,
) -> Box<dyn UploadSink> {
    ports.storage.fill(key, 0, None, transfer).await.unwrap()
}

/// Sends an image with a hole in its middle and returns which way it went.
async fn sent(ports: &HostPorts, key: &VolumeKey, transfer: Transfer) -> String {
    let image = noise(20 << 20);
    let mut sink = fill(ports, key, transfer).await;
    sink.send(image.slice(..9_000_001)).await.unwrap();
    sink.send_hole(30 << 20).await.unwrap();
    sink.send(image.slice(9_000_001..)).await.unwrap();
    let note = sink.finish().await.unwrap().unwrap();
    ports.storage.sync(key).await.unwrap();
    let mut expected = image[..9_000_001].to_vec();
    expected.resize(9_000_001 + (30 << 20), 0);
    expected.extend(&image[9_000_001..]);
    let found = ports.storage.sha256(key).await.unwrap();
    assert_eq!(found, Hash::of(&expected), "{note}");
    note
}

/// The processes that have the file open.
pub(super) fn users(file: &Path) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let fds = all.filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok());
    let links = fds.flat_map(|fds| {
        fds.flatten()
            .filter_map(|fd| std::fs::read_link(fd.path()).ok())
    });
    links.filter(|link| link == file).count()
}

pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_an_image_goes_by_path_where_the_host_permits_it_and_else_through_libvirt() {
    let Some(lab) = Lab::enter() else { return };
    for (port, line, transfer, way) in [
        (2312, "", Transfer::Plain, BY_PATH),
        (2313, "MaxSessions 2", Transfer::Plain, BY_PATH),
        (2318, "", Transfer::Packed, BY_PATH),
        (
            2314,
            "",
            Transfer::Libvirt,
            "through libvirt: the host's settings",
        ),
        (
            2315,
            "ForceCommand exit 127",
            Transfer::Plain,
            "permits no commands",
        ),
        (2316, "MaxSessions 1", Transfer::Plain, "too few commands"),
        (
            2317,
            NOBODY,
            Transfer::Plain,
            "through libvirt: the account",
        ),
    ] {
        let (_sshd, ports) = behind(&lab, port, line).await;
        let (key, _) = made(&ports, "images", &format!("t-way-{port}.img")).await;
        let note = sent(&ports, &key, transfer).await;
        assert!(note.contains(way), "{line}: {note}");
        ports
            .storage
            .delete(&unguarded::deletion(&key))
            .await
            .unwrap();
        ports.host.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_names_of_pools_folders_and_volumes_are_no_commands() {
    const POOL: &str = "t-odd 'pool' $(touch t-odd-made)";
    let Some(lab) = Lab::enter() else { return };
    let ports = ports_of(lab.ssh_config("id_ed25519"));
    let dir = tempfile::Builder::new()
        .prefix("it's a pool; $(x) ")
        .tempdir()
        .unwrap();
    let folder = dir.path().to_str().unwrap();
    let virsh = |words: &[&str]| {
        let mut virsh = Command::new("virsh");
        virsh
            .args(["-q", "-c", "qemu:///system"])
            .args(words)
            .output()
            .unwrap()
    };
    let (_, _) = (
        virsh(&["pool-destroy", POOL]),
        virsh(&["pool-undefine", POOL]),
    );
    let defined = virsh(&["pool-create-as", POOL, "dir", "--target", folder]);
    assert!(defined.status.success(), "{defined:?}");
    for name in ["-rf 'a' \"b\" `c` $d \\ *.img", ".hidden;\u{e4}.img", "x"] {
        let (key, path) = made(&ports, POOL, name).await;
        let note = sent(&ports, &key, Transfer::Plain).await;
        assert!(note.contains(BY_PATH), "{name}: {note}");
        assert_eq!(path, dir.path().join(name));
        ports
            .storage
            .delete(&unguarded::deletion(&key))
            .await
            .unwrap();
    }
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    virsh(&["pool-destroy", POOL]);
    assert_eq!(left, 0);
    ports.host.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_a_link_in_the_place_of_a_volumes_file_gets_nothing() {
    let Some(lab) = Lab::enter() else { return };
    let ports = ports_of(lab.ssh_config("id_ed25519"));
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "somebody's").unwrap();
    // During an upload.
    let (key, path) = made(&ports, "images", "t-linked.img").await;
    let mut sink = fill(&ports, &key, Transfer::Plain).await;
    sink.send(noise(8 << 20)).await.unwrap();
    until("nothing arrives", || {
        path.metadata().unwrap().len() > 1 << 20
    })
    .await;
    std::fs::remove_file(&path).unwrap();
    symlink(&victim, &path).unwrap();
    sink.send(noise(8 << 20)).await.unwrap();
    let refused = sink.finish().await.unwrap_err();
    assert_eq!(refused.kind, PortErrorKind::Replaced, "{refused}");
    // Before the next upload.
    let fill_refused = ports.storage.fill(&key, 0, None, Transfer::Packed).await;
    let fill_refused = fill_refused.map(drop).unwrap_err();
    assert_eq!(fill_refused.kind, PortErrorKind::Replaced, "{fill_refused}");
    assert_eq!(std::fs::read(&victim).unwrap(), b"somebody's");
    std::fs::remove_file(&path).unwrap();
    let _ = ports.storage.delete(&unguarded::deletion(&key)).await;
    ports.host.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_an_upload_by_path_that_is_given_up_leaves_nothing_running_on_the_host() {
    let Some(lab) = Lab::enter() else { return };
    let ports = ports_of(lab.ssh_config("id_ed25519"));
    let (key, path) = made(&ports, "images", "t-abandoned.img").await;
    for aborted in [true, false] {
        let mut sink = fill(&ports, &key, Transfer::Plain).await;
        sink.send(noise(8 << 20)).await.unwrap();
        assert!(users(&path) > 0);
        if aborted {
            sink.abort().await;
        } else {
            drop(sink);
        }
        until("the file is still open", || users(&path) == 0).await;
    }
    ports
        .storage
        .delete(&unguarded::deletion(&key))
        .await
        .unwrap();
    ports.host.leave().await;
}
