//! The user of a game: what they last asked for, and their next command.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use uuid::Uuid;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::record::PowerAction;

use crate::{
    documents::{Guest, VsiDocument, uuid},
    world::HOSTS,
};

/// A name that the user gives to one VSI after another.
#[derive(Clone, Debug)]
pub struct Slot {
    pub name: &'static str,
    pub number: u128,
    /// How many earlier VSIs had the name.
    pub age: u128,
    /// How many of these were forgotten. A forgotten VSI keeps its data disk, so a new VSI needs another one.
    pub forgotten: u128,
    pub desired: UserAction,
}

/// The last answered request for a name.
#[derive(Clone, Debug)]
pub enum UserAction {
    Nothing,
    There(Box<VsiDocument>),
    /// To be deleted or forgotten.
    Gone(Box<VsiDocument>),
}

/// A command that was not answered yet.
#[derive(Clone, Debug)]
pub enum PendingCommand {
    Apply(usize, Box<VsiDocument>),
    Delete(usize, bool),
    Cancel(usize),
    Retry(usize),
    Power(usize, PowerAction, bool),
    Approve(usize),
    Look,
    Resume,
}

/// The power commands.
pub const POWER: [PowerAction; 5] = [
    PowerAction::Start,
    PowerAction::Stop,
    PowerAction::Restart,
    PowerAction::Pause,
    PowerAction::Unpause,
];

/// The guest type of each name; none is a Hyper Protect guest. It never changes.
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
    pub fn vsi(&self) -> Option<&VsiDocument> {
        match &self.desired {
            UserAction::Nothing => None,
            UserAction::There(vsi) | UserAction::Gone(vsi) => Some(vsi),
        }
    }

    /// The document of the VSI that should be there.
    pub fn standing(&self) -> Option<&VsiDocument> {
        match &self.desired {
            UserAction::There(vsi) => Some(vsi),
            UserAction::Nothing | UserAction::Gone(_) => None,
        }
    }

    pub fn uid(&self) -> Uuid {
        uuid(100 * (self.number + 1) + self.age)
    }

    /// The host of its VSIs.
    pub fn host(&self) -> &'static str {
        HOSTS[self.number as usize % HOSTS.len()]
    }

    /// The UID of a new VSI's data disk.
    pub fn disk(&self) -> Uuid {
        uuid(5_000 + 100 * self.forgotten + self.number)
    }

    /// A document with the name: for the VSI that has it, or for a new one.
    pub fn document(&self, random: &mut StdRng) -> VsiDocument {
        let mut vsi = VsiDocument::new(self.name, 0, self.host());
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
            // A VSI never changes its data disk.
            Some(earlier) if matches!(self.desired, UserAction::There(_)) => {
                vsi.disk = earlier.disk
            }
            _ if random.random_bool(0.5) => vsi.disk = Some(self.disk()),
            _ => {}
        }
        vsi
    }
}

/// Draws the next command.
pub fn command(slots: &[Slot], random: &mut StdRng) -> PendingCommand {
    let slot = random.random_range(0..slots.len());
    match random.random_range(0..17) {
        0..=4 => PendingCommand::Apply(slot, Box::new(slots[slot].document(random))),
        5 | 6 => PendingCommand::Delete(slot, random.random_bool(0.15)),
        7 | 8 => PendingCommand::Cancel(slot),
        9 | 10 => PendingCommand::Retry(slot),
        11..=13 => {
            let action = *POWER.choose(random).unwrap();
            PendingCommand::Power(slot, action, random.random_bool(0.2))
        }
        14 => PendingCommand::Approve(slot),
        15 => PendingCommand::Look,
        _ => PendingCommand::Resume,
    }
}
