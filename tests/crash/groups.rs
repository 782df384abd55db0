//! Stories of groups: made, upgraded, scaled, deleted.

use vsiflow_steps::guest::GuestType;

use super::{
    documents::{Group, VsiDocument},
    stories::CrashStory,
    story::StoryAct,
};

/// The stories of groups.
pub fn every() -> Vec<CrashStory> {
    vec![made(), upgraded(), deleted()]
}

fn member() -> VsiDocument {
    VsiDocument::new("grp", 1, "sim:a").server(GuestType::CloudInit)
}

fn group(member: VsiDocument) -> Group {
    Group { member }
}

fn story(name: &'static str, acts: Vec<StoryAct>) -> CrashStory {
    CrashStory {
        name,
        acts,
        ends: &[],
    }
}

/// Two waves: the member of the first is deleted once the second is up, and is not made again.
fn made() -> CrashStory {
    let acts = vec![
        StoryAct::ApplyGroup(group(member())),
        StoryAct::GroupDecided("Available", 2),
        StoryAct::ScaleGroup(1),
        StoryAct::GroupDecided("Available", 1),
    ];
    story("a group is made and scaled", acts)
}

/// Each remaining member gets a larger machine.
fn upgraded() -> CrashStory {
    let mut larger = member();
    larger.cpus = 3;
    let acts = vec![
        StoryAct::ApplyGroup(group(member())),
        StoryAct::GroupDecided("Available", 2),
        StoryAct::ApplyGroup(group(larger)),
        StoryAct::GroupDecided("Available", 2),
    ];
    story("a group is upgraded", acts)
}

/// A group whose waves are up is deleted with everything that was made for it.
fn deleted() -> CrashStory {
    let acts = vec![
        StoryAct::ApplyGroup(group(member())),
        StoryAct::GroupDecided("Available", 2),
        StoryAct::DeleteGroup,
        StoryAct::GroupDecided("Deleted", 0),
    ];
    story("a group is deleted", acts)
}
