//! Checks the networks and cards of a machine: only one is supported, on the host's network `default`.

use super::super::{
    data_volume::word,
    fields::{Fields, Refusals},
};

const POD_ONLY: &str = "write pod: {}, which is the host's network `default`";

pub(super) fn networks(spec: &mut Fields<'_>, refusals: &mut Refusals) {
    let networks = spec.list("networks", refusals);
    let several = networks.len() > 1;
    for mut network in networks {
        network.take("name");
        network.refuse("multus", POD_ONLY, refusals);
        if network.has("pod") {
            network.object("pod", refusals).end(refusals);
        }
        network.end(refusals);
    }
    if several {
        refusals.wrong(
            spec.path("networks"),
            "several networks are not supported",
            POD_ONLY,
        );
    }
}

pub(super) fn interfaces(devices: &mut Fields<'_>, refusals: &mut Refusals) {
    let cards = devices.list("interfaces", refusals);
    if cards.len() > 1 {
        let path = devices.path("interfaces");
        refusals.wrong(
            path,
            "several interfaces are not supported",
            "keep the one of the pod network",
        );
    }
    for mut card in cards {
        card.take("name");
        for binding in ["masquerade", "bridge"] {
            if card.has(binding) {
                card.object(binding, refusals).end(refusals);
            }
        }
        word(&mut card, "model", "virtio", refusals);
        let remedy = "remove it; MAC addresses follow from the server's UID";
        card.refuse("macAddress", remedy, refusals);
        card.end(refusals);
    }
}
