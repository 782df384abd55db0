//! Two processes that want to write, and servers and connections that fail at random: the histories of
//! all of them are recorded and then checked.
//!
//! - Nothing that was acknowledged is missing, moved or duplicated.
//! - Only one process holds the lease at a time: the offsets of a holder come after those of the
//!   previous one.
//! - In the end a process holds the lease.
//! - No process could act on a host while its successor may: the successor's quiet time ends only after
//!   that.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::{Pid, Signal, kill_process};

use super::{fencing::holds_all, server::Server, writer_process::WriterProcess};
use crate::hold;

/// How long faults are injected in the long test.
const SECONDS: &str = "VSIFLOW_HISTORIES_SECONDS";
/// How long it may take until a process writes after all servers work again.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The seed of the faults.
const SEED: &str = "VSIFLOW_HISTORIES_SEED";

/// The output of one process, from its start to its end.
type Life = Vec<String>;

/// A process that is restarted whenever it ends.
struct HistoryWriter {
    pid: Arc<AtomicI32>,
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl HistoryWriter {
    fn start(url: String, who: &'static str, lives: Arc<Mutex<Vec<Life>>>) -> Self {
        let (pid, ends) = (
            Arc::new(AtomicI32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (its_pid, its_end) = (pid.clone(), ends.clone());
        let thread = thread::spawn(move || {
            while !its_end.load(Ordering::SeqCst) {
                let process = WriterProcess::start(&url, hold::LEASE_DURATION, who);
                its_pid.store(process.pid().as_raw_nonzero().get(), Ordering::SeqCst);
                let life = process.end();
                lives.lock().unwrap().push(life);
            }
        });
        Self { pid, ends, thread }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.pid.load(Ordering::SeqCst)) {
            // It may just have ended.
            let _ = kill_process(pid, signal);
        }
    }

    fn end(self) {
        self.ends.store(true, Ordering::SeqCst);
        while !self.thread.is_finished() {
            self.signal(Signal::KILL);
            thread::sleep(Duration::from_millis(20));
        }
        self.thread.join().unwrap();
    }
}

/// The servers, of which one is the primary, and the processes.
struct HistorySite {
    servers: [Server; 2],
    primary: usize,
    writers: [HistoryWriter; 2],
    lives: Arc<Mutex<Vec<Life>>>,
}

impl HistorySite {
    fn start() -> Self {
        let one = Server::start();
        let servers = [one.synchronous_standby(), one];
        let url = servers[0].url_with(&servers[1], "a");
        let lives = Arc::default();
        let writers = ["first", "second"];
        let writers = writers.map(|who| HistoryWriter::start(url.clone(), who, Arc::clone(&lives)));
        Self {
            servers,
            primary: 1,
            writers,
            lives,
        }
    }

    fn primary(&mut self) -> &mut Server {
        &mut self.servers[self.primary]
    }

    fn standby(&mut self) -> &mut Server {
        &mut self.servers[1 - self.primary]
    }

    fn wounds(&mut self, random: &mut StdRng) -> &'static str {
        let who = random.random_range(0..2);
        match random.random_range(0..7) {
            0 => {
                self.writers[who].signal(Signal::KILL);
                "a writer was killed"
            }
            1 => {
                self.writers[who].signal(Signal::STOP);
                // Shorter and longer than the lease.
                thread::sleep(Duration::from_millis(random.random_range(10..9_000)));
                self.writers[who].signal(Signal::CONT);
                "a writer was stopped and woken"
            }
            2 => {
                self.primary().sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE application_name = 'vsiflow'",
                );
                "connections were cut"
            }
            3 => {
                self.primary().kill();
                self.primary().go_on();
                self.primary().waits_for_its_standby();
                "the primary crashed"
            }
            4 => {
                self.primary().kill();
                self.standby().promote();
                let (before, after) = self.servers.split_at_mut(1);
                let (old, new) = match self.primary {
                    0 => (&mut before[0], &after[0]),
                    _ => (&mut after[0], &before[0]),
                };
                old.become_synchronous_standby_of(new);
                self.primary = 1 - self.primary;
                "the standby was promoted"
            }
            5 => {
                self.standby().kill();
                thread::sleep(Duration::from_millis(random.random_range(10..3_000)));
                self.standby().go_on();
                self.primary().waits_for_its_standby();
                "the standby was away"
            }
            _ => "nothing",
        }
    }
}

/// A process lifetime that held the lease.
struct Reign {
    took: u128,
    quiet: u128,
    last_act: u128,
    offsets: Vec<u64>,
}

fn number<T: std::str::FromStr>(line: &str) -> T {
    let last = line.rsplit(' ').next().and_then(|word| word.parse().ok());
    last.unwrap_or_else(|| panic!("{line}"))
}

fn reign(life: &Life) -> Option<Reign> {
    let after = |words: &'static str| {
        let lines = life.iter().filter(move |line| line.starts_with(words));
        lines.map(|line| line.as_str())
    };
    let took = number(after("took at ").next()?);
    Some(Reign {
        took,
        quiet: number::<u128>(after("holds, quiet ").next()?) * 1000,
        last_act: after("could act at ").next_back().map_or(took, number),
        offsets: after("wrote ").map(number).collect(),
    })
}

fn one_at_a_time(lives: &[Life]) -> usize {
    let mut reigns: Vec<_> = lives.iter().filter_map(reign).collect();
    reigns.sort_by_key(|reign| reign.took);
    for pair in reigns.windows(2) {
        let [before, after] = pair else { continue };
        let may_act = after.took + after.quiet;
        assert!(before.last_act <= may_act, "two could act on a host");
    }
    let mut newest = None;
    for reign in &reigns {
        let first = reign.offsets.first().copied();
        assert!(first.is_none() || first > newest, "two wrote side by side");
        newest = newest.max(reign.offsets.last().copied());
    }
    reigns.len()
}

/// Starts processes until one writes. A server that was just repaired may answer so late that the first
/// of them loses its lease again.
fn until_one_writes(url: &str) -> Vec<Life> {
    let (mut lives, until) = (Vec::new(), Instant::now() + TIMEOUT);
    loop {
        let mut last = WriterProcess::start(url, hold::LEASE_DURATION, "last");
        let (mut lines, mut wrote) = (Life::new(), false);
        while !wrote && let Some(line) = last.says() {
            wrote = line.starts_with("wrote ");
            lines.push(line);
        }
        last.signal(Signal::KILL);
        lines.extend(last.end());
        assert!(
            wrote || Instant::now() < until,
            "no process writes: {lines:?}"
        );
        lives.push(lines);
        if wrote {
            break lives;
        }
    }
}

async fn play(seed: u64, lasts: Duration) {
    eprintln!("{SEED}={seed}");
    let mut site = HistorySite::start();
    let mut random = StdRng::seed_from_u64(seed);
    let until = Instant::now() + lasts;
    let mut wounds = Vec::new();
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(random.random_range(200..4_000)));
        wounds.push(site.wounds(&mut random));
    }
    let HistorySite {
        servers,
        primary,
        writers,
        lives,
    } = site;
    for writer in writers {
        writer.end();
    }
    let url = servers[0].url_with(&servers[1], "a");
    lives.lock().unwrap().extend(until_one_writes(&url));
    let lives = std::mem::take(&mut *lives.lock().unwrap());
    let reigns = one_at_a_time(&lives);
    let all: Vec<_> = lives.iter().flatten().cloned().collect();
    holds_all(&servers[primary], &all).await;
    let wrote = all.iter().filter(|line| line.starts_with("wrote ")).count();
    println!("seed {seed}: {wrote} acknowledged, {reigns} had the right; {wounds:?}");
    assert!(wrote > 0, "nothing was written: {wounds:?}");
}

fn life(lines: &[&str]) -> Life {
    lines.iter().map(|&line| line.to_owned()).collect()
}

#[test]
#[should_panic(expected = "two wrote side by side")]
fn a_history_of_two_that_wrote_side_by_side_is_found() {
    one_at_a_time(&[
        life(&[
            "holds, quiet 0",
            "took at 10",
            "wrote first 0 at 0",
            "wrote first 1 at 2",
        ]),
        life(&["holds, quiet 60", "took at 20", "wrote second 0 at 1"]),
    ]);
}

#[test]
#[should_panic(expected = "two could act on a host")]
fn a_history_of_two_that_could_act_on_a_host_is_found() {
    one_at_a_time(&[
        life(&["holds, quiet 0", "took at 10", "could act at 60021"]),
        life(&["holds, quiet 60", "took at 20", "could act at 60020"]),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn histories_of_writers_and_servers_that_break_have_one_writer_and_lose_nothing() {
    play(rand::random(), Duration::from_secs(20)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long"]
async fn long_histories_have_one_writer_and_lose_nothing() {
    let of = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let until = Instant::now() + Duration::from_secs(of(SECONDS).unwrap_or(600));
    let mut seed = of(SEED).unwrap_or_else(rand::random);
    while Instant::now() < until {
        play(seed, Duration::from_secs(60)).await;
        seed = seed.wrapping_add(1);
    }
}
