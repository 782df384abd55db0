//! Stories of snapshots.

use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::record::PowerAction;

use super::{
    documents::{VsiDocument, uuid},
    stories::CrashStory,
    story::StoryAct,
};

const WEB: u128 = 1;
const SNAPSHOT: u128 = 40;
const A: &str = "sim:a";

/// The stories of snapshots.
pub fn every() -> Vec<CrashStory> {
    vec![
        restored(),
        deleted_with_its_snapshot(),
        of_a_running_guest(),
        with_memory(),
        restored_with_memory(),
        by_schedule(),
    ]
}

fn stopped() -> Vec<StoryAct> {
    vec![
        StoryAct::Apply(vec![VsiDocument::new("web", WEB, A).with_disk(7)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Stop, 2),
        StoryAct::Decided(uuid(WEB)),
    ]
}

/// Data written since the snapshot is discarded, and the guest boots from the snapshot.
fn restored() -> CrashStory {
    let mut acts = stopped();
    acts.extend([
        StoryAct::TakeSnapshot("web", "first", uuid(SNAPSHOT)),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Scribble(A, uuid(WEB)),
        StoryAct::RestoreSnapshot("first", uuid(WEB), 4),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Power("web", uuid(WEB), PowerAction::Start, 5),
        StoryAct::Decided(uuid(WEB)),
    ]);
    CrashStory {
        name: "put a VSI back to a snapshot",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

/// The guest continues to run, and writes into its own disk again after the merge.
fn of_a_running_guest() -> CrashStory {
    let web = VsiDocument::new("web", WEB, A).server(GuestType::CloudInit);
    let acts = vec![
        StoryAct::Apply(vec![web.with_disk(7)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::TakeSnapshot("web", "first", uuid(SNAPSHOT)),
        StoryAct::Decided(uuid(WEB)),
    ];
    CrashStory {
        name: "take a snapshot of a guest that runs",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

fn remembered() -> Vec<StoryAct> {
    let web = VsiDocument::new("web", WEB, A).server(GuestType::CloudInit);
    vec![
        StoryAct::Apply(vec![web.with_disk(7)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::TakeMemory("web", "first", uuid(SNAPSHOT)),
        StoryAct::Decided(uuid(WEB)),
    ]
}

/// The guest is paused while its memory is saved, and continues.
fn with_memory() -> CrashStory {
    CrashStory {
        name: "take a snapshot of a guest with its memory",
        acts: remembered(),
        ends: &[("web", WEB, "Running")],
    }
}

/// The guest continues from its saved memory on the disks of that moment, once.
fn restored_with_memory() -> CrashStory {
    let mut acts = remembered();
    acts.extend([
        StoryAct::Scribble(A, uuid(WEB)),
        StoryAct::RestoreSnapshot("first", uuid(WEB), 3),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::DeleteSnapshot("first"),
        StoryAct::SnapshotDecided(uuid(SNAPSHOT)),
    ]);
    CrashStory {
        name: "put a VSI back to a snapshot with its memory",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

/// Snapshots every hour: two are retained, missed due times get one snapshot, and the guest continues to run.
fn by_schedule() -> CrashStory {
    let web = VsiDocument::new("web", WEB, A).server(GuestType::CloudInit);
    let mut acts = vec![
        StoryAct::Apply(vec![web.snapshots("@hourly", 2)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Scheduled("web", 0),
    ];
    for (hours, whole) in [(1, 1), (1, 2), (4, 2)] {
        acts.extend([
            StoryAct::Later(hours * 60),
            StoryAct::Scheduled("web", whole),
        ]);
    }
    CrashStory {
        name: "take snapshots by a schedule",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

/// A snapshot outlives its VSI, and its deletion leaves nothing.
fn deleted_with_its_snapshot() -> CrashStory {
    let mut acts = stopped();
    acts.extend([
        StoryAct::TakeSnapshot("web", "first", uuid(SNAPSHOT)),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Delete("web"),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::DeleteSnapshot("first"),
        StoryAct::SnapshotDecided(uuid(SNAPSHOT)),
    ]);
    CrashStory {
        name: "delete a VSI and then its snapshot",
        acts,
        ends: &[("web", WEB, "Deleted")],
    }
}
