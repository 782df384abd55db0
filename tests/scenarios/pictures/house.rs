//! A diagram of the product's crates and their dependencies.

use std::fmt::Write as _;

use crate::scenarios::invariants::{dependencies, ours};

/// Arrows point from a crate to those it depends on; crates that only serve tests are left out.
pub(super) fn mermaid() -> String {
    let all = dependencies();
    let mut text = "flowchart BT\n".to_owned();
    let product = all
        .keys()
        .filter(|name| !["vsiflow-tests", "vsiflow-fuzz"].contains(&name.as_str()));
    for name in product {
        let needs = ours(&all, name);
        match needs.as_slice() {
            [] => writeln!(text, "  {name}").unwrap(),
            needs => writeln!(text, "  {name} --> {}", needs.join(" & ")).unwrap(),
        }
    }
    text
}
