//! A running vsiflow process, its output and its end.

use std::{
    io::{BufRead as _, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{until, vsiflow::Ran};

type OutputLines = Arc<Mutex<Vec<String>>>;

/// A running vsiflow process. Drop kills it.
pub struct Running {
    child: Child,
    shown: String,
    output: OutputLines,
    errors: OutputLines,
    readers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Starts a command.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self::start_as_is(command.stdin(Stdio::null()))
    }

    /// Starts a command whose standard input is already set.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_as_is(command: &mut Command) -> Self {
        let shown = format!("{command:?}");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        let (output, errors) = (OutputLines::default(), OutputLines::default());
        let readers = vec![
            collect(child.stdout.take().unwrap(), output.clone()),
            collect(child.stderr.take().unwrap(), errors.clone()),
        ];
        Self {
            child,
            shown,
            output,
            errors,
            readers,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until a line of its standard error has these words. False if the process ended without it.
    pub fn reaches(&mut self, words: &str, seconds: u64) -> bool {
        self.has_line(&self.errors, words, seconds)
    }

    /// The same for its standard output.
    pub fn prints(&mut self, words: &str, seconds: u64) -> bool {
        self.has_line(&self.output, words, seconds)
    }

    fn has_line(&self, lines: &OutputLines, words: &str, seconds: u64) -> bool {
        until(&format!("`{words}` of {}", self.shown), seconds, || {
            let printed = lines
                .lock()
                .unwrap()
                .iter()
                .any(|line| line.contains(words));
            // The end is checked after the lines, so that the last lines count.
            if printed {
                Some(true)
            } else {
                self.readers
                    .iter()
                    .all(JoinHandle::is_finished)
                    .then_some(false)
            }
        })
    }

    /// Its standard output so far.
    pub fn printed(&self) -> String {
        text(&self.output)
    }

    /// Its standard error so far.
    pub fn error_output(&self) -> String {
        text(&self.errors)
    }

    /// Kills it with SIGKILL and waits for its end.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Asks it to end, as a service manager does.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Suspends it with SIGSTOP, and waits until all threads are stopped.
    ///
    /// # Panics
    /// When it cannot be suspended.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        // A thread in a system call stops only after the call.
        until("a stop of all threads", 30, || {
            self.is_stopped().then_some(())
        });
    }

    fn is_stopped(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let state = |task: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let (_, after_name) = stat.rsplit_once(')').unwrap_or_default();
            after_name.trim_start().chars().next()
        };
        tasks.flatten().map(state).all(|state| state == Some('T'))
    }

    /// Resumes it with SIGCONT.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end.
    pub fn end(mut self, seconds: u64) -> Ran {
        let what = format!("the end of {}", self.shown);
        let status = until(&what, seconds, || self.child.try_wait().unwrap());
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Ran {
            shown: self.shown.clone(),
            code: status.code(),
            stdout: text(&self.output),
            stderr: text(&self.errors),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{} said:\n{}", self.shown, self.error_output());
        }
        // A process that has ended cannot be killed; that is not a failure.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(lines: &OutputLines) -> String {
    lines
        .lock()
        .unwrap()
        .iter()
        .map(|line| format!("{line}\n"))
        .collect()
}

fn collect(pipe: impl Read + Send + 'static, lines: OutputLines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            lines
                .lock()
                .unwrap()
                .push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}
