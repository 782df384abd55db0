//! Stories of hosts under maintenance.

use vsiflow_workflows::record::PowerAction;

use super::{
    documents::{VsiDocument, uuid},
    stories::CrashStory,
    story::StoryAct,
};

const WEB: u128 = 1;
const DB: u128 = 2;
const A: &str = "sim:a";

fn web() -> VsiDocument {
    VsiDocument::new("web", WEB, A)
}

/// The stories of hosts under maintenance.
pub fn every() -> Vec<CrashStory> {
    vec![drained(), drained_while_it_is_made(), paused()]
}

/// A VSI that was off before the drain stays off after it.
fn drained() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web(), VsiDocument::new("db", DB, A)]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
        StoryAct::Power("db", uuid(DB), PowerAction::Stop, 2),
        StoryAct::Decided(uuid(DB)),
        StoryAct::Drain(A),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Uncordon(A),
        StoryAct::Decided(uuid(WEB)),
    ];
    let ends = &[("web", WEB, "Running"), ("db", DB, "Stopped")];
    CrashStory {
        name: "drain a host and fill it again",
        acts,
        ends,
    }
}

fn drained_while_it_is_made() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::At(uuid(WEB), "clone_boot_disk"),
        StoryAct::Drain(A),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Uncordon(A),
        StoryAct::Decided(uuid(WEB)),
    ];
    CrashStory {
        name: "drain a host while a VSI is made",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

fn paused() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![web()]),
        StoryAct::At(uuid(WEB), "clone_boot_disk"),
        StoryAct::Pause(true),
        StoryAct::Pause(false),
        StoryAct::Decided(uuid(WEB)),
    ];
    CrashStory {
        name: "pause everything while a VSI is made",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}
