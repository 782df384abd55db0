//! Checks that each fixed address belongs to one card only.

use std::collections::BTreeMap;

use super::super::{
    desired::DesiredVsi,
    documents::{Document, Documents},
    pool::PoolSpec,
    problem::{FieldPath, Problem, ProblemCode},
};
use super::resolved::ResolvedVsi;

/// Refuses a fixed address in the template of several members.
pub(super) fn shared_addresses(
    document: &Document<PoolSpec>,
    template: &DesiredVsi,
    problems: &mut Vec<Problem>,
) {
    if template.addresses.is_empty() || document.spec.replicas == Some(1) {
        return;
    }
    problems.push(document.problem(
        ProblemCode::WrongValue,
        FieldPath::of(["spec", "template", "spec", "interfaces"]),
        "the members of a pool cannot share an address",
        "remove the addresses: each member gets one of the network's, and keeps it",
    ));
}

/// Refuses an address that two VSIs of one host have in the same network.
pub(super) fn addresses_twice(
    documents: &Documents,
    vsis: &[ResolvedVsi],
    problems: &mut Vec<Problem>,
) {
    let mut seen = BTreeMap::new();
    for (document, vsi) in documents.vsis.iter().zip(vsis) {
        for (network, address) in &vsi.desired.addresses {
            let place = (&vsi.desired.host, network, address);
            if let Some(first) = seen.insert(place, &document.at) {
                problems.push(document.problem(
                    ProblemCode::Twice,
                    FieldPath::of(["spec", "interfaces"]),
                    format!("{address} is the address of another VSI, at {first}"),
                    "give each VSI an address of its own",
                ));
            }
        }
    }
}
