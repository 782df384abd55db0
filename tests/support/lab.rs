//! The lab of `deploy/lab`, a real libvirt host, for tests that run inside it.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Host, Vsiflow, until};

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The port of the lab's SSH server.
pub const SSH_PORT: u16 = 2222;

/// Waits in a queue for the lock `file`, then takes it with `lock`, shared or exclusively.
///
/// The queue is a second lock. Without it, a test that waits for an exclusive lock could wait forever while
/// others keep sharing the lock.
pub(crate) fn take_turn(file: &Path, lock: fn(&File) -> std::io::Result<()>) -> File {
    let queue = File::create(file.with_extension("queue")).unwrap();
    queue.lock().unwrap();
    let turn = File::create(file).unwrap();
    lock(&turn).unwrap();
    turn
}

/// The file name of the guest image that the lab serves.
const GUEST: &str = "hpcr-guest.qcow2";

/// The lab that a test runs in.
pub struct Lab {
    /// The lab's own folder, which is deleted with the lab.
    folder: PathBuf,
    /// Whether the test has the lab for itself and may break its daemons.
    alone: bool,
    /// The lock on the lab, held as long as the test runs.
    _turn: File,
}

impl Lab {
    /// Enters the lab, shared with other tests.
    ///
    /// # Panics
    /// Outside a lab: a test that did nothing must not count as passed.
    pub fn enter() -> Option<Self> {
        Self::take(File::lock_shared, false)
    }

    /// Enters the lab for this test alone, which may break the lab's daemons.
    ///
    /// # Panics
    /// Outside a lab.
    pub fn enter_alone() -> Option<Self> {
        Self::take(File::lock, true)
    }

    fn take(lock: fn(&File) -> std::io::Result<()>, alone: bool) -> Option<Self> {
        let inside = std::env::var("VSIFLOW_LAB").is_ok_and(|value| value == "1");
        assert!(
            inside,
            "not inside a lab (VSIFLOW_LAB=1): see tests/README.md"
        );
        let mut labs = std::fs::read_dir("/run/vsiflow-lab").expect("not inside a lab");
        let folder = labs.next().expect("not inside a lab").unwrap().path();
        // Tests of other crates lock the same file.
        let turn = take_turn(&folder.join("ssh").join("tests.lock"), lock);
        Some(Self {
            folder,
            alone,
            _turn: turn,
        })
    }

    pub(crate) fn ssh_file(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join("ssh").join(name)).unwrap()
    }

    /// The documents of the lab's host, without changes.
    pub fn host(&self) -> Host {
        Host {
            label: "lab".to_owned(),
            hostname: "127.0.0.1".to_owned(),
            port: SSH_PORT,
            known_hosts: self.ssh_file("known_hosts"),
            key: self.ssh_file("id_ed25519"),
        }
    }

    /// The host's ID, as errors name it.
    pub fn host_id(&self) -> String {
        format!("root@127.0.0.1:{SSH_PORT}")
    }

    /// Runs `virsh` and returns its standard output.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn virsh(&self, arguments: &[&str]) -> String {
        let mut virsh = Command::new("virsh");
        virsh.args(["-q", "-c", "qemu:///system"]).args(arguments);
        let output = virsh.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{virsh:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The first word of each line that `virsh` prints, sorted: the names of a list.
    #[track_caller]
    pub fn names(&self, arguments: &[&str]) -> Vec<String> {
        let lines = listed(arguments);
        let first = lines
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        let mut names: Vec<_> = first.map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The remaining layers of this snapshot. Layers of other tests' snapshots are left out.
    pub fn layers_of(&self, snapshot: &serde_json::Value) -> Vec<String> {
        let uid = snapshot["metadata"]["uid"].as_str().unwrap();
        let mut volumes = self.volumes("images");
        volumes.retain(|name| name.contains(uid) && name.ends_with(".layer"));
        volumes
    }

    /// The names of the volumes of a pool.
    #[track_caller]
    pub fn volumes(&self, pool: &str) -> Vec<String> {
        // libvirt cannot refresh a pool while it copies a volume for another test.
        until("a refresh of the pool", 60, || {
            quietly(&["pool-refresh", pool]).then_some(())
        });
        self.names(&["vol-list", pool])
    }

    /// The names of the domains with this title.
    #[track_caller]
    pub fn domains(&self, title: &str) -> Vec<String> {
        let lines = listed(&["list", "--all", "--title"]);
        let of = lines
            .lines()
            .filter(|line| line.trim_end().ends_with(&format!(" {title}")));
        of.filter_map(|line| line.split_whitespace().nth(1))
            .map(str::to_owned)
            .collect()
    }

    /// Kills, stops or starts one of the lab's daemons. A start that libvirt has lost, because it was killed in the
    /// middle, is ended once it is started again, as VSI0111 asks administrators to do.
    ///
    /// # Panics
    /// When that does not succeed.
    pub fn daemon(&self, name: &str, action: &str) {
        assert!(self.asks(name, action), "{name} {action}");
        if (name, action) == ("libvirtd", "start") {
            self.end_lost_starts();
        }
    }

    /// Whether one of the host's daemons runs.
    pub fn has_daemon(&self, name: &str) -> bool {
        self.asks(name, "pid")
    }

    fn asks(&self, name: &str, action: &str) -> bool {
        let mut command = self.asking(name, action);
        command.status().unwrap().success()
    }

    fn asking(&self, name: &str, action: &str) -> Command {
        let id = self
            .folder
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let (_, lab) = id.split_once('-').unwrap();
        let mut command = Command::new(Path::new(REPOSITORY).join("deploy/lab/daemon"));
        command.args([name, action]).env("LAB", lab);
        command.stdin(Stdio::null());
        command
    }

    /// Starts a domain anew until libvirt, killed in the middle of that, has lost the start.
    ///
    /// # Panics
    /// When that does not happen within a minute.
    pub fn lose_start(&self, domain: &str) {
        until("a start that libvirt has lost", 60, || {
            quietly(&["destroy", domain]);
            let libvirtd = self.pid("libvirtd");
            let mut virsh = Command::new("virsh");
            virsh.args(["-q", "-c", "qemu:///system", "start", domain]);
            let mut start = virsh.stdin(Stdio::null()).spawn().unwrap();
            until("the domain's status", 30, || {
                status_file(domain).exists().then_some(())
            });
            kill_process(libvirtd, Signal::KILL).unwrap();
            start.wait().unwrap();
            assert!(self.asks("libvirtd", "start"));
            lost_starts()
                .any(|lost| lost == status_file(domain))
                .then_some(())
        });
    }

    fn pid(&self, daemon: &str) -> Pid {
        let output = self.asking(daemon, "pid").output().unwrap();
        let pid = String::from_utf8(output.stdout).unwrap();
        Pid::from_raw(pid.trim().parse().unwrap()).unwrap()
    }

    /// Does what VSI0111 says about starts that libvirt has lost, if there are any.
    pub fn end_lost_starts(&self) {
        let lost: Vec<PathBuf> = lost_starts().collect();
        if lost.is_empty() {
            return;
        }
        assert!(self.asks("libvirtd", "kill"));
        for status in lost {
            std::fs::remove_file(status).unwrap();
        }
        assert!(self.asks("libvirtd", "start"));
    }

    /// The text of libvirt's log.
    pub fn libvirt_log(&self) -> String {
        let file = self.folder.join("log/libvirt/libvirtd.log");
        std::fs::read_to_string(file).unwrap()
    }

    /// Serves a copy of the guest image under this name from the lab's web server.
    pub fn image(&self, name: &str) -> Image<'_> {
        let file = self.www().join(name);
        std::fs::copy(self.www().join(GUEST), &file).unwrap();
        Image {
            lab: self,
            name: name.to_owned(),
            file,
        }
    }

    /// The folder that the lab's web server serves.
    fn www(&self) -> PathBuf {
        let disk = std::fs::read_link(self.folder.join("disk"));
        disk.unwrap().join("www")
    }

    /// Copies the guest image into pool `images` as a volume, without libvirt.
    pub fn guest_volume(&self, name: &str) -> GuestVolume {
        let file = Path::new("/var/lib/libvirt/images").join(name);
        std::fs::copy(self.www().join(GUEST), &file).unwrap();
        self.volumes("images");
        GuestVolume { file }
    }

    /// Defines a pool on a tmpfs of this size, and starts it if `active`.
    pub fn pool(&self, name: &str, size: &str, active: bool) -> Pool<'_> {
        let folder = PathBuf::from(format!("/var/lib/libvirt/{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let size = format!("size={size}");
        let mut mount = Command::new("mount");
        let mount = mount
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(&folder);
        assert!(mount.status().unwrap().success(), "{mount:?}");
        self.virsh(&[
            "pool-define-as",
            name,
            "dir",
            "--target",
            &folder.to_string_lossy(),
        ]);
        if active {
            self.virsh(&["pool-start", name]);
        }
        Pool {
            name: name.to_owned(),
            folder,
            _lab: std::marker::PhantomData,
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.alone {
            self.asks("libvirtd", "start");
        }
    }
}

/// Where libvirt records the states of domains that are active.
const STATUS: &str = "/run/libvirt/qemu";

fn status_file(domain: &str) -> PathBuf {
    Path::new(STATUS).join(format!("{domain}.xml"))
}

/// The status files of domains whose start libvirt has lost: it was killed before it knew the pid of the domain's
/// process. Then it says for ever that it starts the domain, and refuses to end it (libvirt 9.0.0).
fn lost_starts() -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(STATUS).into_iter().flatten();
    let files = files.filter_map(|file| Some(file.ok()?.path()));
    files.filter(|file| {
        let status = std::fs::read_to_string(file).unwrap_or_default();
        status.contains("reason='starting up' pid='0'")
    })
}

/// The output of a `virsh` list command. `virsh` queries each object that it found, and fails if another
/// test has deleted one in between; so it is repeated until it succeeds, for at most 30 s.
#[track_caller]
fn listed(arguments: &[&str]) -> String {
    let mut virsh = Command::new("virsh");
    virsh.args(["-q", "-c", "qemu:///system"]).args(arguments);
    virsh.stdin(Stdio::null());
    until(&format!("{virsh:?}"), 30, || {
        let output = virsh.output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        output.status.success().then_some(lines)
    })
}

/// Runs `virsh` for cleanup and returns whether it succeeded. It prints nothing, because cleanup must not
/// hide why a test failed.
pub fn quietly(arguments: &[&str]) -> bool {
    let mut virsh = Command::new("virsh");
    virsh.args(["-q", "-c", "qemu:///system"]).args(arguments);
    let ended = virsh.stdin(Stdio::null()).output();
    ended.is_ok_and(|output| output.status.success())
}

/// An image that the lab serves. Drop deletes it and the base images made from it.
pub struct Image<'a> {
    lab: &'a Lab,
    name: String,
    file: PathBuf,
}

impl Image<'_> {
    /// The image's URL.
    pub fn url(&self) -> String {
        format!("http://images.lab.test:8080/{}", self.name)
    }

    /// The base images made from it: its name, or its name with digits if the name was taken.
    pub fn bases(&self) -> Vec<String> {
        let mut all = self.volumes();
        all.retain(|name| !name.starts_with('.'));
        all
    }

    /// The base images, and the hidden volumes beside them that hold their claims.
    fn volumes(&self) -> Vec<String> {
        let stem = self.name.trim_end_matches(".qcow2");
        let mut all = self.lab.volumes("images");
        all.retain(|name| {
            let rest = name.trim_start_matches('.').strip_prefix(stem);
            rest.is_some_and(|rest| rest.starts_with(['.', '-']))
        });
        all
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
        // After a failed test the host may be in any state; a second panic would hide the first.
        if !std::thread::panicking() {
            for volume in self.volumes() {
                quietly(&["vol-delete", "--pool", "images", &volume]);
            }
        }
    }
}

/// A volume that a guest boots from. Drop deletes it.
pub struct GuestVolume {
    file: PathBuf,
}

impl GuestVolume {
    /// The volume's path on the host.
    pub fn path(&self) -> String {
        self.file.display().to_string()
    }
}

impl Drop for GuestVolume {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// A pool for one test. Drop deletes it.
pub struct Pool<'a> {
    name: String,
    folder: PathBuf,
    _lab: std::marker::PhantomData<&'a Lab>,
}

impl Pool<'_> {
    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that the pool is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Changes the size of the pool's tmpfs.
    ///
    /// # Panics
    /// When that does not succeed.
    pub fn resize(&self, size: &str) {
        let mut mount = Command::new("mount");
        let mount = mount.arg("-o").arg(format!("remount,size={size}"));
        assert!(mount.arg(&self.folder).status().unwrap().success());
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        quietly(&["pool-destroy", &self.name]);
        quietly(&["pool-undefine", &self.name]);
        let _ = Command::new("umount").arg(&self.folder).output();
        let _ = std::fs::remove_dir(&self.folder);
    }
}

/// A VSI on the lab's host. Drop deletes it, also after a failed test.
pub struct Deleted<'a>(pub &'a Vsiflow, pub &'a str);

impl Drop for Deleted<'_> {
    fn drop(&mut self) {
        let Self(vsiflow, name) = self;
        let _ = vsiflow
            .command(&[
                "delete",
                name,
                "--wait",
                "--timeout",
                "30s",
                "--ignore-not-found",
            ])
            .output();
    }
}
