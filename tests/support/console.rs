//! A user at a guest's console: types into a process and reads what it shows.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Mutex},
};

use crate::{Vsiflow, until};

/// A process, its standard input, and the output so far. Drop kills it.
pub struct TestConsole {
    child: Child,
    keys: Option<ChildStdin>,
    shown: Arc<Mutex<Vec<u8>>>,
    seen: usize,
}

impl TestConsole {
    /// Starts vsiflow on a pseudo-terminal.
    pub fn on_a_terminal(vsiflow: &Vsiflow, arguments: &[&str]) -> Self {
        Self::of_shell(&Self::line(vsiflow, arguments))
    }

    /// Runs a shell command line on a pseudo-terminal, with `script` of util-linux.
    pub fn of_shell(line: &str) -> Self {
        let mut script = Command::new("script");
        script.args(["-qefc", line, "/dev/null"]);
        Self::of_command(script)
    }

    /// The shell command line that runs vsiflow with these arguments.
    pub fn line(vsiflow: &Vsiflow, arguments: &[&str]) -> String {
        let command = vsiflow.command(arguments);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let quoted = words.map(|word| format!("'{}'", word.to_string_lossy()));
        quoted.collect::<Vec<_>>().join(" ")
    }

    /// Starts vsiflow without a terminal.
    pub fn piped(vsiflow: &Vsiflow, arguments: &[&str]) -> Self {
        Self::of_command(vsiflow.command(arguments))
    }

    /// Starts a command without a terminal.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn of_command(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let keys = child.stdin.take();
        let shown = Arc::new(Mutex::new(Vec::new()));
        let (mut out, to) = (child.stdout.take().unwrap(), shown.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = out.read(&mut piece) {
                to.lock().unwrap().extend_from_slice(&piece[..length]);
            }
        });
        Self {
            child,
            keys,
            shown,
            seen: 0,
        }
    }

    /// Types this text.
    ///
    /// # Panics
    /// When the process does not read it.
    pub fn types(&mut self, text: &str) {
        let keys = self.keys.as_mut().unwrap();
        keys.write_all(text.as_bytes()).unwrap();
        keys.flush().unwrap();
    }

    /// Waits for words, after the words or line that the last call waited for.
    ///
    /// # Panics
    /// When they do not appear within 60 s.
    #[track_caller]
    pub fn shows(&mut self, words: &str) {
        let (shown, from) = (self.shown.clone(), self.seen);
        self.seen = until(&format!("`{words}` on the console"), 60, || {
            let shown = shown.lock().unwrap();
            let new = &shown[from..];
            let at = new.windows(words.len()).position(|w| w == words.as_bytes());
            at.map(|at| from + at + words.len())
        });
    }

    /// Waits for words, or for the end of the process. Returns whether the words appeared.
    ///
    /// # Panics
    /// When neither happens within 60 s.
    pub fn shows_or_ends(&mut self, words: &str) -> bool {
        let (shown, child) = (self.shown.clone(), &mut self.child);
        until(&format!("`{words}` on the console, or its end"), 60, || {
            let has_ended = child.try_wait().unwrap().is_some();
            let shown = shown.lock().unwrap();
            let has_words = shown.windows(words.len()).any(|w| w == words.as_bytes());
            (has_words || has_ended).then_some(has_words)
        })
    }

    /// Waits for the next line, after the words or line that the last call waited for.
    ///
    /// # Panics
    /// When it does not appear within 60 s.
    #[track_caller]
    pub fn line_shown(&mut self) -> String {
        let (shown, from) = (self.shown.clone(), self.seen);
        let line = until("a line", 60, || {
            let shown = shown.lock().unwrap();
            let end = shown[from..].iter().position(|byte| *byte == b'\n')?;
            Some(String::from_utf8_lossy(&shown[from..from + end]).into_owned())
        });
        self.seen = from + line.len() + 1;
        line.trim().to_owned()
    }

    /// Closes the standard input.
    pub fn leave(&mut self) {
        self.keys = None;
    }

    /// Sends a signal to vsiflow on the pseudo-terminal.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn signal(&self, name: &str) {
        let children = |pid: u32| {
            let path = format!("/proc/{pid}/task/{pid}/children");
            let text = std::fs::read_to_string(path).unwrap_or_default();
            let pids = text
                .split_whitespace()
                .map(|parent| parent.parse().unwrap());
            pids.collect::<Vec<u32>>()
        };
        let mut pid = self.child.id();
        while let Some(next) = children(pid).pop() {
            pid = next;
        }
        let mut kill = Command::new("kill");
        let sent = kill.args([format!("-{name}"), pid.to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the end of the process and returns its exit code, or -1 if a signal ended it.
    ///
    /// # Panics
    /// When it does not end within 60 s.
    pub fn end(&mut self) -> i32 {
        self.end_within(60)
    }

    /// As [`TestConsole::end`], for at most this many seconds.
    ///
    /// # Panics
    /// When the process does not end in that time.
    pub fn end_within(&mut self, seconds: u64) -> i32 {
        let child = &mut self.child;
        let what = "the end of the console";
        let ended = until(what, seconds, || child.try_wait().unwrap());
        ended.code().unwrap_or(-1)
    }
}

impl Drop for TestConsole {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
