//! Tests of snapshot schedules on simulated hosts, in virtual time.

use std::time::Duration;

use vsiflow_engine::Notice;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::fleet::{
    Condition, Fleet, ScheduleNote, SeenSchedules, ShutdownPolicy, SnapshotObject, SnapshotRequest,
};
use vsiflow_workflows::{phase::Phase, record::PowerAction};

use super::{
    documents::{self, VsiDocument, uuid},
    gate::CrashGate,
    journals, ownership,
    world::{CrashWorld, in_virtual_time, reached, user},
};

const WEB: u128 = 1;
const A: &str = "sim:a";
const HOUR_MS: i64 = 3_600_000;
/// A name that makes a desired state too long for an event.
const LONG_NETWORK: &str = "a-network-with-a-long-name-that-no-host-has";

/// A server with a snapshot schedule, and its fleet.
struct ScheduleBench {
    world: CrashWorld,
    fleet: Fleet,
    seen: SeenSchedules,
}

fn web() -> VsiDocument {
    VsiDocument::new("web", WEB, A)
        .server(GuestType::CloudInit)
        .snapshots("@hourly", 2)
}

impl ScheduleBench {
    async fn of(vsi: VsiDocument) -> Self {
        let world = CrashWorld::new(None).await;
        let fleet = world.start(&CrashGate::safe()).await.unwrap();
        let mut bench = Self {
            world,
            fleet,
            seen: SeenSchedules::default(),
        };
        bench.apply(vsi).await;
        assert!(bench.look().await.is_empty());
        bench
    }

    async fn apply(&self, vsi: VsiDocument) {
        let resolved = documents::resolved(&[vsi]);
        self.fleet.apply(resolved, user()).await.unwrap();
        self.settles().await;
    }

    async fn settles(&self) {
        reached(&self.fleet, uuid(WEB)).await;
    }

    /// Goes on with the journal as if it was restored from a backup.
    async fn restored(&mut self) {
        let journal = self.world.journals.current();
        let begun = journals::begin_new_incarnation(journal.as_ref(), true);
        begun.await.unwrap();
        self.fleet = self.world.start(&CrashGate::safe()).await.unwrap();
        self.seen = SeenSchedules::default();
    }

    async fn look(&mut self) -> Vec<ScheduleNote> {
        let applied = self.fleet.snapshots().apply_schedules(&mut self.seen).await;
        applied.unwrap()
    }

    /// Applies schedules until the condition holds.
    async fn until(&mut self, holds: impl Fn(&[SnapshotObject], &Condition) -> bool) {
        for _ in 0..300 {
            self.look().await;
            let all = self.fleet.snapshots().list(true).await.unwrap();
            if holds(&all, &self.condition().await) {
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let all = self.fleet.snapshots().list(true).await.unwrap();
        panic!(
            "it never comes to that: {:?} {all:?}",
            self.condition().await
        );
    }

    async fn until_whole(&mut self, whole: usize) {
        self.until(|all, condition| condition.reason == "Taken" && ready(all).len() == whole)
            .await;
        self.settles().await;
    }

    async fn condition(&self) -> Condition {
        let vsi = self.fleet.vsis().get("default", "web").await.unwrap();
        let mut conditions = vsi.status.conditions.into_iter();
        conditions
            .find(|one| one.name == "SnapshotsCurrent")
            .unwrap()
    }

    fn hours(&self, hours: i64) {
        self.world.clock.jump(hours * HOUR_MS);
    }

    /// The copies and layers of snapshots on the host.
    async fn left(&self) -> usize {
        let sim = self.world.hosts.sim(A).await.unwrap();
        sim.with(|state| {
            let volumes = state.pools["images"].volumes.keys();
            volumes.filter(|name| name.starts_with("snapshot-")).count()
        })
        .await
    }

    /// Sets the capacity of the pool, and returns the previous one.
    async fn room(&self, capacity: u64) -> u64 {
        let sim = self.world.hosts.sim(A).await.unwrap();
        sim.with(|state| {
            let pool = state.pools.get_mut("images").unwrap();
            std::mem::replace(&mut pool.capacity, capacity)
        })
        .await
    }
}

fn ready(all: &[SnapshotObject]) -> Vec<String> {
    let whole = all.iter().filter(|one| one.status.phase == "Ready");
    whole.map(|one| one.metadata.name.clone()).collect()
}

#[test]
fn the_newest_time_that_was_missed_is_made_up_for_and_only_snapshots_of_the_schedule_go() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        assert_eq!(bench.condition().await.reason, "Waiting");
        let request = SnapshotRequest {
            name: Some("mine".to_owned()),
            ..SnapshotRequest::default()
        };
        let taken = bench
            .fleet
            .snapshots()
            .take("default", "web", request, user());
        taken.await.unwrap();
        bench.settles().await;
        // The virtual time begins at 08:00.
        bench.hours(1);
        bench.until_whole(2).await;
        bench.hours(4);
        bench.world.clock.jump(HOUR_MS / 12);
        let overdue = bench.condition().await;
        assert_eq!(
            (overdue.status.as_ref(), overdue.reason.as_str()),
            ("False", "Overdue")
        );
        bench.until_whole(3).await;
        let condition = bench.condition().await;
        assert!(condition.message.contains("3 due times"), "{condition:?}");
        bench.hours(1);
        bench
            .until(|all, _| {
                ready(all) == ["mine", "web-20270115-1300", "web-20270115-1400"]
                    && all.iter().any(|one| one.status.phase == "Deleted")
            })
            .await;
        assert_eq!(bench.left().await, 3);
        let vsi = bench.fleet.vsis().get("default", "web").await.unwrap();
        let status = vsi.status.snapshots.unwrap();
        assert_eq!(status.missed, 3);
        let next = status.next_schedule_time.unwrap();
        assert!(next.starts_with("2027-01-15T15:00:00"), "{next}");
        // Nothing more is done for the same due times, even after a restart.
        bench.seen = SeenSchedules::default();
        assert!(bench.look().await.is_empty());
    });
}

#[test]
fn a_snapshot_that_stands_still_is_given_up_with_why_and_the_next_due_time_tries_again() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        bench.hours(1);
        bench.until_whole(1).await;
        let room = bench.room(1).await;
        bench.hours(1);
        bench
            .until(|all, condition| {
                condition.reason == "VSI0203" && ready(all).len() == 1 && all.len() == 2
            })
            .await;
        bench.settles().await;
        let phase = bench
            .fleet
            .vsis()
            .get("default", "web")
            .await
            .unwrap()
            .status
            .phase;
        assert_eq!(phase, Phase::Running);
        bench
            .until(|all, _| all.iter().any(|one| one.status.phase == "Deleted"))
            .await;
        // Only the unfinished snapshot is deleted. The previous one remains, although it is older.
        assert_eq!(bench.left().await, 1);
        bench.room(room).await;
        assert!(bench.look().await.is_empty(), "not for the same due time");
        bench.hours(1);
        bench.until_whole(2).await;
        let message = bench.condition().await.message;
        assert!(message.contains("1 due times"), "{message}");
    });
}

#[test]
fn a_guest_whose_memory_is_protected_is_copied_once_it_is_off_and_until_then_the_reason_is_said() {
    in_virtual_time(async {
        let mut bench =
            ScheduleBench::of(VsiDocument::new("web", WEB, A).snapshots("@hourly", 1)).await;
        bench.hours(1);
        let found = bench.look().await;
        let missing = matches!(&found[..], [ScheduleNote::Missing { failure, .. }]
            if failure.code.as_str() == "VSI0222");
        assert!(missing, "{found:?}");
        assert!(bench.look().await.is_empty(), "reported twice");
        let how = ShutdownPolicy::default();
        let stop = PowerAction::Stop;
        let stopped = bench
            .fleet
            .vsis()
            .power("default", "web", stop, how, user());
        stopped.await.unwrap();
        bench.settles().await;
        bench.until_whole(1).await;
        assert_eq!(bench.left().await, 1);
    });
}

#[test]
fn a_schedule_that_goes_takes_nothing_with_it_and_one_that_comes_back_begins_anew() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        bench.hours(1);
        bench.until_whole(1).await;
        let mut without = web();
        without.snapshots = None;
        bench.apply(without).await;
        bench.look().await;
        bench.hours(5);
        assert!(bench.look().await.is_empty());
        bench.apply(web()).await;
        assert_eq!(bench.condition().await.reason, "NotBegun");
        assert!(bench.look().await.is_empty());
        assert!(
            bench.look().await.is_empty(),
            "a due time before the new schedule got a snapshot"
        );
        let condition = bench.condition().await;
        assert_eq!(condition.status, "True");
        assert!(!condition.message.contains("without"), "{condition:?}");
        assert_eq!(bench.left().await, 1);
        // After the clock is set back, a due time that comes again gets another snapshot under another name.
        bench.hours(1);
        bench.until_whole(2).await;
        bench.hours(-2);
        assert_eq!(bench.condition().await.reason, "ClockSetBack");
        let found = bench.look().await;
        assert!(
            matches!(&found[..], [ScheduleNote::SetBack { .. }]),
            "{found:?}"
        );
        bench.hours(2);
        bench
            .until(|all, now| {
                let is_another = |name: &String| name.starts_with("s-");
                now.reason == "Taken" && ready(all).iter().any(is_another)
            })
            .await;
        bench.settles().await;
        assert!(bench.look().await.is_empty());
    });
}

#[test]
fn a_journal_that_was_restored_deletes_no_snapshot_of_before() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        for (hour, whole) in [(1, 1), (2, 2), (3, 2)] {
            bench.hours(1);
            bench.until_whole(whole).await;
            bench.until(|all, _| all.len() == hour).await;
        }
        for before in [2, 4] {
            bench.restored().await;
            for more in [1, 2, 2] {
                bench.hours(1);
                bench.until_whole(before + more).await;
            }
        }
    });
}

/// A clock that was years ahead stops no schedule, and the snapshots of that time are not the newest.
#[test]
fn a_clock_that_was_years_ahead_stops_no_schedule() {
    const YEARS: i64 = 3 * 365 * 24;
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        bench.hours(1);
        bench.until_whole(1).await;
        bench.hours(YEARS);
        bench.until_whole(2).await;
        bench.hours(-YEARS);
        let condition = bench.condition().await;
        assert_eq!(condition.status, "False", "{condition:?}");
        let found = bench.look().await;
        assert!(
            matches!(&found[..], [ScheduleNote::SetBack { .. }]),
            "{found:?}"
        );
        assert_eq!(bench.condition().await.status, "True");
        for hour in [1000, 1100] {
            bench.hours(1);
            let name = format!("web-20270115-{hour}");
            bench
                .until(|all, shown| shown.reason == "Taken" && ready(all).contains(&name))
                .await;
            bench.settles().await;
        }
        let names = ["web-20270115-1000", "web-20270115-1100"];
        bench.until(|all, _| ready(all) == names).await;
    });
}

#[test]
fn two_snapshots_of_schedules_begin_on_a_host_at_a_time() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        for (number, name) in (2..).zip(["b", "c", "d", "e"]) {
            let vsi = VsiDocument::new(name, number, A).server(GuestType::CloudInit);
            let vsi = documents::resolved(&[vsi.snapshots("@hourly", 1)]);
            bench.fleet.apply(vsi, user()).await.unwrap();
            let entity = ownership::entity(uuid(number));
            bench.fleet.decided(&entity).await.unwrap();
        }
        bench.look().await;
        bench.hours(1);
        let begun = bench.look().await;
        assert_eq!(begun.len(), 2, "{begun:?}");
        assert!(bench.look().await.is_empty());
        bench.until(|all, _| ready(all).len() == 5).await;
    });
}

#[test]
fn a_snapshot_that_was_never_begun_ends_with_its_vsi() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        bench.fleet.set_global_pause(true, user()).await.unwrap();
        let request = SnapshotRequest::default();
        let taken = bench
            .fleet
            .snapshots()
            .take("default", "web", request, user());
        taken.await.unwrap();
        let vsis = bench.fleet.vsis();
        vsis.delete("default", "web", false, user()).await.unwrap();
        bench.fleet.set_global_pause(false, user()).await.unwrap();
        bench.settles().await;
        bench.look().await;
        let all = bench.fleet.snapshots().list(true).await.unwrap();
        let phases: Vec<_> = all.iter().map(|one| one.status.phase.as_str()).collect();
        assert_eq!(phases, ["Failed"]);
    });
}

#[test]
fn nothing_is_taken_while_all_is_paused() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        bench.fleet.set_global_pause(true, user()).await.unwrap();
        bench.hours(1);
        assert!(bench.look().await.is_empty());
        bench.fleet.set_global_pause(false, user()).await.unwrap();
        bench.until_whole(1).await;
    });
}

/// What cannot be read may be a disk that is being filled from the snapshot.
#[test]
fn no_superfluous_snapshot_goes_while_something_cannot_be_read() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        let mut large = VsiDocument::new("large", 2, A);
        large.networks = vec![LONG_NETWORK; 100];
        let large = documents::resolved(&[large]);
        bench.fleet.apply(large, user()).await.unwrap();
        for whole in 1..=2 {
            bench.hours(1);
            bench.until_whole(whole).await;
        }
        assert!(bench.world.blobs.lose(LONG_NETWORK).await > 0);
        bench.hours(1);
        bench
            .until(|all, condition| condition.reason == "Taken" && ready(all).len() == 3)
            .await;
        let notes = bench.look().await;
        let stays = matches!(&notes[..], [ScheduleNote::Stays { snapshot, failure }]
            if snapshot == "web-20270115-0900" && failure.code.as_str() == "VSI0019");
        assert!(stays, "{notes:?}");

        bench.world.blobs.find();
        let newest = ["web-20270115-1000", "web-20270115-1100"];
        bench.until(|all, _| ready(all) == newest).await;
    });
}

/// The progress of a merge of the guest's layer into its disk is reported.
#[test]
fn how_far_a_merge_is_is_told_while_it_lasts() {
    in_virtual_time(async {
        let mut bench = ScheduleBench::of(web()).await;
        let mut notices = bench.fleet.notices();
        bench.hours(1);
        bench.until_whole(1).await;
        let mut notes = Vec::new();
        while let Ok(notice) = notices.try_recv() {
            if let Notice::Progress { node, progress, .. } = notice
                && node.as_str() == "merge_layers"
            {
                assert_eq!(progress.what.as_str(), "merging disk boot");
                notes.push((progress.done, progress.total));
            }
        }
        assert!(notes.len() > 1, "{notes:?}");
        assert!(notes.is_sorted(), "{notes:?}");
        assert!(
            notes
                .iter()
                .any(|(done, total)| total.is_some_and(|total| *done < total))
        );
    });
}
