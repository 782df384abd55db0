//! A random game on a real host: users who make, change, stop, restart and delete VSIs, while vsiflow
//! is killed and the host's daemons die, freeze and come back. Whatever was played, in the end
//! everything is as wanted, and once deleted nothing is left. With `tests/run --part games`.
//!
//! `VSIFLOW_GAME_SECONDS` says how long, `VSIFLOW_GAME_SEED` which game: the moves are the same for
//! the same seed, when they meet what the host does is not.

use std::{
    collections::BTreeMap,
    thread::sleep,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::Value;
use vsiflow_tests::{
    Disk, Lab, Running, Vsi, Vsiflow,
    lab::{Deleted, quietly},
    until,
};

const NAMES: [&str; 5] = ["game-ada", "game-bob", "game-cleo", "game-dan", "game-eve"];
/// The disks that a VSI may get, one after the other.
const DISKS: usize = 4;
const MEMORY: [&str; 3] = ["448Mi", "512Mi", "576Mi"];
/// What a host of its own accord may do to its daemons, and the most seconds it may last.
const FAULTS: [(&str, &str, &str, f64); 4] = [
    ("libvirtd", "kill", "start", 4.0),
    ("libvirtd", "freeze", "thaw", 8.0),
    ("sshd", "kill", "start", 3.0),
    ("sshd", "freeze", "thaw", 6.0),
];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What a user wants of a VSI.
struct Wanted {
    memory: &'static str,
    stopped: bool,
    /// The sizes of its disks, in MiB.
    disks: Vec<u32>,
}

struct Game<'a> {
    lab: &'a Lab,
    vsiflow: &'a Vsiflow,
    image: String,
    daemon: Option<Running>,
    wanted: BTreeMap<&'static str, Wanted>,
    random: StdRng,
}

impl Game<'_> {
    fn play(&mut self, seconds: u64) {
        self.serve();
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            self.move_on();
            let pause = self.random.random_range(0.0..3.0);
            sleep(Duration::from_secs_f64(pause));
        }
    }

    fn move_on(&mut self) {
        let name = NAMES.choose(&mut self.random).copied().unwrap();
        let beat = self.random.random_range(0..24);
        if !self.wanted.contains_key(name) {
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
        let wanted = Wanted {
            memory,
            stopped,
            disks,
        };
        self.wanted.insert(name, wanted);
        self.apply(name);
    }

    fn change(&mut self, name: &'static str) {
        let memory = MEMORY.choose(&mut self.random).copied().unwrap();
        let wanted = self.wanted.get_mut(name).unwrap();
        match self.random.random_range(0..5) {
            0 => wanted.memory = memory,
            1 => wanted.disks.iter_mut().for_each(|size| *size += 16),
            2 if wanted.disks.len() < DISKS => wanted.disks.push(16),
            3 => wanted.stopped = true,
            _ => wanted.stopped = false,
        }
        self.apply(name);
    }

    /// Brings a VSI to the desired state. While its host is away, too, that is taken down.
    fn apply(&self, name: &str) {
        let wanted = &self.wanted[name];
        println!(
            "{name}: {} {:?}, {}",
            wanted.memory,
            wanted.disks,
            if wanted.stopped { "off" } else { "on" }
        );
        let state = if wanted.stopped { "Stopped" } else { "Running" };
        let mut vsi = Vsi::named(name)
            .image(&self.image)
            .memory(wanted.memory)
            .with(&format!("powerState: {state}"));
        if !wanted.disks.is_empty() {
            vsi = vsi.choosing_disks();
        }
        let mut documents = format!("{}{vsi}", self.lab.host());
        for (number, size) in wanted.disks.iter().enumerate() {
            let disk = Disk::named(&format!("{name}-{number}")).of_vsi(name);
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
        self.wanted.remove(name);
    }

    fn delete_all(&self) {
        for name in self.wanted.keys() {
            let path = self.vsiflow.folder().join(format!("{name}.yaml"));
            self.run(&["delete", "-f", path.to_str().unwrap(), "--wait"]);
        }
    }

    fn restart(&self, name: &str) {
        // Restarting one that is off would start it.
        if !self.wanted[name].stopped {
            println!("{name}: restarted");
            self.run(&["restart", name, "--timeout", "3s"]);
        }
    }

    fn run(&self, arguments: &[&str]) {
        self.vsiflow.run(arguments).exits(0);
    }

    /// An administrator ends a guest, and lets vsiflow start it again.
    fn destroy(&mut self) {
        let on: Vec<_> = (self.wanted.iter())
            .filter(|(_, wanted)| !wanted.stopped)
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

    /// Everything gets to where it is wanted, also what had failed for want of a host.
    fn settle(&self) {
        for (name, wanted) in &self.wanted {
            self.apply(name);
            if !wanted.stopped {
                self.run(&["start", name]);
            }
        }
        let wrong = |(name, wanted): &(&&'static str, &Wanted)| {
            let phase = self.vsiflow.phase(name);
            if phase == "Failed" {
                self.run(&["retry", name]);
            }
            phase != if wanted.stopped { "Stopped" } else { "Running" }
        };
        until("everything as wanted", 180, || {
            self.wanted.iter().all(|vsi| !wrong(&vsi)).then_some(())
        });
    }

    #[track_caller]
    fn is_on_the_host(&self, name: &str, wanted: &Wanted) {
        let vsi: Value = self.vsiflow.vsi(name);
        let domain = vsi["metadata"]["uid"].as_str().unwrap();
        let state = self.lab.virsh(&["domstate", domain]);
        assert_eq!(state.trim() == "shut off", wanted.stopped, "{name}");
        let xml = self.lab.virsh(&["dumpxml", domain, "--inactive"]);
        let memory: u64 = wanted.memory.trim_end_matches("Mi").parse().unwrap();
        let memory = format!("<memory unit='KiB'>{}</memory>", memory * 1024);
        assert!(xml.contains(&memory), "{name}: {memory} in {xml}");
        // The one it boots from, that of its contract, and its data disks.
        let disks = xml.matches("<disk ").count();
        assert_eq!(disks, 2 + wanted.disks.len(), "{name}: {xml}");
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
    // All there is but the base images, which stay for the next VSI.
    let present = || {
        let (bases, mut volumes) = (image.bases(), lab.volumes("images"));
        volumes.retain(|name| !bases.iter().any(|base| name.contains(&**base)));
        (volumes, lab.names(&["list", "--all", "--name"]))
    };
    let before = present();
    let mut game = Game {
        lab: &lab,
        vsiflow: &vsiflow,
        image: image.url(),
        daemon: None,
        wanted: BTreeMap::new(),
        random: StdRng::seed_from_u64(seed),
    };
    let disks = NAMES.map(|name| (0..DISKS).map(move |disk| format!("disk/{name}-{disk}")));
    let disks: Vec<_> = disks.into_iter().flatten().collect();
    // The disks after the VSIs that use them.
    let _disks: Vec<_> = (disks.iter()).map(|disk| Deleted(&vsiflow, disk)).collect();
    let _vsis = NAMES.map(|name| Deleted(&vsiflow, name));
    game.play(number("VSIFLOW_GAME_SECONDS").unwrap_or(60));
    game.settle();
    for (name, wanted) in &game.wanted {
        game.is_on_the_host(name, wanted);
    }
    game.delete_all();
    vsiflow.run(&["audit", "verify"]).exits(0);
    // What was deleted in the middle of the game may still be on its way.
    until("nothing left on the host", 60, || {
        (present() == before).then_some(())
    });
    game.daemon.take().unwrap().terminate();
}
