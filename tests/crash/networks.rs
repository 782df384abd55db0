//! Stories of networks that are made, and of the addresses in them.

use super::{
    documents::{Vsi, uuid},
    stories::Story,
    story::Act,
};

const WEB: u128 = 1;
const DB: u128 = 2;
const A: &str = "sim:a";
const NET: &str = "default.net";

/// The stories of networks that are made.
pub fn every() -> Vec<Story> {
    vec![made_and_deleted()]
}

fn on_network(name: &'static str, uid: u128, address: Option<&'static str>) -> Vsi {
    let mut vsi = Vsi::new(name, uid, A);
    vsi.networks = vec![NET];
    vsi.made = Some((NET, address));
    vsi
}

/// It is made for the first of two, keeps their addresses, and goes after both.
fn made_and_deleted() -> Story {
    let acts = vec![
        Act::Apply(vec![
            on_network("web", WEB, Some("10.77.0.9")),
            on_network("db", DB, None),
        ]),
        Act::Decided(uuid(WEB)),
        Act::Decided(uuid(DB)),
        Act::Delete("web"),
        Act::Decided(uuid(WEB)),
        Act::Delete("db"),
        Act::Decided(uuid(DB)),
        Act::DeleteNetwork("net"),
        Act::NetworkDecided(A, NET),
    ];
    Story {
        name: "make and delete a network",
        acts,
        ends: &[("web", WEB, "Deleted"), ("db", DB, "Deleted")],
    }
}
