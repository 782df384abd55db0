//! Tests against a real host: the lab of `deploy/lab`.
//!
//! They run with `VSIFLOW_LAB=1` inside a lab (`deploy/lab/exec cargo test -p vsiflow-libvirt lab_`) and fail
//! outside. Keys and known hosts are those of the current lab. Tests that break libvirtd run alone.

mod by_path;
mod calls;
mod disks;
mod failures;
mod fencing;
mod ssh;
mod streams;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::protocol::{StoragePool, StorageVol};
use crate::session::SOCKET;
use crate::ssh::{HostKeys, Identity, SshConfig};
use crate::{Calls, Endpoint, HostSession, SessionOptions};

const SHORT: Duration = Duration::from_secs(10);
const LONG: Duration = Duration::from_secs(120);

/// The lab that a test runs in.
struct Lab {
    /// `ID-NAME` below `/run/vsiflow-lab`.
    dir: PathBuf,
    /// Whether daemons may have been broken.
    alone: bool,
    /// Held while the test runs.
    _turn: File,
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.alone {
            for daemon in ["libvirtd", "sshd"] {
                // Thawing a daemon that is down fails, which does not matter here.
                let _ = self.ask_daemon(daemon, "thaw");
                let _ = self.ask_daemon(daemon, "start");
            }
        }
    }
}

impl Lab {
    /// The lab, shared with other tests. Panics outside a lab, because a test that did nothing has not
    /// passed.
    fn enter() -> Option<Self> {
        Self::take(File::lock_shared, false)
    }

    /// The lab for this test alone. Panics outside a lab.
    fn enter_alone() -> Option<Self> {
        Self::take(File::lock, true)
    }

    fn take(lock: fn(&File) -> std::io::Result<()>, alone: bool) -> Option<Self> {
        let inside = std::env::var("VSIFLOW_LAB").is_ok_and(|value| value == "1");
        assert!(
            inside,
            "not inside a lab (VSIFLOW_LAB=1): see tests/README.md"
        );
        let root = Path::new("/run/vsiflow-lab");
        let dir = std::fs::read_dir(root)
            .unwrap()
            .next()
            .expect("not inside a lab")
            .unwrap()
            .path();
        let turn_file = dir.join("ssh").join("tests.lock");
        // Without this queue, shared users could keep an exclusive one waiting forever.
        let queue = File::create(turn_file.with_extension("queue")).unwrap();
        queue.lock().unwrap();
        let turn = File::create(turn_file).unwrap();
        lock(&turn).unwrap();
        Some(Self {
            dir,
            alone,
            _turn: turn,
        })
    }

    fn ssh_file(&self, name: &str) -> PathBuf {
        self.dir.join("ssh").join(name)
    }

    fn known_hosts(&self) -> String {
        std::fs::read_to_string(self.ssh_file("known_hosts")).unwrap()
    }

    fn ssh_config(&self, key: &str) -> SshConfig {
        SshConfig {
            host: "127.0.0.1".to_owned(),
            port: 2222,
            user: "root".to_owned(),
            identity: Identity::KeyFile {
                path: self.ssh_file(key),
                passphrase: None,
            },
            host_keys: HostKeys::Known(self.known_hosts()),
            owner: "host/lab".into(),
            connect_timeout: SHORT,
            jumps: Vec::new(),
        }
    }

    fn local(&self) -> HostSession {
        HostSession::new(Endpoint::Unix(SOCKET.into()), SessionOptions::default())
    }

    fn ssh(&self) -> HostSession {
        ssh_session(self.ssh_config("id_ed25519"))
    }

    /// Sessions with the same host over the socket and over SSH.
    fn both(&self) -> [(&'static str, HostSession); 2] {
        [("socket", self.local()), ("ssh", self.ssh())]
    }

    /// Kills, freezes, thaws or starts a daemon of the lab.
    fn daemon(&self, name: &str, action: &str) {
        let status = self.ask_daemon(name, action).unwrap();
        assert!(status.success(), "{name} {action}");
    }

    fn ask_daemon(&self, name: &str, action: &str) -> std::io::Result<ExitStatus> {
        Command::new("sh")
            .args([
                "-c",
                include_str!("lab_tests/daemon.sh"),
                "daemon.sh",
                name,
                action,
            ])
            .arg(&self.dir)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
    }
}

fn ssh_session(config: SshConfig) -> HostSession {
    let endpoint = Endpoint::Ssh {
        config,
        socket: SOCKET.to_owned(),
    };
    HostSession::new(endpoint, SessionOptions::default())
}

async fn control(session: &HostSession) -> Calls {
    session.control().await.unwrap().within(SHORT)
}

async fn pool(calls: &Calls) -> StoragePool {
    calls.storage_pool_lookup_by_name("images").await.unwrap()
}

/// An empty volume to upload into; a volume with this name from an earlier run is deleted.
async fn volume(calls: &Calls, name: &str) -> StorageVol {
    let pool = pool(calls).await;
    if let Ok(old) = calls.storage_vol_lookup_by_name(&pool, name).await {
        calls.storage_vol_delete(&old).await.unwrap();
    }
    let xml = format!(
        "<volume><name>{name}</name><capacity>0</capacity><allocation>0</allocation>\
         <target><format type='raw'/></target></volume>"
    );
    calls.storage_vol_create_xml(&pool, &xml, 0).await.unwrap()
}
