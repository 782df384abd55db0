//! A random test on a real host: users create, change, stop, restart and delete VSIs, while vsiflow
//! is killed and the host's daemons die, freeze and come back. At the end everything is in its
//! desired state, and nothing is left after all is deleted. Runs with `tests/run --part games`.
//!
//! `VSIFLOW_GAME_SECONDS` sets the duration and `VSIFLOW_GAME_SEED` the random seed. A seed fixes
//! the moves, but not their timing against events on the host.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::Value;
use vsiflow_tests::{
    DiskDocument, Lab, Running, Vsi, Vsiflow,
    lab::{Deleted, quietly},
    until,
};

const NAMES: [&str; 5] = ["game-ada", "game-bob", "game-cleo", "game-dan", "game-eve"];
/// The disks that a VSI may get, one after the other.
const DISKS: usize = 4;
const MEMORY: [&str; 3] = ["448Mi", "512Mi", "576Mi"];
/// Faults of the host's daemons: daemon, how it begins and ends, and its longest duration in
/// seconds.
const FAULTS: [(&str, &str, &str, f64); 4] = [
    ("libvirtd", "kill", "start", 4.0),
    ("libvirtd", "freeze", "thaw", 8.0),
    ("sshd", "kill", "start", 3.0),
    ("sshd", "freeze", "thaw", 6.0),
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The desired state of a VSI.
struct Goal {
    memory: &'static str,
    stopped: bool,
    /// The sizes of its disks, in MiB.
    disks: Vec<u32>,
}

struct LabGame<'a> {
    lab: &'a Lab,
    vsiflow: &'a Vsiflow,
    image: String,
    daemon: Option<Running>,
    goal: BTreeMap<&'static str, Goal>,
    random: StdRng,
}

impl LabGame<'_> {
    fn play(&mut self, seconds: u64) {
        self.serve();
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            self.next_move();
            let pause = self.random.random_range(0.0..3.0);
            sleep(Duration::from_secs_f64(pause));
        }
    }

    fn next_move(&mut self) {
        let name = NAMES.choose(&mut self.random).copied().unwrap();
        let beat = self.random.random_range(0..24);
        if !self.goal.contains_key(name) {
            return self.make(name);
        }
        match beat {
            0..3 => self.delete(name),
            3..13 => self.change(name),
            13..15 => self.restart(name),
            15 => self.destroy(),
            16..19 => self.end_daemon(),
            _ => self.break_host(),
        }
    }

    fn make(&mut self, name: &'static str) {
        let disks = vec![16; self.random.random_range(0..3)];
        let (memory, stopped) = ("512Mi", false);
        let goal = Goal {
            memory,
            stopped,
            disks,
        };
        self.goal.insert(name, goal);
        self.apply(name);
    }

    fn change(&mut self, name: &'static str) {
        let memory = MEMORY.choose(&mut self.random).copied().unwrap();
        let goal = self.goal.get_mut(name).unwrap();
        match self.random.random_range(0..5) {
            0 => goal.memory = memory,
            1 => goal.disks.iter_mut().for_each(|size| *size += 16),
            2 if goal.disks.len() < DISKS => goal.disks.push(16),
            3 => goal.stopped = true,
            _ => goal.stopped = false,
        }
        self.apply(name);
    }

    /// Submits the desired state of a VSI. It is recorded even while its host is down.
    fn apply(&self, name: &str) {
        let goal = &self.goal[name];
        println!(
            "{name}: {} {:?}, {}",
            goal.memory,
            goal.disks,
            if goal.stopped { "off" } else { "on" }
        );
        let state = if goal.stopped { "Stopped" } else { "Running" };
        let mut vsi = Vsi::named(name)
            .image(&self.image)
            .memory(goal.memory)
            .with(&format!("powerState: {state}"));
        if !goal.disks.is_empty() {
            vsi = vsi.choosing_disks();
        }
        let mut documents = format!("{}{vsi}", self.lab.host());
        for (number, size) in goal.disks.iter().enumerate() {
            let disk = DiskDocument::named(&format!("{name}-{number}")).of_vsi(name);
            let disk = disk.size(&format!("{size}Mi"));
            documents += &disk.with("deletionPolicy: Delete").to_string();
        }
        let path = self.vsiflow.write(&format!("{name}.yaml"), &documents);
        self.run(&["apply", "-f", path.to_str().unwrap()]);
    }

    fn delete(&mut self, name: &'static str) {
        println!("{name}: deleted");
        let path = self.vsiflow.folder().join(format!("{name}.yaml"));
        self.run(&["delete", "-f", path.to_str().unwrap()]);
        self.goal.remove(name);
    }

    fn delete_all(&self) {
        for name in self.goal.keys() {
            let path = self.vsiflow.folder().join(format!("{name}.yaml"));
            self.run(&["delete", "-f", path.to_str().unwrap(), "--wait"]);
        }
    }

    fn restart(&self, name: &str) {
        // A restart would start a VSI that is off.
        if !self.goal[name].stopped {
            println!("{name}: restarted");
            self.run(&["restart", name, "--timeout", "3s"]);
        }
    }

    fn run(&self, arguments: &[&str]) {
        self.vsiflow.run(arguments).exits(0);
    }

    /// An administrator destroys a guest, then vsiflow starts it again.
    fn destroy(&mut self) {
        let on: Vec<_> = (self.goal.iter())
            .filter(|(_, goal)| !goal.stopped)
            .collect();
        let Some((name, _)) = on.choose(&mut self.random) else {
            return;
        };
        let domain = self.lab.domains(&format!("default/{name}"));
        if let [domain] = &domain[..] {
            println!("{name}: destroyed on its host");
            quietly(&["destroy", domain]);
        }
        self.run(&["start", name]);
    }

    fn serve(&mut self) {
        self.daemon = Some(self.vsiflow.serve(&["--look-every", "5s"]));
    }

    fn end_daemon(&mut self) {
        let daemon = self.daemon.take().unwrap();
        if self.random.random() {
            println!("vsiflow: killed");
            daemon.kill();
        } else {
            println!("vsiflow: told to end");
            daemon.terminate();
            daemon.end(60).exits(0);
        }
        self.serve();
    }

    fn break_host(&mut self) {
        let fault = FAULTS.choose(&mut self.random).copied().unwrap();
        let (daemon, breaks, mends, seconds) = fault;
        println!("{daemon}: {breaks}");
        self.lab.daemon(daemon, breaks);
        sleep(Duration::from_secs_f64(
            self.random.random_range(0.0..seconds),
        ));
        self.lab.daemon(daemon, mends);
    }

    /// Waits until everything is in its desired state, including what failed while the host was
    /// down.
    fn settle(&self) {
        for (name, goal) in &self.goal {
            self.apply(name);
            if !goal.stopped {
                self.run(&["start", name]);
            }
        }
        let wrong = |(name, goal): &(&&'static str, &Goal)| {
            let phase = self.vsiflow.phase(name);
            if phase == "Failed" {
                self.run(&["retry", name]);
            }
            phase != if goal.stopped { "Stopped" } else { "Running" }
        };
        until("everything in its desired state", 180, || {
            self.goal.iter().all(|vsi| !wrong(&vsi)).then_some(())
        });
    }

    #[track_caller]
    fn is_on_the_host(&self, name: &str, goal: &Goal) {
        let vsi: Value = self.vsiflow.vsi(name);
        let domain = vsi["metadata"]["uid"].as_str().unwrap();
        let state = self.lab.virsh(&["domstate", domain]);
        assert_eq!(state.trim() == "shut off", goal.stopped, "{name}");
        let xml = self.lab.virsh(&["dumpxml", domain, "--inactive"]);
        let memory: u64 = goal.memory.trim_end_matches("Mi").parse().unwrap();
        let memory = format!("<memory unit='KiB'>{}</memory>", memory * 1024);
        assert!(xml.contains(&memory), "{name}: {memory} in {xml}");
        // The boot disk, the cidata volume, and the data disks.
        let disks = xml.matches("<disk ").count();
        assert_eq!(disks, 2 + goal.disks.len(), "{name}: {xml}");
    }
}

#[test]
#[ignore = "minutes: tests/run --part games"]
fn lab_a_random_game_of_users_and_faults_ends_as_wanted() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let seed = number("VSIFLOW_GAME_SEED").unwrap_or_else(rand::random);
    println!("VSIFLOW_GAME_SEED={seed}");
    let (image, vsiflow) = (lab.image("t-game.qcow2"), Vsiflow::of_documents());
    // Everything except the base images, which stay for the next VSI.
    let present = || {
        let (bases, mut volumes) = (image.bases(), lab.volumes("images"));
        volumes.retain(|name| !bases.iter().any(|base| name.contains(&**base)));
        (volumes, lab.names(&["list", "--all", "--name"]))
    };
    let before = present();
    let mut game = LabGame {
        lab: &lab,
        vsiflow: &vsiflow,
        image: image.url(),
        daemon: None,
        goal: BTreeMap::new(),
        random: StdRng::seed_from_u64(seed),
    };
    let disks = NAMES.map(|name| (0..DISKS).map(move |disk| format!("disk/{name}-{disk}")));
    let disks: Vec<_> = disks.into_iter().flatten().collect();
    // The VSIs are dropped before the disks that they use.
    let _disks: Vec<_> = (disks.iter()).map(|disk| Deleted(&vsiflow, disk)).collect();
    let _vsis = NAMES.map(|name| Deleted(&vsiflow, name));
    game.play(number("VSIFLOW_GAME_SECONDS").unwrap_or(60));
    game.settle();
    for (name, goal) in &game.goal {
        game.is_on_the_host(name, goal);
    }
    game.delete_all();
    vsiflow.run(&["audit", "verify"]).exits(0);
    // Objects that were deleted during the game may still be in the process of deletion.
    until("nothing left on the host", 60, || {
        (present() == before).then_some(())
    });
    game.daemon.take().unwrap().terminate();
}
