//! Pretends that the lab's host was restarted, by a second SSH server that reports another boot ID.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Host, Lab, lab::SSH_PORT, until};

/// The file from which Linux reports the boot ID, a random UUID for each boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A second SSH server of the lab's host. Its sessions see the boot ID that the test sets. Drop kills it.
pub struct Rebootable {
    sshd: Child,
    folder: TempDir,
    host: Host,
}

impl Lab {
    /// Starts another SSH server of the lab's host at this port, whose boot ID can be changed.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn rebootable(&self, port: u16) -> Rebootable {
        let folder = tempfile::tempdir().unwrap();
        let (boot_id, config) = (folder.path().join("boot_id"), folder.path().join("config"));
        fs::copy(BOOT_ID, &boot_id).unwrap();
        let own = |line: &&str| !line.starts_with("Port ") && !line.starts_with("PidFile ");
        let lines = self.ssh_file("sshd_config");
        let lines: Vec<_> = lines.lines().filter(own).collect();
        let first = format!("Port {port}\nPidFile none\n");
        fs::write(&config, format!("{first}{}\n", lines.join("\n"))).unwrap();
        let script = format!("mount --bind \"$1\" {BOOT_ID} && exec /usr/sbin/sshd -D -f \"$2\"");
        let mut sshd = Command::new("unshare");
        let sshd = sshd.args(["--mount", "sh", "-c", &script, "sh"]);
        let sshd = sshd.args([boot_id, config]).stderr(Stdio::null());
        let sshd = sshd.spawn().unwrap();
        until("an SSH server", 30, || {
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        let mut host = self.host();
        let (theirs, ours) = (format!("]:{SSH_PORT} "), format!("]:{port} "));
        host.known_hosts = host.known_hosts.replace(&theirs, &ours);
        host.port = port;
        Rebootable { sshd, folder, host }
    }
}

impl Rebootable {
    /// The documents of the host.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Changes the boot ID, so that the host seems to be restarted. Its guests are not touched.
    ///
    /// # Panics
    /// When the boot id cannot be written.
    pub fn was_restarted(&self) {
        let boot_id: PathBuf = self.folder.path().join("boot_id");
        let mut id = fs::read_to_string(&boot_id).unwrap();
        // The other digits stay random, so no machine has the same ID.
        id.replace_range(0..8, "00000000");
        fs::write(&boot_id, id).unwrap();
    }
}

impl Drop for Rebootable {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}
