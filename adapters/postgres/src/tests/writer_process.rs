//! A process that appends and prints what was acknowledged, for tests that stop, kill and resume it.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use vsiflow_engine::journal::Journal as _;

use super::conformance::{append, entity};
use crate::{Held, PostgresJournal};

const URL: &str = "VSIFLOW_TEST_JOURNAL";
const LEASE_DURATION: &str = "VSIFLOW_TEST_LEASE_MS";
const WHO: &str = "VSIFLOW_TEST_WHO";

/// The process.
pub(super) struct WriterProcess {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl WriterProcess {
    /// Starts a process: it waits for the lease, then appends until it loses the lease.
    pub(super) fn start(url: &str, lasts: Duration, who: &str) -> Self {
        // It ends with the thread that started it, however that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "tests::writer_process::appends_until_it_may_not",
                "--ignored",
            ])
            .args(["--nocapture", "--test-threads=1"])
            .env(URL, url)
            .env(LEASE_DURATION, lasts.as_millis().to_string())
            .env(WHO, who)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line that it prints; none once it ended.
    pub(super) fn says(&mut self) -> Option<String> {
        loop {
            let line = self.lines.next()?.ok()?;
            // The test harness prints other lines, too.
            if let Some((_, acknowledged)) = line.split_once("SAYS ") {
                return Some(acknowledged.to_owned());
            }
        }
    }

    /// Waits until it has acknowledged this many.
    pub(super) fn acknowledges(&mut self, count: usize) -> Vec<String> {
        let mut acknowledged = Vec::new();
        while acknowledged
            .iter()
            .filter(|line: &&String| line.starts_with("wrote "))
            .count()
            < count
        {
            let line = self.says();
            acknowledged
                .push(line.unwrap_or_else(|| panic!("it ended: {:?}", acknowledged.last())));
        }
        acknowledged
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(super) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().unwrap()).unwrap()
    }

    /// Waits for its end. Returns what it printed until then.
    pub(super) fn end(mut self) -> Vec<String> {
        let acknowledged = std::iter::from_fn(|| self.says()).collect();
        self.child.wait().unwrap();
        acknowledged
    }
}

impl Drop for WriterProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "SAYS {text}");
    let _ = out.flush();
}

/// Milliseconds since the machine started.
fn now() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let since = Duration::new(
        now.tv_sec.try_into().unwrap(),
        now.tv_nsec.try_into().unwrap(),
    );
    since.as_millis()
}

/// The body of the process; not a real test.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that others start"]
async fn appends_until_it_may_not() {
    let Ok(url) = std::env::var(URL) else { return };
    let lasts = Duration::from_millis(std::env::var(LEASE_DURATION).unwrap().parse().unwrap());
    let who = std::env::var(WHO).unwrap();
    let address = url.parse().unwrap();
    let held = Held::win(&address, lasts, |_| {}).await.unwrap();
    say(&format!("holds, quiet {}", held.quiet().as_secs()));
    say(&format!("took at {}", now()));
    let journal = PostgresJournal::open(held.clone()).await.unwrap();
    let keeper = held.clone();
    tokio::spawn(async move { keeper.keep().await });
    let stream = entity(&who);
    let heads = journal.streams().await.unwrap();
    let mut seq = heads
        .iter()
        .find(|head| head.stream == stream)
        .map_or(0, |head| head.next_seq);
    loop {
        let batch = vec![append(&stream, seq, who.as_bytes())];
        match journal.append(batch).await {
            Ok(records) => {
                say(&format!("wrote {who} {seq} at {}", records[0].offset));
                if held.lease().check().is_ok() {
                    say(&format!("could act at {}", now()));
                }
            }
            Err(error) => {
                say(&format!("ends: {error}"));
                return;
            }
        }
        seq += 1;
    }
}
