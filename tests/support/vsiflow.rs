//! Runs the real vsiflow binary on a temporary state directory.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Running, Sim, history::Event, until};

/// How long a command may run, in seconds. It is longer than any command here needs, and short enough that
/// the test can name the command that hung.
const DEADLINE_S: u64 = 180;

/// A state directory and the commands on it. Drop deletes it.
pub struct Vsiflow {
    folder: TempDir,
    host: Option<String>,
    /// The name of the state directory in the folder.
    state: String,
    written: AtomicUsize,
    deadline_s: u64,
}

impl Vsiflow {
    /// A state directory with a simulated host.
    pub fn simulated() -> Self {
        Self::with(Some("sim:".to_owned()))
    }

    /// A state directory whose commands act on the host with this URI, whatever host the documents name.
    pub fn on(host: &str) -> Self {
        Self::with(Some(host.to_owned()))
    }

    /// A state directory whose commands act on the hosts that the documents name.
    pub fn of_documents() -> Self {
        Self::with(None)
    }

    fn with(host: Option<String>) -> Self {
        Self {
            folder: tempfile::Builder::new()
                .prefix("vsiflow-")
                .tempdir()
                .unwrap(),
            host,
            state: "state".to_owned(),
            written: AtomicUsize::new(0),
            deadline_s: DEADLINE_S,
        }
    }

    /// The same with this many seconds for each command, because an emulated guest boots slowly.
    pub fn patient(self, deadline_s: u64) -> Self {
        Self { deadline_s, ..self }
    }

    /// The same with another name of the state directory.
    pub fn with_state(self, name: &str) -> Self {
        let state = name.to_owned();
        Self { state, ..self }
    }

    /// The temporary folder that holds the state directory and the test's files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The path of the state directory. It exists only after vsiflow created it.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join(&self.state)
    }

    /// Copies the state directory as it is now, under this name beside it.
    ///
    /// # Panics
    /// When that does not succeed.
    pub fn copy_state(&self, name: &str) -> PathBuf {
        let to = self.folder.path().join(name);
        let mut copy = Command::new("cp");
        let copied = copy.arg("-r").arg(self.state()).arg(&to).status();
        assert!(copied.unwrap().success());
        to
    }

    /// Brings the journal back to a backup, and confirms it; the simulated hosts stay as they are.
    pub fn restore(&self, backup: &str) {
        self.with_another_journal(|| {
            self.run(&["restore", backup]).exits(0);
        });
        self.run(&["restore", "--confirm"]).exits(0);
    }

    /// Goes on with an empty journal; the simulated hosts stay as they are.
    pub fn forget_journal(&self) {
        self.with_another_journal(|| {
            self.run(&["get", "vsi"]).exits(0);
        });
    }

    fn with_another_journal(&self, make: impl FnOnce()) {
        let (state, hosts) = (self.state(), self.folder().join("hosts-kept"));
        std::fs::rename(state.join("sim"), &hosts).unwrap();
        std::fs::remove_dir_all(&state).unwrap();
        make();
        std::fs::rename(&hosts, state.join("sim")).unwrap();
    }

    /// Writes a file beside the state directory.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A command of vsiflow with these arguments, without the settings of the caller's environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.arg("--state").arg(self.state());
        if let Some(host) = &self.host {
            command.arg("--host").arg(host);
        }
        for setting in ["STATE", "LOG", "LOG_FORMAT"] {
            command.env_remove(format!("VSIFLOW_{setting}"));
        }
        // Images come from this machine. A proxy would look for them on its own machine.
        for proxy in ["http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy).env_remove(proxy.to_uppercase());
        }
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    /// Starts a command.
    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::start(&mut self.command(arguments))
    }

    /// Runs a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.start(arguments).end(self.deadline_s)
    }

    /// Runs a command to its end with `input` on its standard input.
    pub fn feed(&self, arguments: &[&str], input: &str) -> Ran {
        feed(self.command(arguments), input)
    }

    /// Starts a daemon, and waits until it serves.
    ///
    /// # Panics
    /// When it does not serve within 30 s.
    #[track_caller]
    pub fn serve(&self, more: &[&str]) -> Running {
        let mut daemon = self.start(&[&["serve"], more].concat());
        assert!(daemon.reaches("serving", 30));
        daemon
    }

    /// Starts `apply` with these documents.
    pub fn start_apply(&self, documents: impl ToString, more: &[&str]) -> Running {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let path = self.write(&format!("documents-{number}.yaml"), &documents.to_string());
        let mut arguments = vec!["apply", "-f", path.to_str().unwrap()];
        arguments.extend(more);
        self.start(&arguments)
    }

    /// Applies these documents.
    pub fn apply(&self, documents: impl ToString, more: &[&str]) -> Ran {
        self.start_apply(documents, more).end(self.deadline_s)
    }

    /// A VSI as `get` prints it in JSON.
    pub fn vsi(&self, name: &str) -> Value {
        self.run(&["get", "vsi", name, "-o", "json"])
            .exits(0)
            .json()
    }

    /// Waits until a VSI is in this phase.
    ///
    /// # Panics
    /// When it is not in this phase after `seconds`.
    #[track_caller]
    pub fn until_phase(&self, name: &str, phase: &str, seconds: u64) {
        until(&format!("{name} is {phase}"), seconds, || {
            (self.phase(name) == phase).then_some(())
        });
    }

    /// A VSI's phase.
    pub fn phase(&self, name: &str) -> String {
        text(&self.vsi(name)["status"]["phase"])
    }

    /// The phases of all base images.
    pub fn image_phases(&self) -> Vec<String> {
        let images = self.run(&["get", "image", "-o", "json"]).exits(0).json();
        let items = images["items"].as_array().unwrap();
        items
            .iter()
            .map(|item| text(&item["status"]["phase"]))
            .collect()
    }

    /// All events of a VSI.
    pub fn history(&self, name: &str) -> Vec<Event> {
        let ran = self.run(&["history", name, "-o", "json"]).exits(0);
        ran.stdout.lines().map(Event::parse).collect()
    }

    /// Changes the simulated host without vsiflow, as a person would by hand.
    pub fn change_sim(&self, change: impl FnOnce(&mut Value)) {
        Sim::change(self.sim(), change);
    }

    /// Changes the simulated host `sim:NAME` without vsiflow.
    pub fn change_sim_of(&self, name: &str, change: impl FnOnce(&mut Value)) {
        Sim::change(self.sim_of(name), change);
    }

    /// The state of the simulated host.
    pub fn sim(&self) -> Sim {
        Sim::read(&self.state())
    }

    /// The state of the simulated host `sim:NAME`.
    pub fn sim_of(&self, name: &str) -> Sim {
        Sim::of(&self.state(), &format!("sim%3a{name}"))
    }
}

/// Runs a command to its end with `input` on its standard input.
pub(crate) fn feed(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_owned());
    // On its own thread: a command that prints before it has read everything blocks until its output is read.
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    Ran {
        shown: format!("{command:?}"),
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// The path of a benchmark that was built with this test, the newest if there are several builds.
///
/// # Panics
/// When it was not built.
pub fn benchmark(name: &str) -> PathBuf {
    let deps = binary().with_file_name("deps");
    let files = std::fs::read_dir(deps).unwrap().map(Result::unwrap);
    let is_build = |path: &Path| {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let hash = file
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('-'));
        hash.is_some_and(|hash| hash.chars().all(|digit| digit.is_ascii_hexdigit()))
    };
    let builds = files.map(|file| file.path()).filter(|path| is_build(path));
    let newest = builds.max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    newest.unwrap_or_else(|| panic!("build {name} first: cargo build --workspace --all-targets"))
}

/// The path of the vsiflow binary in this test's build folder.
///
/// # Panics
/// When it was not built.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let found = test
        .ancestors()
        .take(3)
        .map(|folder| folder.join("vsiflow"))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "there is no vsiflow beside {}: build it first, with `cargo build`",
            test.display()
        )
    })
}

/// The result of a command: its exit code and its output.
#[derive(Debug)]
pub struct Ran {
    /// The command, for messages.
    pub shown: String,
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Ran {
    /// Expects this exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Expects these words on standard output or standard error.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        let has_words = self.stdout.contains(words) || self.stderr.contains(words);
        assert!(has_words, "no `{words}` in {self:#?}");
        self
    }

    /// Expects that these words are neither on standard output nor on standard error.
    #[track_caller]
    pub fn keeps_quiet_about(self, words: &str) -> Self {
        let has_words = self.stdout.contains(words) || self.stderr.contains(words);
        assert!(!has_words, "`{words}` in {self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}
