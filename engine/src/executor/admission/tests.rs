//! Every obstacle against every candidate.

use std::sync::Arc;

use async_trait::async_trait;
use ulid::Ulid;

use super::{
    Admission::{AskAgain, Granted, Waits},
    *,
};
use crate::{
    clock::SystemClock,
    executor::config::Tuning,
    lane::Lanes,
    model::{Failure, Name},
    room::Room,
};

const LANE: &str = "host";

/// Lanes for which every failure means that they are down, and that never answer.
struct Dead;

#[async_trait]
impl Lanes for Dead {
    fn is_down(&self, _: &Failure) -> bool {
        true
    }

    async fn probe(&self, _: &Text) -> Result<(), Failure> {
        std::future::pending().await
    }

    fn note(&self, _: &Text, _: Option<&Failure>) {}
}

/// The obstacle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GateObstacle {
    Nothing,
    Pause,
    LowRoom,
    FullRoom,
    LaneDown,
    LaneBusy,
}

fn run(number: u64) -> RunId {
    RunId(Ulid::from_parts(number, 1))
}

fn gate(obstacles: &[GateObstacle]) -> (AdmissionGate, Level) {
    let clock = Arc::new(SystemClock);
    let lane = Text::new(LANE);
    let mut gate = AdmissionGate {
        pause: GlobalPause::new(obstacles.contains(&GateObstacle::Pause)),
        room: RoomWatch::new(Room::boundless()),
        lanes: CircuitBreaker::new(Arc::new(Dead), clock, &Tuning::default()),
        limits: LaneLimits::new(1),
    };
    if obstacles.contains(&GateObstacle::LaneDown) {
        gate.lanes.note(&lane, &Failure::defect("no answer"));
    }
    if obstacles.contains(&GateObstacle::LaneBusy) {
        assert!(gate.limits.take(&lane, run(0)));
    }
    let level = match obstacles {
        all if all.contains(&GateObstacle::FullRoom) => Level::Full,
        all if all.contains(&GateObstacle::LowRoom) => Level::Low,
        _ => Level::Plenty,
    };
    (gate, level)
}

/// The decisions on a run, a first attempt and an attempt after a wait.
fn admitted(obstacles: &[GateObstacle]) -> [Admission; 3] {
    let (lane, waiter) = (Text::new(LANE), (run(1), Name::of("node")));
    let candidates = [
        WorkRequest::Run,
        WorkRequest::FirstAttempt {
            run: waiter.0,
            lane: &lane,
        },
        WorkRequest::NextAttempt {
            waiter: &waiter,
            lane: &lane,
            failed_at: None,
        },
    ];
    candidates.map(|candidate| {
        let (mut gate, level) = gate(obstacles);
        gate.admit_at(level, candidate)
    })
}

#[tokio::test]
async fn each_obstacle_meets_each_candidate_as_the_table_says() {
    use GateObstacle::{FullRoom, LaneBusy, LaneDown, LowRoom, Nothing, Pause};
    let table = [
        (Nothing, [Granted, Granted, Granted]),
        (Pause, [Waits, Waits, Waits]),
        (LowRoom, [Waits, Granted, Granted]),
        (FullRoom, [Waits, Waits, AskAgain]),
        (LaneDown, [Granted, Granted, Waits]),
        (LaneBusy, [Granted, Waits, AskAgain]),
    ];
    for (obstacle, expected) in table {
        assert_eq!(admitted(&[obstacle]), expected, "{obstacle:?}");
    }
}

#[tokio::test]
async fn of_two_obstacles_the_uppermost_decides() {
    use GateObstacle::{FullRoom, LaneBusy, LaneDown, LowRoom, Pause};
    let table = [
        ([Pause, FullRoom], [Waits, Waits, Waits]),
        ([Pause, LaneBusy], [Waits, Waits, Waits]),
        ([FullRoom, LaneDown], [Waits, Waits, Waits]),
        ([LowRoom, LaneBusy], [Waits, Waits, AskAgain]),
        ([LaneDown, LaneBusy], [Granted, Waits, Waits]),
    ];
    for (obstacles, expected) in table {
        assert_eq!(admitted(&obstacles), expected, "{obstacles:?}");
    }
}

#[tokio::test]
async fn without_a_lane_the_host_of_the_failure_is_what_is_out_of_reach() {
    let (mut gate, level) = gate(&[GateObstacle::LaneDown]);
    let (none, host, other) = (Text::default(), Text::new(LANE), Text::new("other"));
    let waiter = (run(1), Name::of("node"));
    let mut admit = |failed_at| {
        let lane = &none;
        let waiter = &waiter;
        gate.admit_at(
            level,
            WorkRequest::NextAttempt {
                waiter,
                lane,
                failed_at,
            },
        )
    };
    assert_eq!(admit(Some(&host)), Waits);
    assert_eq!(admit(Some(&other)), Granted);
    assert_eq!(admit(None), Granted);
}

#[tokio::test]
async fn what_is_refused_takes_no_place_and_what_begins_takes_one() {
    let lane = Text::new(LANE);
    let first = |number| WorkRequest::FirstAttempt {
        run: run(number),
        lane: &lane,
    };
    let (mut gate, _) = gate(&[]);
    assert_eq!(gate.admit_at(Level::Full, first(1)), Waits);
    assert_eq!(gate.admit_at(Level::Low, first(2)), Granted);
    assert_eq!(gate.admit_at(Level::Plenty, first(3)), Waits);
    gate.give_back(&lane);
    assert_eq!(gate.wake(), BTreeSet::from([run(3)]));
    assert_eq!(gate.admit_at(Level::Plenty, first(3)), Granted);
}

#[tokio::test]
async fn what_the_pause_keeps_is_handed_out_when_it_ends_and_once() {
    let (lane, waiter) = (Text::default(), (run(1), Name::of("node")));
    let (mut gate, level) = gate(&[GateObstacle::Pause]);
    let next = WorkRequest::NextAttempt {
        waiter: &waiter,
        lane: &lane,
        failed_at: None,
    };
    assert_eq!(gate.admit_at(level, next), Waits);
    assert_eq!(gate.pause.set(false), BTreeSet::from([waiter.clone()]));
    assert_eq!(gate.admit_at(level, next), Granted);
    assert_eq!(gate.pause.set(false), BTreeSet::new());
}
