use proptest::{prelude::*, strategy::Strategy as Generates};

use super::*;
use crate::spec::pool::Strategy;

fn ready(current: bool) -> MemberView {
    MemberView {
        state: MemberState::Ready,
        may_serve: true,
        current,
    }
}

fn member(state: MemberState, may_serve: bool, current: bool) -> MemberView {
    MemberView {
        state,
        may_serve,
        current,
    }
}

/// A pool of this many members, all in the same state.
fn pool(replicas: u32, like: MemberView) -> PoolView {
    PoolView {
        replicas,
        members: (0..replicas).map(|number| (number, like)).collect(),
        ..PoolView::default()
    }
}

fn with(mut view: PoolView, number: u32, member: MemberView) -> PoolView {
    view.members.insert(number, member);
    view
}

#[test]
fn missing_members_are_made_at_once() {
    let view = PoolView {
        replicas: 3,
        ..PoolView::default()
    };
    let decision = decide(&view);
    let all = vec![
        PoolAction::Make(0),
        PoolAction::Make(1),
        PoolAction::Make(2),
    ];
    assert_eq!(decision.actions, all);
    assert_eq!(decision.outcome, PoolOutcome::Progressing);
}

#[test]
fn a_rollout_replaces_the_highest_and_waits_until_it_is_ready() {
    let view = pool(3, ready(false));
    assert_eq!(decide(&view).actions, [PoolAction::Update(2)]);
    let busy = with(view, 2, member(MemberState::Busy, false, true));
    assert_eq!(decide(&busy).actions, []);
    assert_eq!(decide(&busy).outcome, PoolOutcome::Progressing);
    let done = with(busy, 2, ready(true));
    assert_eq!(decide(&done).actions, [PoolAction::Update(1)]);
}

#[test]
fn a_rollout_stops_at_a_member_that_failed_and_an_earlier_template_brings_it_back() {
    let mut view = pool(5, ready(false));
    view.strategy.max_unavailable = 3;
    let failed = with(view, 4, member(MemberState::Stuck, false, true));
    assert_eq!(decide(&failed).actions, []);
    assert_eq!(decide(&failed).outcome, PoolOutcome::Stuck(4));
    let mut back = pool(5, ready(true));
    back = with(back, 4, member(MemberState::Stuck, false, false));
    assert_eq!(decide(&back).actions, [PoolAction::Update(4)]);
}

#[test]
fn a_rollout_is_complete_without_the_members_that_it_leaves_out() {
    let mut view = with(pool(3, ready(true)), 1, ready(false));
    assert!(!view.is_rolled_out());
    view.cordoned.insert(1);
    assert!(view.is_rolled_out());
    view.members.remove(&1);
    assert!(view.is_rolled_out());
    view.members.remove(&2);
    assert!(!view.is_rolled_out());
    view.cordoned.extend(0..3);
    assert!(!view.is_rolled_out(), "nothing was rolled out");
    view.replicas = 0;
    assert!(view.is_rolled_out());
}

#[test]
fn what_is_unknown_is_not_ready() {
    let unknown = member(MemberState::Unknown, true, false);
    let view = with(pool(3, ready(false)), 0, unknown);
    assert_eq!(decide(&view).actions, [PoolAction::Update(0)]);
    let away = with(view, 1, unknown);
    assert_eq!(decide(&away).actions, []);
    assert_eq!(decide(&away).outcome, PoolOutcome::Progressing);
}

#[test]
fn a_shrinking_pool_loses_its_highest_first() {
    let mut view = pool(5, ready(true));
    view.replicas = 2;
    assert_eq!(decide(&view).actions, [PoolAction::Delete(4)]);
    let leaves = member(MemberState::Deleting { stuck: false }, false, true);
    let view = with(view, 4, leaves);
    assert_eq!(decide(&view).actions, []);
    view_without(view, 4, &[PoolAction::Delete(3)]);
}

fn view_without(mut view: PoolView, number: u32, follows: &[PoolAction]) {
    view.members.remove(&number);
    assert_eq!(decide(&view).actions, follows);
}

#[test]
fn members_below_the_partition_stay() {
    let mut view = pool(3, ready(false));
    view.strategy.partition = 2;
    assert_eq!(decide(&view).actions, [PoolAction::Update(2)]);
    let done = with(view, 2, ready(true));
    assert_eq!(decide(&done).actions, []);
    assert_eq!(decide(&done).outcome, PoolOutcome::Available);
}

#[test]
fn a_cordoned_member_is_neither_updated_nor_made_again() {
    let mut view = pool(3, ready(false));
    view.cordoned.insert(2);
    assert_eq!(decide(&view).actions, [PoolAction::Update(1)]);
    let mut cordoned = pool(3, ready(true));
    cordoned.members.remove(&2);
    cordoned.cordoned.insert(2);
    assert_eq!(decide(&cordoned).actions, []);
    assert_eq!(decide(&cordoned).outcome, PoolOutcome::Available);
}

#[test]
fn a_surge_is_there_before_anything_goes_and_leaves_when_all_are_ready() {
    let mut view = pool(2, ready(false));
    view.strategy.max_unavailable = 0;
    view.strategy.max_surge = 1;
    assert_eq!(decide(&view).actions, [PoolAction::Make(2)]);
    let view = with(view, 2, ready(true));
    assert_eq!(decide(&view).actions, [PoolAction::Update(1)]);
    let view = with(view, 1, ready(true));
    assert_eq!(decide(&view).actions, [PoolAction::Update(0)]);
    let view = with(view, 0, member(MemberState::Busy, false, true));
    assert_eq!(decide(&view).actions, []);
    let view = with(view, 0, ready(true));
    assert_eq!(decide(&view).actions, [PoolAction::Delete(2)]);
}

#[test]
fn members_of_a_surge_count_and_updated_ones_that_leave_do_not() {
    let surge = |view, number| with(view, number, ready(true));
    let view = surge(surge(pool(3, ready(false)), 3), 4);
    assert_eq!((view.ready_members(), view.updated_members()), (5, 2));
    let leaving = member(MemberState::Deleting { stuck: false }, true, true);
    let view = with(view, 4, leaving);
    assert_eq!((view.ready_members(), view.updated_members()), (4, 1));
}

#[test]
fn what_is_about_to_be_deleted_holds_nothing_up() {
    let mut view = pool(4, ready(true));
    view.strategy.max_surge = 3;
    // A template whose surge members never became ready was taken back.
    let view = with(view, 3, member(MemberState::Busy, false, true));
    let view = with(view, 5, member(MemberState::Stuck, true, false));
    let leaves = |stuck| member(MemberState::Deleting { stuck }, false, false);
    let waits = with(view.clone(), 6, leaves(false));
    assert_eq!(decide(&waits).actions, []);
    assert_eq!(decide(&waits).outcome, PoolOutcome::Progressing);
    let hangs = with(view, 6, leaves(true));
    assert_eq!(decide(&hangs).outcome, PoolOutcome::Stuck(6));
}

#[test]
fn surge_members_stay_until_those_that_were_replaced_are_ready() {
    let mut view = pool(7, ready(false));
    view.strategy.max_unavailable = 0;
    view.strategy.max_surge = 3;
    for _ in 0..60 {
        let decision = decide(&view);
        if decision.outcome == PoolOutcome::Available {
            assert!(view.is_rolled_out());
            assert_eq!(view.members.len(), 7);
            return;
        }
        for action in decision.actions {
            match action {
                PoolAction::Delete(number) => drop(view.members.remove(&number)),
                PoolAction::Make(number)
                | PoolAction::Update(number)
                | PoolAction::Evict(number) => {
                    let busy = member(MemberState::Busy, false, true);
                    view.members.insert(number, busy);
                }
            }
        }
        let is_ready = |member: &&MemberView| member.state == MemberState::Ready;
        let serving = view.members.values().filter(is_ready).count();
        assert!(serving >= 7, "{serving} of 7 are ready: {view:?}");
        // They boot one after another.
        let mut booting = view.members.values_mut();
        if let Some(member) = booting.find(|member| member.state == MemberState::Busy) {
            *member = ready(true);
        }
    }
    panic!("it never ends: {view:?}");
}

#[test]
fn surge_members_that_failed_are_brought_to_the_next_template() {
    let mut view = pool(2, ready(false));
    view.strategy.max_unavailable = 0;
    view.strategy.max_surge = 1;
    let view = with(view, 2, member(MemberState::Stuck, false, false));
    assert_eq!(decide(&view).actions, [PoolAction::Update(2)]);
    let view = with(view, 2, ready(true));
    assert_eq!(decide(&view).actions, [PoolAction::Update(1)]);
}

#[test]
fn a_pool_becomes_smaller_although_a_member_stays_off() {
    for state in [MemberState::Off, MemberState::Unknown, MemberState::Stuck] {
        let mut view = with(pool(3, ready(true)), 0, member(state, false, true));
        view.strategy.max_unavailable = 0;
        view.replicas = 1;
        assert_eq!(decide(&view).actions, [PoolAction::Delete(2)], "{state:?}");
    }
    // One that boots becomes ready by itself.
    let mut view = with(
        pool(2, ready(true)),
        0,
        member(MemberState::Busy, false, true),
    );
    view.strategy.max_unavailable = 0;
    view.replicas = 1;
    assert_eq!(decide(&view).actions, []);
    assert_eq!(decide(&view).outcome, PoolOutcome::Progressing);
}

#[test]
fn the_name_of_another_is_neither_made_nor_taken() {
    let mut view = pool(3, ready(true));
    view.members.remove(&1);
    view.foreign.insert(1);
    assert_eq!(decide(&view).actions, []);
    assert_eq!(decide(&view).outcome, PoolOutcome::Foreign(1));
}

#[test]
fn a_pool_that_is_deleted_loses_its_members_highest_first_and_is_gone_then() {
    let mut view = pool(2, ready(false));
    view.deleting = true;
    assert_eq!(decide(&view).actions, [PoolAction::Delete(1)]);
    view.members.remove(&1);
    assert_eq!(decide(&view).actions, [PoolAction::Delete(0)]);
    view.members.clear();
    assert_eq!(decide(&view).actions, []);
    assert_eq!(decide(&view).outcome, PoolOutcome::Gone);
}

#[test]
fn a_member_that_leaves_is_deleted_and_made_again_once_its_disks_are_gone() {
    let mut view = pool(2, ready(true));
    view.evicting.insert(0);
    assert_eq!(decide(&view).actions, [PoolAction::Evict(0)]);
    let leaves = member(MemberState::Deleting { stuck: false }, false, true);
    let mut view = with(view, 0, leaves);
    assert_eq!(decide(&view).actions, []);
    view.members.remove(&0);
    view.evicting.clear();
    view.emptying.insert(0);
    assert_eq!(decide(&view).actions, []);
    assert_eq!(decide(&view).outcome, PoolOutcome::Progressing);
    view.emptying.clear();
    assert_eq!(decide(&view).actions, [PoolAction::Make(0)]);
}

#[test]
fn members_leave_one_after_another_and_wait_for_those_that_are_away() {
    let mut view = pool(3, ready(true));
    view.evicting.extend([0, 1, 2]);
    assert_eq!(decide(&view).actions, [PoolAction::Evict(2)]);
    let mut moved = with(view, 2, member(MemberState::Busy, false, true));
    moved.evicting.remove(&2);
    assert_eq!(decide(&moved).actions, []);
    let moved = with(moved, 2, ready(true));
    assert_eq!(decide(&moved).actions, [PoolAction::Evict(1)]);
}

#[test]
fn a_surge_is_there_before_a_member_leaves() {
    let mut view = pool(2, ready(true));
    view.strategy.max_unavailable = 0;
    view.strategy.max_surge = 1;
    view.evicting.insert(1);
    assert_eq!(decide(&view).actions, [PoolAction::Make(2)]);
    let view = with(view, 2, ready(true));
    assert_eq!(decide(&view).actions, [PoolAction::Evict(1)]);
}

#[test]
fn what_is_off_silent_or_left_out_does_not_leave() {
    for state in [MemberState::Off, MemberState::Unknown] {
        let mut view = with(pool(2, ready(true)), 1, member(state, false, true));
        view.evicting.insert(1);
        assert_eq!(decide(&view).actions, [], "{state:?}");
    }
    let mut view = pool(2, ready(true));
    view.evicting.insert(1);
    view.cordoned.insert(1);
    assert_eq!(decide(&view).actions, []);
    assert_eq!(decide(&view).outcome, PoolOutcome::Available);
}

#[test]
fn a_member_that_came_up_nowhere_keeps_the_others_where_they_are() {
    let mut view = pool(4, ready(true));
    view.strategy.max_unavailable = 3;
    view.evicting.extend([0, 1, 2]);
    let view = with(view, 3, member(MemberState::Stuck, false, true));
    assert_eq!(decide(&view).actions, []);
    assert_eq!(decide(&view).outcome, PoolOutcome::Stuck(3));
    // A member that is stuck on its host still leaves it.
    let mut evicting = pool(2, ready(true));
    evicting.evicting.insert(0);
    let evicting = with(evicting, 0, member(MemberState::Stuck, false, true));
    assert_eq!(decide(&evicting).actions, [PoolAction::Evict(0)]);
}

fn any_member() -> impl Generates<Value = MemberView> {
    let state = prop_oneof![
        4 => Just(MemberState::Ready),
        1 => Just(MemberState::Busy),
        1 => Just(MemberState::Stuck),
        1 => Just(MemberState::Off),
        1 => Just(MemberState::Unknown),
        1 => any::<bool>().prop_map(|stuck| MemberState::Deleting { stuck }),
    ];
    (state, any::<bool>(), any::<bool>()).prop_map(|(state, serves, current)| MemberView {
        state,
        may_serve: serves || matches!(state, MemberState::Ready | MemberState::Unknown),
        current,
    })
}

prop_compose! {
    fn any_pool()(
        replicas in 0_u32..12,
        max_unavailable in 0_u32..5,
        max_surge in 0_u32..3,
        partition in 0_u32..12,
        deleting in prop::bool::weighted(0.1),
        members in prop::collection::btree_map(0_u32..15, any_member(), 0..15),
        foreign in prop::collection::btree_set(0_u32..15, 0..3),
        cordoned in prop::collection::btree_set(0_u32..15, 0..3),
        evicting in prop::collection::btree_set(0_u32..15, 0..6),
        emptying in prop::collection::btree_set(0_u32..15, 0..3),
    ) -> PoolView {
        let members = members.into_iter().filter(|(number, _)| !foreign.contains(number));
        PoolView {
            replicas,
            strategy: Strategy { max_unavailable, max_surge, partition },
            deleting,
            members: members.collect(),
            foreign: foreign.clone(),
            cordoned,
            evicting,
            emptying,
            is_held: false,
        }
    }
}

fn updated(decision: &PoolDecision) -> Vec<u32> {
    let updates = decision.actions.iter().filter_map(|action| match action {
        PoolAction::Update(number) | PoolAction::Evict(number) => Some(*number),
        _ => None,
    });
    updates.collect()
}

fn deleted(decision: &PoolDecision) -> Vec<u32> {
    let deletions = decision.actions.iter().filter_map(|action| match action {
        PoolAction::Delete(number) => Some(*number),
        _ => None,
    });
    deletions.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Without an order, members are made and nothing else; and what waits for the order is said.
    #[test]
    fn without_an_order_no_member_is_replaced_or_deleted(view in any_pool()) {
        let ordered = decide(&view);
        let held = decide(&PoolView { is_held: true, ..view });
        let is_make = |action: &PoolAction| matches!(action, PoolAction::Make(_));
        prop_assert!(held.actions.iter().all(is_make));
        if ordered.actions.iter().all(is_make) {
            prop_assert_eq!(held, ordered);
        } else {
            prop_assert_eq!(held.outcome, PoolOutcome::Held);
        }
    }

    /// The members that are unavailable, and those that a rollout takes away now, never exceed the
    /// permitted number. If more are unavailable already, the rollout takes none.
    #[test]
    fn never_more_are_away_by_our_own_doing(view in any_pool()) {
        let decision = decide(&view);
        let taken: Vec<_> = updated(&decision)
            .into_iter()
            .filter(|number| view.members[number].may_serve)
            .collect();
        if taken.is_empty() {
            return Ok(());
        }
        let stays = |(number, member): &(&u32, &MemberView)| {
            member.state == MemberState::Ready
                && !taken.contains(*number)
                && !deleted(&decision).contains(*number)
        };
        let left = view.members.iter().filter(stays).count();
        let left = u32::try_from(left).unwrap();
        prop_assert!(
            view.replicas.saturating_sub(left) <= view.strategy.max_unavailable,
            "{taken:?} of {view:?}"
        );
    }

    /// A ready member goes only while enough others are ready, whatever else goes with it. Those that
    /// will not become ready without a person do not count when a pool becomes smaller.
    #[test]
    fn a_ready_member_goes_only_above_the_floor(view in any_pool()) {
        let decision = decide(&view);
        let is_ready = |number: &u32| view.members[number].state == MemberState::Ready;
        let gone: Vec<_> = updated(&decision).into_iter().chain(deleted(&decision)).collect();
        let gone: Vec<_> = gone.into_iter().filter(is_ready).collect();
        if view.deleting || gone.is_empty() {
            return Ok(());
        }
        let left = view.members.keys().filter(|number| is_ready(number) && !gone.contains(number));
        let comes = |number: &u32| match view.members.get(number).map(|member| member.state) {
            None => !view.cordoned.contains(number) && !view.foreign.contains(number),
            Some(state) => matches!(
                state,
                MemberState::Ready | MemberState::Busy | MemberState::Deleting { stuck: false }
            ),
        };
        let strict = view.replicas.saturating_sub(view.strategy.max_unavailable);
        let attainable = u32::try_from((0..view.replicas).filter(comes).count()).unwrap();
        let surge_end = view.replicas + view.strategy.max_surge;
        let shrinks = gone.iter().all(|number| *number >= surge_end);
        let floor = if shrinks { strict.min(attainable) } else { strict };
        let left = u32::try_from(left.count()).unwrap();
        prop_assert!(left >= floor, "{gone:?} of {view:?}");
    }

    /// Nothing is done to a VSI that the pool did not make, and no action is repeated.
    #[test]
    fn a_foreign_member_is_never_touched(view in any_pool()) {
        let decision = decide(&view);
        let mut seen = BTreeSet::new();
        for action in &decision.actions {
            let (PoolAction::Make(number)
            | PoolAction::Update(number)
            | PoolAction::Delete(number)
            | PoolAction::Evict(number)) = action;
            prop_assert!(!view.foreign.contains(number));
            prop_assert!(seen.insert(*number));
            let there = view.members.contains_key(number);
            prop_assert_eq!(there, !matches!(action, PoolAction::Make(_)));
            if !matches!(action, PoolAction::Delete(_)) {
                prop_assert!(!view.cordoned.contains(number));
            }
            if let PoolAction::Evict(_) = action {
                prop_assert!(view.evicting.contains(number));
            }
            if let PoolAction::Make(_) = action {
                prop_assert!(!view.emptying.contains(number));
            }
        }
    }

    /// No member is deleted while a higher one exists that is not being deleted, and no serving member
    /// is replaced before a higher one in the same state.
    #[test]
    fn the_highest_goes_first(view in any_pool()) {
        let decision = decide(&view);
        if let Some(lowest) = deleted(&decision).into_iter().min() {
            for (number, member) in view.members.range(lowest..) {
                let going = deleted(&decision).contains(number) || member.state.leaves();
                prop_assert!(going, "{number} stays while {lowest} is deleted");
            }
        }
        let updates = updated(&decision);
        let is_ready = |number: &u32| view.members[number].state == MemberState::Ready;
        if let Some(lowest) = updates.iter().copied().filter(is_ready).min() {
            for (number, member) in view.members.range(lowest..view.replicas) {
                let outdated = !member.current && *number >= view.strategy.partition;
                let leaves = view.evicting.contains(number);
                let due = (outdated || leaves) && !view.cordoned.contains(number) && is_ready(number);
                prop_assert!(!due || updates.contains(number), "{number} after {lowest}");
            }
        }
    }

    /// Whatever happens to members, a pool whose work always succeeds reaches its end, and never has
    /// more members unavailable than permitted.
    #[test]
    fn a_pool_whose_work_succeeds_becomes_available(view in any_pool()) {
        let mut view = view;
        view.foreign.clear();
        view.cordoned.clear();
        view.emptying.clear();
        view.deleting = false;
        prop_assume!(view.strategy.max_unavailable + view.strategy.max_surge > 0);
        for _ in 0..200 {
            let decision = decide(&view);
            if decision.outcome == PoolOutcome::Available {
                return Ok(());
            }
            for action in decision.actions {
                match action {
                    PoolAction::Make(number) => drop(view.members.insert(number, ready(true))),
                    PoolAction::Update(number) => drop(view.members.insert(number, ready(true))),
                    PoolAction::Delete(number) => drop(view.members.remove(&number)),
                    PoolAction::Evict(number) => {
                        view.members.remove(&number);
                        view.evicting.remove(&number);
                    }
                }
            }
            view.members.retain(|_, member| !member.state.leaves());
            for member in view.members.values_mut() {
                member.state = MemberState::Ready;
                member.may_serve = true;
            }
        }
        prop_assert!(false, "{view:?}");
    }
}
