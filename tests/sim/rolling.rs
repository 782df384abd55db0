//! Rollouts of a VSI pool, checked by an observer of its hosts.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::{
    fleet::{Fleet, Verdict},
    spec::Resolved,
};

use super::observer::Observer;
use crate::{
    documents::{self, PoolDocument, VsiDocument},
    gate::{CrashGate, CrashMoment},
    ownership,
    world::{CrashWorld, in_virtual_time, user},
};

const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// A rollout of a pool on this many hosts.
#[derive(Clone, Copy)]
struct Rolled {
    hosts: usize,
    members: u32,
    max_unavailable: u32,
    /// After how many calls each process dies.
    deaths: &'static [usize],
}

impl Rolled {
    fn hosts(&self) -> Vec<String> {
        (0..self.hosts)
            .map(|number| format!("sim:h{number:02}"))
            .collect()
    }

    fn document(&self, cpus: u32) -> Resolved {
        let mut member = VsiDocument::new("web", 1, "").server(GuestType::CloudInit);
        member.cpus = cpus;
        let pool = PoolDocument {
            replicas: Some(self.members),
            member,
            disk: false,
            evictable: false,
        };
        let mut resolved = pool.resolved();
        let ids = self.hosts();
        resolved.hosts = ids
            .iter()
            .map(|id| (id.clone(), documents::host(id)))
            .collect();
        let made_pool = resolved.pools.first_mut().unwrap();
        made_pool.desired.strategy.max_unavailable = self.max_unavailable;
        let placement = json!({"request": {"spread": {"over": "host"}}, "candidates": ids});
        let desired = &mut made_pool.template.desired;
        desired.placement = serde_json::from_value(placement).unwrap();
        let machine = json!({"arch": "s390x", "cpus": cpus, "memoryMib": 512});
        desired.machine = serde_json::from_value(machine).unwrap();
        resolved
    }

    /// Makes and rolls the pool. Returns the most members that were away at the same time, and their hosts.
    fn play(self) -> (usize, BTreeMap<String, String>) {
        in_virtual_time(async {
            let world = CrashWorld::new(None).await;
            self.to(&world, &CrashGate::safe(), 1).await;
            let before = places(&world).await;
            let hosts = world.hosts.clone();
            let members = usize::try_from(self.members).unwrap();
            let observer = Observer::of(hosts, self.hosts(), members);
            for calls in self.deaths {
                let gate = CrashGate::safe();
                gate.die_in(*calls, CrashMoment::After);
                tokio::select! {
                    biased;
                    () = gate.died() => {}
                    () = self.to(&world, &gate, 2) => {}
                }
            }
            self.to(&world, &CrashGate::safe(), 2).await;
            assert_eq!(places(&world).await, before, "a member moved");
            world.audit.verdict().unwrap();
            (observer.most_away(), before)
        })
    }

    /// Applies the pool with this many processors for each member, and waits until it is reached.
    async fn to(&self, world: &CrashWorld, gate: &std::sync::Arc<CrashGate>, cpus: u32) {
        let fleet = world.start(gate).await.unwrap();
        fleet.drive_all().await.unwrap();
        fleet.apply(self.document(cpus), user()).await.unwrap();
        let pool = ownership::pool();
        let decided = tokio::time::timeout(A_DAY, fleet.decided(&pool)).await;
        let status = fleet.pools().get("default", "web").await.unwrap().status;
        assert_eq!(
            decided.unwrap().unwrap(),
            Verdict::Reached,
            "{}",
            status.message
        );
        let expected = (self.members, self.members, "Available");
        let found = (status.ready_replicas, status.updated_replicas, status.phase);
        assert_eq!(found, expected);
        closed(fleet).await;
    }
}

async fn closed(fleet: Fleet) {
    fleet.close().await;
}

/// The hosts of the members, by name.
async fn places(world: &CrashWorld) -> BTreeMap<String, String> {
    let fleet = world.start(&CrashGate::safe()).await.unwrap();
    let vsis = fleet.vsis().list(false).await.unwrap();
    let places = vsis
        .into_iter()
        .map(|vsi| (vsi.metadata.name, vsi.status.host));
    let places = places.collect();
    closed(fleet).await;
    places
}

const SMALL: Rolled = Rolled {
    hosts: 3,
    members: 14,
    max_unavailable: 4,
    deaths: &[],
};

#[test]
fn a_rollout_takes_away_as_many_as_it_may_and_no_more() {
    let (most, _) = SMALL.play();
    assert_eq!(most, 4);
}

#[test]
fn a_rollout_that_is_killed_takes_away_no_more() {
    let deaths = &[30, 45, 90, 140, 200];
    let (most, _) = Rolled { deaths, ..SMALL }.play();
    assert!((1..=4).contains(&most), "{most} were away");
}

#[test]
fn the_same_requests_choose_the_same_hosts() {
    let (_, first) = SMALL.play();
    let (_, second) = SMALL.play();
    assert_eq!(first, second);
    let of = |host: &str| first.values().filter(|its| *its == host).count();
    let counts: Vec<_> = SMALL.hosts().iter().map(|host| of(host)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 14, "{first:?}");
    assert!(
        counts.iter().all(|count| (4..=5).contains(count)),
        "{counts:?}"
    );
}

#[test]
#[ignore = "minutes: tests/run --part many"]
fn of_a_thousand_members_never_more_than_ten_are_away() {
    let rolled = Rolled {
        hosts: 20,
        members: 1_000,
        max_unavailable: 10,
        deaths: &[2_000, 9_000],
    };
    let (most, _) = rolled.play();
    println!("{most} of 1,000 were away at the same time");
    assert!((1..=10).contains(&most), "{most} were away");
}
