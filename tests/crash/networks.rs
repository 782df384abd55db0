//! Stories of networks that are made, and of the addresses in them.

use super::{
    documents::{VsiDocument, uuid},
    stories::CrashStory,
    story::StoryAct,
};

const WEB: u128 = 1;
const DB: u128 = 2;
const A: &str = "sim:a";
const NET: &str = "default.net";

/// The stories of networks that are made.
pub fn every() -> Vec<CrashStory> {
    vec![made_and_deleted()]
}

fn on_network(name: &'static str, uid: u128, address: Option<&'static str>) -> VsiDocument {
    let mut vsi = VsiDocument::new(name, uid, A);
    vsi.networks = vec![NET];
    vsi.made = Some((NET, address));
    vsi
}

/// A network is made for the first of two VSIs, reserves their addresses, and is deleted after both.
fn made_and_deleted() -> CrashStory {
    let acts = vec![
        StoryAct::Apply(vec![
            on_network("web", WEB, Some("10.77.0.9")),
            on_network("db", DB, None),
        ]),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Decided(uuid(DB)),
        StoryAct::Delete("web"),
        StoryAct::Decided(uuid(WEB)),
        StoryAct::Delete("db"),
        StoryAct::Decided(uuid(DB)),
        StoryAct::DeleteNetwork("net"),
        StoryAct::NetworkDecided(A, NET),
    ];
    CrashStory {
        name: "make and delete a network",
        acts,
        ends: &[("web", WEB, "Deleted"), ("db", DB, "Deleted")],
    }
}
