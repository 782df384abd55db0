//! Stories of hosts under maintenance.

use vsiflow_workflows::record::PowerAction;

use super::{
    documents::{Vsi, uuid},
    stories::Story,
    story::Act,
};

const WEB: u128 = 1;
const DB: u128 = 2;
const A: &str = "sim:a";

fn web() -> Vsi {
    Vsi::new("web", WEB, A)
}

/// Every one of them.
pub fn every() -> Vec<Story> {
    vec![drained(), drained_while_it_is_made(), paused()]
}

/// What was off before stays off.
fn drained() -> Story {
    let acts = vec![
        Act::Apply(vec![web(), Vsi::new("db", DB, A)]),
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
        Act::Power("db", uuid(DB), PowerAction::Stop, 2),
        Act::Decided(uuid(DB)),
        Act::Drain(A),
        Act::Decided(uuid(WEB)),
        Act::Uncordon(A),
        Act::Decided(uuid(WEB)),
    ];
    let ends = &[("web", WEB, "Running"), ("db", DB, "Stopped")];
    Story {
        name: "drain a host and fill it again",
        acts,
        ends,
    }
}

fn drained_while_it_is_made() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::At(uuid(WEB), "clone_boot_disk"),
        Act::Drain(A),
        Act::Decided(uuid(WEB)),
        Act::Uncordon(A),
        Act::Decided(uuid(WEB)),
    ];
    Story {
        name: "drain a host while a VSI is made",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}

fn paused() -> Story {
    let acts = vec![
        Act::Apply(vec![web()]),
        Act::At(uuid(WEB), "clone_boot_disk"),
        Act::Pause(true),
        Act::Pause(false),
        Act::Decided(uuid(WEB)),
    ];
    Story {
        name: "pause everything while a VSI is made",
        acts,
        ends: &[("web", WEB, "Running")],
    }
}
