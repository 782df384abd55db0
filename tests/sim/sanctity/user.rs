//! The user of a sanctity game: their next command.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use uuid::Uuid;
use vsiflow_workflows::{
    fleet::{ReplacementPlace, RestoreOptions},
    record::PowerAction,
};

use super::{host_care::HostCare, impostors::Impostor, oracle::DiskId, pools::PoolCommand};
use crate::{
    documents::{Guest, VsiDocument, uuid},
    sim::plan::{POWER, Slot, UserAction},
    world::HOSTS,
};

/// A snapshot that the user asked for.
#[derive(Clone, Debug)]
pub struct UserSnapshot {
    pub slot: usize,
    pub name: String,
    pub uid: Uuid,
    /// The disks that are restored from it.
    pub disks: Vec<DiskId>,
    pub was_restored: bool,
}

impl UserSnapshot {
    fn new(slot: usize, number: u128) -> Self {
        Self {
            slot,
            name: format!("shot-{number}"),
            uid: uuid(number),
            disks: Vec::new(),
            was_restored: false,
        }
    }
}

/// A command that was not answered yet.
#[derive(Clone, Debug)]
pub enum UserCommand {
    Apply(usize, Box<VsiDocument>),
    Delete {
        slot: usize,
        orphan: bool,
    },
    DeleteDisk(usize),
    Cancel(usize),
    Retry(usize),
    Power(usize, PowerAction, bool),
    Approve(usize),
    Rebuild(usize, ReplacementPlace),
    Take {
        snapshot: UserSnapshot,
        memory: bool,
    },
    Restore(UserSnapshot, RestoreOptions),
    DeleteSnapshot(UserSnapshot),
    /// Exports the data disk.
    Export(usize),
    /// Applies a document with the name or the UID of another object, or deletes by such a name.
    Impersonate(usize, Impostor),
    DeleteImpostor(usize, Impostor),
    Pool(PoolCommand),
    Hosts(HostCare),
    Look,
    Resume,
    PruneImages,
    /// Retention forgets the runs that ended.
    ForgetRuns,
}

impl UserCommand {
    /// The name that it is about.
    pub fn slot(&self) -> Option<usize> {
        match self {
            Self::Apply(slot, _)
            | Self::Delete { slot, .. }
            | Self::DeleteDisk(slot)
            | Self::Cancel(slot)
            | Self::Retry(slot)
            | Self::Power(slot, ..)
            | Self::Approve(slot)
            | Self::Export(slot)
            | Self::Impersonate(slot, _)
            | Self::DeleteImpostor(slot, _)
            | Self::Rebuild(slot, _) => Some(*slot),
            Self::Take { snapshot, .. }
            | Self::Restore(snapshot, _)
            | Self::DeleteSnapshot(snapshot) => Some(snapshot.slot),
            Self::Look | Self::Resume | Self::PruneImages | Self::ForgetRuns => None,
            Self::Pool(_) | Self::Hosts(_) => None,
        }
    }
}

/// Draws the next command.
pub fn command(slots: &[Slot], snapshots: &[UserSnapshot], random: &mut StdRng) -> UserCommand {
    let slot = random.random_range(0..slots.len());
    let snapshot = snapshots.choose(random).cloned();
    match (random.random_range(0..31), snapshot) {
        (0..=5, _) => UserCommand::Apply(slot, Box::new(document(&slots[slot], random))),
        (6, _) => UserCommand::Delete {
            slot,
            orphan: random.random_bool(0.2),
        },
        (7, _) => UserCommand::DeleteDisk(slot),
        (8 | 9, _) => UserCommand::Cancel(slot),
        (10 | 11, _) => UserCommand::Retry(slot),
        (12..=15, _) => {
            let action = *POWER.choose(random).unwrap();
            UserCommand::Power(slot, action, random.random_bool(0.3))
        }
        (16, _) => UserCommand::Approve(slot),
        (17, _) => UserCommand::Rebuild(slot, replacement_place(random)),
        (18 | 19, Some(snapshot)) => UserCommand::Restore(snapshot, restore_options(random)),
        (20, Some(snapshot)) => UserCommand::DeleteSnapshot(snapshot),
        (18..=22, _) => UserCommand::Take {
            snapshot: UserSnapshot::new(slot, random.random_range(10_000..1_000_000)),
            memory: random.random_bool(0.2),
        },
        (23, _) => UserCommand::Look,
        (24, _) => UserCommand::Resume,
        (25, _) => UserCommand::PruneImages,
        (26 | 27, _) => UserCommand::Export(slot),
        (28, _) => UserCommand::Impersonate(slot, Impostor::draw(random)),
        (29, _) => UserCommand::DeleteImpostor(slot, Impostor::draw(random)),
        _ => UserCommand::ForgetRuns,
    }
}

fn replacement_place(random: &mut StdRng) -> ReplacementPlace {
    if random.random_ratio(1, 3) {
        ReplacementPlace::InPlace
    } else {
        ReplacementPlace::Beside
    }
}

fn restore_options(random: &mut StdRng) -> RestoreOptions {
    RestoreOptions {
        unverified: random.random_bool(0.2),
        place: replacement_place(random),
        ..RestoreOptions::default()
    }
}

/// The document that a slot begins with: mostly one whose guest becomes ready.
pub fn first_document(slot: &Slot, random: &mut StdRng) -> VsiDocument {
    let mut vsi = document(slot, random);
    if random.random_bool(0.7) {
        (vsi.guest, vsi.manual) = (Guest::Good, false);
    }
    vsi
}

/// A document for the VSI of a slot. A VSI that exists is often changed only a little.
fn document(slot: &Slot, random: &mut StdRng) -> VsiDocument {
    let mut vsi = match &slot.desired {
        UserAction::There(earlier) if random.random_bool(0.6) => {
            let mut vsi = VsiDocument::clone(earlier);
            match random.random_range(0..4) {
                0 => vsi.cpus = random.random_range(2..5),
                1 => vsi.guest = slot.document(random).guest,
                2 => vsi.networks = slot.document(random).networks,
                _ => vsi.edition = random.random_range(1..4),
            }
            vsi
        }
        _ => slot.document(random),
    };
    if random.random_bool(0.05) {
        vsi.host = HOSTS.choose(random).unwrap();
    }
    vsi.restores_drift = random.random_bool(0.3);
    vsi.retain = random.random_bool(0.4);
    vsi.disk_goes = random.random_bool(0.5);
    vsi.manual = random.random_bool(0.15);
    vsi
}
