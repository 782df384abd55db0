//! What the user wants by now, as far as it was answered.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use uuid::Uuid;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::record::PowerAction;

use crate::{
    documents::{Guest, Vsi, uuid},
    world::HOSTS,
};

/// A name the user gives to one VSI after another.
pub struct Slot {
    pub name: &'static str,
    pub number: u128,
    /// How many VSIs had the name before.
    pub age: u128,
    /// How many of these were forgotten: those keep their data disks, which nobody else gets.
    pub forgotten: u128,
    pub desired: UserAction,
}

/// What was last asked for.
#[derive(Clone, Debug)]
pub enum UserAction {
    Nothing,
    There(Box<Vsi>),
    /// To be deleted, or only forgotten.
    Gone(Box<Vsi>),
}

/// A command that is not answered yet.
#[derive(Clone, Debug)]
pub enum Command {
    Apply(usize, Box<Vsi>),
    Delete(usize, bool),
    Cancel(usize),
    Retry(usize),
    Power(usize, PowerAction, bool),
    Approve(usize),
    Look,
    Resume,
}

const POWER: [PowerAction; 5] = [
    PowerAction::Start,
    PowerAction::Stop,
    PowerAction::Restart,
    PowerAction::Pause,
    PowerAction::Unpause,
];

/// What runs under each name: a VSI stays of its kind.
const KINDS: [Option<GuestType>; 4] = [
    None,
    Some(GuestType::CloudInit),
    Some(GuestType::Ignition),
    Some(GuestType::None),
];

const NAMES: [&str; 4] = ["web", "db", "mq", "log"];

pub fn slots(random: &mut StdRng) -> Vec<Slot> {
    let some = random.random_range(1..=NAMES.len());
    let slot = |(number, name): (u128, &&'static str)| Slot {
        name,
        number,
        age: 0,
        forgotten: 0,
        desired: UserAction::Nothing,
    };
    (0..).zip(NAMES.iter().take(some)).map(slot).collect()
}

impl Slot {
    pub fn vsi(&self) -> Option<&Vsi> {
        match &self.desired {
            UserAction::Nothing => None,
            UserAction::There(vsi) | UserAction::Gone(vsi) => Some(vsi),
        }
    }

    pub fn uid(&self) -> Uuid {
        uuid(100 * (self.number + 1) + self.age)
    }

    /// The data disk of a new one.
    pub fn disk(&self) -> Uuid {
        uuid(5_000 + 100 * self.forgotten + self.number)
    }

    /// A document for the name: for the VSI that has it, or for a new one.
    pub fn document(&self, random: &mut StdRng) -> Vsi {
        let host = HOSTS[self.number as usize % HOSTS.len()];
        let mut vsi = Vsi::new(self.name, 0, host);
        vsi.uid = self.uid();
        vsi.guest = match random.random_range(0..10) {
            0 => Guest::NoWorkload,
            1 => Guest::TooSmall,
            2 => Guest::Hangs,
            3 => Guest::GoesOff,
            _ => Guest::Good,
        };
        vsi.edition = random.random_range(1..4);
        vsi.cpus = random.random_range(2..4);
        vsi.manual = random.random_bool(0.1);
        vsi.disk_gib = 1;
        vsi.server = KINDS[self.number as usize % KINDS.len()];
        vsi.boot = match vsi.server {
            Some(_) => *["copy", "overlay", "ephemeral"].choose(random).unwrap(),
            None => *["copy", "copy", "overlay"].choose(random).unwrap(),
        };
        if random.random_bool(0.3) {
            vsi.image = "other.qcow2";
        }
        if random.random_bool(0.4) {
            vsi.networks = vec!["default", "second"];
        }
        match self.vsi() {
            // A disk stays with its VSI.
            Some(earlier) if matches!(self.desired, UserAction::There(_)) => {
                vsi.disk = earlier.disk
            }
            _ if random.random_bool(0.5) => vsi.disk = Some(self.disk()),
            _ => {}
        }
        vsi
    }
}

/// What comes next.
pub fn command(slots: &[Slot], random: &mut StdRng) -> Command {
    let slot = random.random_range(0..slots.len());
    match random.random_range(0..17) {
        0..=4 => Command::Apply(slot, Box::new(slots[slot].document(random))),
        5 | 6 => Command::Delete(slot, random.random_bool(0.15)),
        7 | 8 => Command::Cancel(slot),
        9 | 10 => Command::Retry(slot),
        11..=13 => {
            let action = *POWER.choose(random).unwrap();
            Command::Power(slot, action, random.random_bool(0.2))
        }
        14 => Command::Approve(slot),
        15 => Command::Look,
        _ => Command::Resume,
    }
}
