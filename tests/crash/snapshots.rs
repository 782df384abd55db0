//! Stories of snapshots.

use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::record::PowerAction;

use super::{
    documents::{Vsi, uuid},
    stories::Story,
    story::Act,
};

const WEB: u128 = 1;
const SNAPSHOT: u128 = 40;
const A: &str = "sim:a";

/// The stories of snapshots.
pub fn every() -> Vec<Story> {
    vec![
        restored(),
        deleted_with_its_snapshot(),
        of_a_running_guest(),
        with_memory(),
        restored_with_memory(),
        by_schedule(),
    ]
}

fn stopped() -> Vec<Act> {
    vec![
        Act::Apply(vec![Vsi::new("web", WEB, A).with_disk(7)]),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Stop, 2),
        Act::Decided(uuid(WEB)),
    ]
}

/// What was written since is gone, and the guest boots from what the snapshot has.
fn restored() -> Story {
    let mut acts = stopped();
    acts.extend([
        Act::TakeSnapshot("web", "first", uuid(SNAPSHOT)),
        Act::Decided(uuid(WEB)),
        Act::Scribble(A, uuid(WEB)),
        Act::RestoreSnapshot("first", uuid(WEB), 4),
        Act::Decided(uuid(WEB)),
        Act::Power("web", uuid(WEB), PowerAction::Start, 5),
        Act::Decided(uuid(WEB)),
    ]);
    Story {
        name: "put a VSI back to a snapshot",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

/// The guest runs on, and writes into its own disk again.
fn of_a_running_guest() -> Story {
    let web = Vsi::new("web", WEB, A).server(GuestType::CloudInit);
    let acts = vec![
        Act::Apply(vec![web.with_disk(7)]),
        Act::Decided(uuid(WEB)),
        Act::TakeSnapshot("web", "first", uuid(SNAPSHOT)),
        Act::Decided(uuid(WEB)),
    ];
    Story {
        name: "take a snapshot of a guest that runs",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

fn remembered() -> Vec<Act> {
    let web = Vsi::new("web", WEB, A).server(GuestType::CloudInit);
    vec![
        Act::Apply(vec![web.with_disk(7)]),
        Act::Decided(uuid(WEB)),
        Act::TakeMemory("web", "first", uuid(SNAPSHOT)),
        Act::Decided(uuid(WEB)),
    ]
}

/// The guest stands still while its memory is saved, and runs on.
fn with_memory() -> Story {
    Story {
        name: "take a snapshot of a guest with its memory",
        acts: remembered(),
        ends: &[("web", WEB, "Running")],
    }
}

/// The guest continues where it was, over the disks of that moment, once.
fn restored_with_memory() -> Story {
    let mut acts = remembered();
    acts.extend([
        Act::Scribble(A, uuid(WEB)),
        Act::RestoreSnapshot("first", uuid(WEB), 3),
        Act::Decided(uuid(WEB)),
        Act::DeleteSnapshot("first"),
        Act::SnapshotDecided(uuid(SNAPSHOT)),
    ]);
    Story {
        name: "put a VSI back to a snapshot with its memory",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

/// Due every hour: two stay, what was missed is made up for once, and the guest runs on.
fn by_schedule() -> Story {
    let web = Vsi::new("web", WEB, A).server(GuestType::CloudInit);
    let mut acts = vec![
        Act::Apply(vec![web.snapshots("@hourly", 2)]),
        Act::Decided(uuid(WEB)),
        Act::Scheduled("web", 0),
    ];
    for (hours, whole) in [(1, 1), (1, 2), (4, 2)] {
        acts.extend([Act::Later(hours * 60), Act::Scheduled("web", whole)]);
    }
    Story {
        name: "take snapshots by a schedule",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

/// A snapshot outlives its VSI, and then leaves nothing.
fn deleted_with_its_snapshot() -> Story {
    let mut acts = stopped();
    acts.extend([
        Act::TakeSnapshot("web", "first", uuid(SNAPSHOT)),
        Act::Decided(uuid(WEB)),
        Act::Delete("web"),
        Act::Decided(uuid(WEB)),
        Act::DeleteSnapshot("first"),
        Act::SnapshotDecided(uuid(SNAPSHOT)),
    ]);
    Story {
        name: "delete a VSI and then its snapshot",
        acts,
        ends: &[("web", WEB, "Deleted")],
    }
}
