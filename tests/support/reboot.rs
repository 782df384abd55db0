//! A way to the lab's host on which a restart of that host can be told: the machine itself stays up.

use std::{
    fs,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{Host, Lab, lab::SSH_PORT, until};

/// What a machine tells of its boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// A further SSH server of the lab's host, behind which its boot id is what a test says. It is gone
/// when this is dropped.
pub struct Rebootable {
    sshd: Child,
    folder: TempDir,
    host: Host,
}

impl Lab {
    /// The host by an SSH server of its own at this port.
    ///
    /// # Panics
    /// When that cannot be started.
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

    /// From now on the host says that it was restarted. What that does to its guests is not done.
    ///
    /// # Panics
    /// When the boot id cannot be written.
    pub fn was_restarted(&self) {
        let boot_id: PathBuf = self.folder.path().join("boot_id");
        let mut id = fs::read_to_string(&boot_id).unwrap();
        // One that no machine draws again.
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
