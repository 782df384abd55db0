//! Stories of VSI pools: made, scaled, rolled, deleted.

use vsiflow_steps::guest::GuestType;

use super::{
    documents::{Guest, PoolDocument, VsiDocument},
    stories::CrashStory,
    story::StoryAct,
};

/// The stories of VSI pools.
pub fn every() -> Vec<CrashStory> {
    vec![
        made_and_scaled(),
        rolled(),
        stopped_and_brought_back(),
        deleted(),
        placed(),
        moved(),
        moved_with_their_disks(),
        moved_back_and_forth(),
    ]
}

fn member() -> VsiDocument {
    VsiDocument::new("web", 1, "sim:a").server(GuestType::None)
}

fn pool(replicas: u32, member: VsiDocument) -> PoolDocument {
    PoolDocument {
        replicas: Some(replicas),
        member,
        disk: true,
        evictable: false,
    }
}

fn story(name: &'static str, acts: Vec<StoryAct>) -> CrashStory {
    CrashStory {
        name,
        acts,
        ends: &[],
    }
}

/// Members on hosts that vsiflow chooses: one that is made again is placed where its disk is.
fn placed() -> CrashStory {
    let member = || VsiDocument::new("web", 1, "").server(GuestType::None);
    let acts = vec![
        StoryAct::ApplyPool(pool(3, member())),
        StoryAct::PoolDecided("Available", 3),
        StoryAct::Scale(1),
        StoryAct::PoolDecided("Available", 1),
        StoryAct::Scale(2),
        StoryAct::PoolDecided("Available", 2),
    ];
    story("a pool is placed", acts)
}

/// Members without data are moved from a host that is drained.
fn moved() -> CrashStory {
    let mut member = VsiDocument::new("web", 1, "").server(GuestType::None);
    member.boot = "ephemeral";
    let pool = PoolDocument {
        disk: false,
        ..pool(3, member)
    };
    let acts = vec![
        StoryAct::ApplyPool(pool),
        StoryAct::PoolDecided("Available", 3),
        StoryAct::Move("sim:a"),
        StoryAct::PoolDecided("Available", 3),
        StoryAct::Uncordon("sim:a"),
        StoryAct::PoolDecided("Available", 3),
    ];
    story("the members of a pool leave a host", acts)
}

/// Evictable members are moved, and get new disks.
fn moved_with_their_disks() -> CrashStory {
    let pool = PoolDocument {
        evictable: true,
        ..pool(2, VsiDocument::new("web", 1, "").server(GuestType::None))
    };
    let acts = vec![
        StoryAct::ApplyPool(pool),
        StoryAct::PoolDecided("Available", 2),
        StoryAct::Move("sim:a"),
        StoryAct::PoolDecided("Available", 2),
    ];
    story(
        "the members of a pool leave a host and lose their disks",
        acts,
    )
}

/// A host is drained, and then the other one.
fn moved_back_and_forth() -> CrashStory {
    let mut member = VsiDocument::new("web", 1, "").server(GuestType::None);
    member.boot = "ephemeral";
    let pool = PoolDocument {
        disk: false,
        ..pool(2, member)
    };
    let acts = vec![
        StoryAct::ApplyPool(pool),
        StoryAct::PoolDecided("Available", 2),
        StoryAct::Move("sim:a"),
        StoryAct::PoolDecided("Available", 2),
        StoryAct::Uncordon("sim:a"),
        StoryAct::Move("sim:b"),
        StoryAct::PoolDecided("Available", 2),
    ];
    story("the members of a pool leave a host and come back", acts)
}

/// Three members, then one, then two; without `replicas` the number does not change.
fn made_and_scaled() -> CrashStory {
    let same = PoolDocument {
        replicas: None,
        ..pool(3, member())
    };
    let acts = vec![
        StoryAct::ApplyPool(pool(3, member())),
        StoryAct::PoolDecided("Available", 3),
        StoryAct::Scale(1),
        StoryAct::PoolDecided("Available", 1),
        StoryAct::ApplyPool(same),
        StoryAct::Scale(2),
        StoryAct::PoolDecided("Available", 2),
    ];
    story("a pool is made and scaled", acts)
}

/// A rollout of a larger machine to three members, one after another.
fn rolled() -> CrashStory {
    let mut larger = member();
    larger.cpus = 3;
    let acts = vec![
        StoryAct::ApplyPool(pool(3, member())),
        StoryAct::PoolDecided("Available", 3),
        StoryAct::ApplyPool(pool(3, larger)),
        StoryAct::PoolDecided("Available", 3),
    ];
    story("a pool is rolled", acts)
}

/// A rollout of a contract that does not boot stops at the first member; the previous contract repairs it.
fn stopped_and_brought_back() -> CrashStory {
    let member = |guest| VsiDocument::new("web", 1, "sim:a").guest(guest);
    let of = |guest| PoolDocument {
        disk: false,
        ..pool(2, member(guest))
    };
    let acts = vec![
        StoryAct::ApplyPool(of(Guest::Good)),
        StoryAct::PoolDecided("Available", 2),
        StoryAct::ApplyPool(of(Guest::NoWorkload)),
        StoryAct::PoolDecided("Degraded", 1),
        StoryAct::ApplyPool(of(Guest::Good)),
        StoryAct::PoolDecided("Available", 2),
    ];
    story("a pool stops at a member that fails", acts)
}

/// The pool is deleted with all its members and their disks.
fn deleted() -> CrashStory {
    let acts = vec![
        StoryAct::ApplyPool(pool(2, member())),
        StoryAct::PoolDecided("Available", 2),
        StoryAct::DeletePool,
        StoryAct::PoolDecided("Deleted", 0),
    ];
    story("a pool is deleted", acts)
}
