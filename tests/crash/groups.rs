//! Stories of groups: made, upgraded, scaled, deleted.

use vsiflow_steps::guest::GuestType;

use super::{
    documents::{Group, Vsi},
    stories::Story,
    story::Act,
};

/// Every one of them.
pub fn every() -> Vec<Story> {
    vec![made(), upgraded(), deleted()]
}

fn member() -> Vsi {
    Vsi::new("grp", 1, "sim:a").server(GuestType::CloudInit)
}

fn group(member: Vsi) -> Group {
    Group { member }
}

fn story(name: &'static str, acts: Vec<Act>) -> Story {
    Story {
        name,
        acts,
        ends: &[],
    }
}

/// Two waves; the member of the first goes once the second is up, and is not made again.
fn made() -> Story {
    let acts = vec![
        Act::ApplyGroup(group(member())),
        Act::GroupDecided("Available", 2),
        Act::ScaleGroup(1),
        Act::GroupDecided("Available", 1),
    ];
    story("a group is made and scaled", acts)
}

/// A larger machine for each member that stays.
fn upgraded() -> Story {
    let mut larger = member();
    larger.cpus = 3;
    let acts = vec![
        Act::ApplyGroup(group(member())),
        Act::GroupDecided("Available", 2),
        Act::ApplyGroup(group(larger)),
        Act::GroupDecided("Available", 2),
    ];
    story("a group is upgraded", acts)
}

/// With all that was made for it, before its first wave is up and after its last.
fn deleted() -> Story {
    let acts = vec![
        Act::ApplyGroup(group(member())),
        Act::GroupDecided("Available", 2),
        Act::DeleteGroup,
        Act::GroupDecided("Deleted", 0),
    ];
    story("a group is deleted", acts)
}
