//! A private PostgreSQL server, in a folder that is removed with it, with only a socket. The scenarios
//! in `tests/` use this file, too.

use std::{
    fs::Permissions,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::{NamedTempFile, TempDir};

/// Where Debian, Fedora and other distributions install it.
const PLACES: &[&str] = &["/usr/lib/postgresql", "/usr/pgsql", "/opt/homebrew"];

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The server; it ends when this is dropped, and with the thread that started it.
pub(super) struct Server {
    dir: TempDir,
    /// Outside its folder, which may have no room.
    log: NamedTempFile,
    bin: PathBuf,
    user: Option<(u32, u32)>,
    child: Option<Child>,
    settings: Vec<&'static str>,
}

impl Server {
    /// Starts a server.
    pub(super) fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with settings such as `max_connections=20`.
    pub(super) fn with(settings: &[&'static str]) -> Self {
        Self::within(tempfile::tempdir().unwrap(), settings)
    }

    /// Starts a server in an existing folder.
    pub(super) fn within(dir: TempDir, settings: &[&'static str]) -> Self {
        let mut server = Self::new(dir, settings);
        let made = server
            .command("initdb")
            .args([
                "--no-sync",
                "-A",
                "trust",
                "-U",
                "tester",
                "-E",
                "UTF8",
                "--no-locale",
                "-D",
            ])
            .arg(server.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {made:?}");
        server.go_on();
        server
    }

    /// A folder for a server.
    fn new(dir: TempDir, settings: &[&'static str]) -> Self {
        let server = Self {
            bin: programs(),
            user: user(),
            dir,
            log: NamedTempFile::new().unwrap(),
            child: None,
            settings: settings.to_vec(),
        };
        std::fs::set_permissions(server.dir.path(), Permissions::from_mode(0o755)).unwrap();
        if let Some((user, group)) = server.user {
            chown(server.dir.path(), Some(user), Some(group)).unwrap();
        }
        server.make_data();
        server
    }

    fn make_data(&self) {
        let data = self.data();
        std::fs::create_dir(&data).unwrap();
        std::fs::set_permissions(&data, Permissions::from_mode(0o700)).unwrap();
        if let Some((user, group)) = self.user {
            chown(&data, Some(user), Some(group)).unwrap();
        }
    }

    /// Starts a standby of this server, whose acknowledgement this one then waits for.
    pub(super) fn synchronous_standby(&self) -> Self {
        let mut standby = Self::new(tempfile::tempdir().unwrap(), &self.settings);
        standby.copy(self);
        standby
    }

    /// Makes this server, which has ended, the synchronous standby of another one; its own data is
    /// discarded.
    pub(super) fn become_synchronous_standby_of(&mut self, primary: &Self) {
        std::fs::remove_dir_all(self.data()).unwrap();
        self.make_data();
        self.copy(primary);
    }

    fn copy(&mut self, primary: &Self) {
        let copied = self
            .command("pg_basebackup")
            .args(["-U", "tester", "--no-sync", "-c", "fast", "-R", "-h"])
            .arg(primary.dir.path())
            .arg("-D")
            .arg(self.data())
            .output()
            .unwrap();
        assert!(copied.status.success(), "pg_basebackup: {copied:?}");
        self.go_on();
        // Set only now: the copy would wait for a standby of its own after a promotion.
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
        primary.sql("SELECT pg_reload_conf()");
        primary.waits_for_its_standby();
    }

    /// Waits until a synchronous standby is connected.
    pub(super) fn waits_for_its_standby(&self) {
        let until = Instant::now() + TIMEOUT;
        while !self.has_synchronous_standby() {
            assert!(Instant::now() < until, "no standby: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn has_synchronous_standby(&self) -> bool {
        let count =
            "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')";
        self.sql(count) != "0"
    }

    /// Starts a server that archives what is needed for a point-in-time recovery.
    pub(super) fn that_archives() -> Self {
        Self::with(&[
            "archive_mode=on",
            "archive_command=mkdir -p ../archive && cp %p ../archive/%f",
        ])
    }

    /// Takes a backup, and then sets a restore point with this name.
    pub(super) fn back_up(&self, moment: &str) {
        let copied = self
            .command("pg_basebackup")
            .args(["-U", "tester", "--no-sync", "-c", "fast", "-h"])
            .arg(self.dir.path())
            .arg("-D")
            .arg(self.dir.path().join("backup"))
            .output()
            .unwrap();
        assert!(copied.status.success(), "pg_basebackup: {copied:?}");
        self.sql(&format!("SELECT pg_create_restore_point('{moment}')"));
    }

    /// Recovers to a restore point, as an administrator does after a disaster.
    pub(super) fn set_back(&mut self, moment: &str) {
        let newest = self.sql("SELECT pg_walfile_name(pg_switch_wal())");
        let archived = "SELECT coalesce(last_archived_wal, '') FROM pg_stat_archiver";
        let until = Instant::now() + TIMEOUT;
        while self.sql(archived) < newest {
            assert!(Instant::now() < until, "not archived: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::rename(self.dir.path().join("backup"), self.data()).unwrap();
        std::fs::write(self.data().join("recovery.signal"), "").unwrap();
        let settings = self.data().join("postgresql.auto.conf");
        let to = format!(
            "restore_command = 'cp ../archive/%f %p'\nrecovery_target_name = '{moment}'\n\
             recovery_target_action = 'promote'\n"
        );
        std::fs::write(settings, to).unwrap();
        self.go_on();
        while self.sql("SELECT pg_is_in_recovery()") == "t" {
            assert!(Instant::now() < until, "not restored: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Makes a standby the primary.
    pub(super) fn promote(&self) {
        // Not with a query, because replay may cancel it.
        let promoted = self
            .command("pg_ctl")
            .args(["promote", "-w", "-t", "120", "-D"])
            .arg(self.data())
            .output()
            .unwrap();
        assert!(promoted.status.success(), "pg_ctl: {promoted:?}");
    }

    /// Starts the server again after [`Server::kill`].
    pub(super) fn go_on(&mut self) {
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data());
        let socket = format!("unix_socket_directories={}", self.dir.path().display());
        let own = [
            "listen_addresses=",
            socket.as_str(),
            "fsync=off",
            "shared_buffers=16MB",
            "wal_keep_size=1GB",
        ];
        for setting in own.into_iter().chain(self.settings.iter().copied()) {
            command.args(["-c", setting]);
        }
        let log = std::fs::File::options()
            .append(true)
            .open(self.log.path())
            .unwrap();
        command
            .stdout(Stdio::null())
            .stderr(log)
            .stdin(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let until = Instant::now() + TIMEOUT;
        while !self.answers() {
            assert!(Instant::now() < until, "it does not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn answers(&self) -> bool {
        let answer = self
            .command("pg_isready")
            .args(["-q", "-U", "tester", "-d", "postgres", "-h"])
            .arg(self.dir.path())
            .status();
        answer.unwrap().success()
    }

    /// The path of its socket.
    pub(super) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// The ID of its first process.
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Its log.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap_or_default()
    }

    /// Ends it as in a crash: nothing is flushed.
    pub(super) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Some(pid) = rustix::process::Pid::from_raw(child.id().try_into().unwrap()) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            }
            let _ = child.wait();
        }
    }

    /// The address of a journal with this name, on this server or another one.
    pub(super) fn url_with(&self, other: &Self, name: &str) -> String {
        let socket = |server: &Self| server.dir.path().display().to_string().replace('/', "%2F");
        let (one, other) = (socket(self), socket(other));
        format!("postgres://tester@{one},{other}/postgres?journal={name}")
    }

    /// The address of a journal with this name.
    pub(super) fn url(&self, name: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://tester@{socket}/postgres?journal={name}")
    }

    /// Runs a statement with the server's own client.
    pub(super) fn sql(&self, statement: &str) -> String {
        let out = self
            .command("psql")
            .args(["-X", "-A", "-t", "-U", "tester", "-d", "postgres", "-h"])
            .arg(self.dir.path())
            .args(["-c", statement])
            .output()
            .unwrap();
        assert!(out.status.success(), "{statement}: {out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// One of its programs, run as a user other than root; it ends with this thread.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        // For a socket, the port is a part of its name.
        let port = |setting: &&'static str| setting.strip_prefix("port=");
        if let Some(port) = self.settings.iter().find_map(port) {
            command.env("PGPORT", port);
        }
        if let Some((user, group)) = self.user {
            command.args(["--clear-groups", "--regid", &group.to_string()]);
            command.args(["--reuid", &user.to_string()]);
        }
        command
            .arg(self.bin.join(name))
            .env("LC_ALL", "C")
            .current_dir("/");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of its programs; without them the test fails and says what is missing.
fn programs() -> PathBuf {
    let mut found: Vec<_> = PLACES
        .iter()
        .filter_map(|place| std::fs::read_dir(place).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("postgres").is_file())
        .collect();
    found.sort();
    let path = std::env::var("PATH").unwrap_or_default();
    let on_path = path.split(':').map(PathBuf::from).find(|bin| {
        let real = std::fs::canonicalize(bin.join("initdb")).ok();
        real.is_some() && bin.join("postgres").is_file()
    });
    found.pop().or(on_path).unwrap_or_else(|| {
        panic!(
            "PostgreSQL is not installed: `apt-get install postgresql` (its server need not run)"
        )
    })
}

/// The user that it runs as if this process is root: it refuses to run as root.
pub(super) fn user() -> Option<(u32, u32)> {
    if !rustix::process::getuid().is_root() {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let of = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = line.split(':').skip(2);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    Some(
        of("postgres")
            .or_else(|| of("nobody"))
            .expect("a user that is not root"),
    )
}
