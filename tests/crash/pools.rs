//! Stories of pools: made, scaled, rolled, deleted.

use vsiflow_steps::guest::GuestType;

use super::{
    documents::{Guest, Pool, Vsi},
    stories::Story,
    story::Act,
};

/// Every one of them.
pub fn every() -> Vec<Story> {
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

fn member() -> Vsi {
    Vsi::new("web", 1, "sim:a").server(GuestType::None)
}

fn pool(replicas: u32, member: Vsi) -> Pool {
    Pool {
        replicas: Some(replicas),
        member,
        disk: true,
        evictable: false,
    }
}

fn story(name: &'static str, acts: Vec<Act>) -> Story {
    Story {
        name,
        acts,
        ends: &[],
    }
}

/// The members of a pool on hosts that are chosen: one that comes back is made where its disk is.
fn placed() -> Story {
    let member = || Vsi::new("web", 1, "").server(GuestType::None);
    let acts = vec![
        Act::ApplyPool(pool(3, member())),
        Act::PoolDecided("Available", 3),
        Act::Scale(1),
        Act::PoolDecided("Available", 1),
        Act::Scale(2),
        Act::PoolDecided("Available", 2),
    ];
    story("a pool is placed", acts)
}

/// Members that have nothing of their own on a host that is emptied.
fn moved() -> Story {
    let mut member = Vsi::new("web", 1, "").server(GuestType::None);
    member.boot = "ephemeral";
    let pool = Pool {
        disk: false,
        ..pool(3, member)
    };
    let acts = vec![
        Act::ApplyPool(pool),
        Act::PoolDecided("Available", 3),
        Act::Move("sim:a"),
        Act::PoolDecided("Available", 3),
        Act::Uncordon("sim:a"),
        Act::PoolDecided("Available", 3),
    ];
    story("the members of a pool leave a host", acts)
}

/// Members whose owner permits that their disks are lost: the new ones have others.
fn moved_with_their_disks() -> Story {
    let pool = Pool {
        evictable: true,
        ..pool(2, Vsi::new("web", 1, "").server(GuestType::None))
    };
    let acts = vec![
        Act::ApplyPool(pool),
        Act::PoolDecided("Available", 2),
        Act::Move("sim:a"),
        Act::PoolDecided("Available", 2),
    ];
    story(
        "the members of a pool leave a host and lose their disks",
        acts,
    )
}

/// A host is emptied, and then the other one.
fn moved_back_and_forth() -> Story {
    let mut member = Vsi::new("web", 1, "").server(GuestType::None);
    member.boot = "ephemeral";
    let pool = Pool {
        disk: false,
        ..pool(2, member)
    };
    let acts = vec![
        Act::ApplyPool(pool),
        Act::PoolDecided("Available", 2),
        Act::Move("sim:a"),
        Act::PoolDecided("Available", 2),
        Act::Uncordon("sim:a"),
        Act::Move("sim:b"),
        Act::PoolDecided("Available", 2),
    ];
    story("the members of a pool leave a host and come back", acts)
}

/// Three members, then one, then two again; a number left out keeps the present one.
fn made_and_scaled() -> Story {
    let same = Pool {
        replicas: None,
        ..pool(3, member())
    };
    let acts = vec![
        Act::ApplyPool(pool(3, member())),
        Act::PoolDecided("Available", 3),
        Act::Scale(1),
        Act::PoolDecided("Available", 1),
        Act::ApplyPool(same),
        Act::Scale(2),
        Act::PoolDecided("Available", 2),
    ];
    story("a pool is made and scaled", acts)
}

/// A larger machine for each of three, one after another.
fn rolled() -> Story {
    let mut larger = member();
    larger.cpus = 3;
    let acts = vec![
        Act::ApplyPool(pool(3, member())),
        Act::PoolDecided("Available", 3),
        Act::ApplyPool(pool(3, larger)),
        Act::PoolDecided("Available", 3),
    ];
    story("a pool is rolled", acts)
}

/// A contract that does not boot stops at the first; the one before brings it back.
fn stopped_and_brought_back() -> Story {
    let member = |guest| Vsi::new("web", 1, "sim:a").guest(guest);
    let of = |guest| Pool {
        disk: false,
        ..pool(2, member(guest))
    };
    let acts = vec![
        Act::ApplyPool(of(Guest::Good)),
        Act::PoolDecided("Available", 2),
        Act::ApplyPool(of(Guest::NoWorkload)),
        Act::PoolDecided("Degraded", 1),
        Act::ApplyPool(of(Guest::Good)),
        Act::PoolDecided("Available", 2),
    ];
    story("a pool stops at a member that fails", acts)
}

/// With all of its members and their disks.
fn deleted() -> Story {
    let acts = vec![
        Act::ApplyPool(pool(2, member())),
        Act::PoolDecided("Available", 2),
        Act::DeletePool,
        Act::PoolDecided("Deleted", 0),
    ];
    story("a pool is deleted", acts)
}
