use super::*;

fn item(state: ItemState) -> ItemView {
    ItemView {
        state,
        current: true,
        removed: false,
        remove_after: None,
    }
}

fn wave(open: bool, items: &[ItemView]) -> WaveView {
    WaveView {
        open,
        any: false,
        unread: false,
        items: items.to_vec(),
    }
}

fn decided(waves: Vec<WaveView>) -> (Vec<GroupAction>, GroupOutcome) {
    let decision = decide(&GroupView {
        waves,
        ..GroupView::default()
    });
    (decision.actions, decision.outcome)
}

use ItemState::{Available, Busy, Missing, Stuck};

#[test]
fn a_wave_is_made_at_once_and_the_next_waits_for_its_gate() {
    let (first, next) = ([item(Missing), item(Missing)], [item(Missing)]);
    let making = vec![GroupAction::Make(0, 0), GroupAction::Make(0, 1)];
    assert_eq!(
        decided(vec![wave(false, &first), wave(false, &next)]),
        (making, GroupOutcome::Progressing(0))
    );
    let busy = [item(Busy), item(Available)];
    assert_eq!(
        decided(vec![wave(false, &busy), wave(false, &next)]),
        (vec![], GroupOutcome::Progressing(0))
    );
    let ready = [item(Available), item(Available)];
    assert_eq!(
        decided(vec![wave(false, &ready), wave(false, &next)]),
        (vec![GroupAction::Ask(0)], GroupOutcome::Gate(0))
    );
    assert_eq!(
        decided(vec![wave(true, &ready), wave(false, &next)]),
        (vec![GroupAction::Make(1, 0)], GroupOutcome::Progressing(1))
    );
    assert_eq!(
        decided(vec![wave(true, &ready), wave(true, &[item(Available)])]),
        (vec![], GroupOutcome::Available)
    );
}

#[test]
fn one_ready_member_is_enough_where_the_gate_says_so() {
    let any = WaveView {
        any: true,
        ..wave(false, &[item(Busy), item(Available)])
    };
    let next = wave(false, &[item(Missing)]);
    let decision = decided(vec![any.clone(), next.clone()]);
    assert_eq!(decision.0, [GroupAction::Ask(0)]);
    let open = WaveView { open: true, ..any };
    let (actions, outcome) = decided(vec![open.clone(), next]);
    assert_eq!(actions, [GroupAction::Make(1, 0)]);
    assert_eq!(outcome, GroupOutcome::Progressing(1));
    let settled = decided(vec![open, wave(true, &[item(Available)])]);
    assert_eq!(
        settled,
        (vec![], GroupOutcome::Progressing(0)),
        "one is still busy"
    );
}

#[test]
fn a_change_goes_through_the_pools_one_after_another() {
    let outdated = |state| ItemView {
        current: false,
        ..item(state)
    };
    let both = [outdated(Available), outdated(Available)];
    let later = [outdated(Available)];
    let waves = |first: &[ItemView], open| vec![wave(open, first), wave(false, &later)];
    assert_eq!(decided(waves(&both, false)).0, [GroupAction::Update(0, 0)]);
    let second = [item(Busy), outdated(Available)];
    assert_eq!(decided(waves(&second, false)).0, []);
    let failed = [item(Stuck), outdated(Available)];
    assert_eq!(
        decided(waves(&failed, false)),
        (vec![], GroupOutcome::Stuck(0, 0)),
        "the next one is not touched"
    );
    let stuck = [item(Available), outdated(Stuck)];
    assert_eq!(
        decided(waves(&stuck, false)).0,
        [GroupAction::Update(0, 1)],
        "a stuck member may recover"
    );
    let done = [item(Available), item(Available)];
    assert_eq!(decided(waves(&done, false)).0, [GroupAction::Ask(0)]);
    assert_eq!(decided(waves(&done, true)).0, [GroupAction::Update(1, 0)]);
}

#[test]
fn an_upgrade_stops_at_a_pool_that_fails_also_where_one_member_is_enough() {
    let outdated = ItemView {
        current: false,
        ..item(Available)
    };
    let any = |open, items: &[ItemView]| WaveView {
        any: true,
        ..wave(open, items)
    };
    let later = || wave(false, &[outdated]);
    assert_eq!(
        decided(vec![any(false, &[item(Stuck), outdated]), later()]),
        (vec![], GroupOutcome::Stuck(0, 0)),
        "its gate is closed"
    );
    assert_eq!(
        decided(vec![any(false, &[item(Busy), outdated]), later()]),
        (vec![], GroupOutcome::Progressing(0))
    );
    let opened = any(true, &[item(Stuck), item(Available)]);
    assert_eq!(
        decided(vec![opened.clone(), later()]),
        (vec![], GroupOutcome::Stuck(0, 0)),
        "its gate is open"
    );
    let partly = wave(false, &[item(Missing), outdated]);
    assert_eq!(
        decided(vec![opened, partly]),
        (vec![GroupAction::Make(1, 0)], GroupOutcome::Stuck(0, 0)),
        "what is missing is made"
    );
    let settled = any(true, &[item(Available), item(Available)]);
    assert_eq!(
        decided(vec![settled, later()]).0,
        [GroupAction::Update(1, 0)]
    );
}

#[test]
fn what_is_removed_after_a_wave_is_never_made_again() {
    let bootstrap = |state, removed| ItemView {
        remove_after: Some(1),
        removed,
        ..item(state)
    };
    let waves = |first, open| vec![wave(true, &[first]), wave(open, &[item(Available)])];
    assert_eq!(
        decided(waves(bootstrap(Available, false), false)).0,
        [GroupAction::Ask(1)],
        "it stays until the wave has passed"
    );
    let due = decided(waves(bootstrap(Available, false), true));
    assert_eq!(due.0, [GroupAction::Remove(0, 0)]);
    let removed = decided(waves(bootstrap(Available, true), true));
    assert_eq!(
        removed,
        (
            vec![GroupAction::Delete(0, 0)],
            GroupOutcome::Progressing(0)
        )
    );
    let leaving = ItemState::Deleting { stuck: false };
    let leaving = decided(waves(bootstrap(leaving, true), true));
    assert_eq!(leaving, (vec![], GroupOutcome::Progressing(0)));
    let gone = decided(waves(bootstrap(Missing, true), true));
    assert_eq!(gone, (vec![], GroupOutcome::Available));
}

#[test]
fn outputs_that_are_added_to_an_open_wave_are_read_and_later_waves_do_not_wait() {
    let unread = |open| WaveView {
        unread: true,
        ..wave(open, &[item(Available)])
    };
    let settled = decided(vec![unread(true), wave(true, &[item(Available)])]);
    let reading = vec![GroupAction::Read(0)];
    assert_eq!(settled, (reading, GroupOutcome::Outputs(0)));
    let later = decided(vec![unread(true), wave(false, &[item(Missing)])]);
    let both = vec![GroupAction::Read(0), GroupAction::Make(1, 0)];
    assert_eq!(later, (both, GroupOutcome::Progressing(1)));
    let closed = decided(vec![unread(false)]);
    assert_eq!(closed, (vec![GroupAction::Ask(0)], GroupOutcome::Gate(0)));
}

#[test]
fn outputs_of_open_waves_are_read_while_an_earlier_wave_is_not_settled() {
    let unread = WaveView {
        unread: true,
        ..wave(true, &[item(Available)])
    };
    for earlier in [Busy, Stuck] {
        let (actions, _) = decided(vec![wave(false, &[item(earlier)]), unread.clone()]);
        assert_eq!(actions, [GroupAction::Read(1)]);
    }
    let (actions, _) = decided(vec![wave(false, &[item(Missing)]), unread]);
    assert_eq!(actions, [GroupAction::Read(1), GroupAction::Make(0, 0)]);
}

#[test]
fn a_deletion_takes_the_newest_wave_first() {
    let deleted = |waves| {
        let decision = decide(&GroupView {
            deleting: true,
            waves,
            ..GroupView::default()
        });
        (decision.actions, decision.outcome)
    };
    let there = [item(Available), item(Stuck)];
    let both = vec![wave(true, &there), wave(false, &there)];
    let goes = vec![GroupAction::Delete(1, 0), GroupAction::Delete(1, 1)];
    assert_eq!(deleted(both), (goes, GroupOutcome::Progressing(1)));
    let leaving = [item(ItemState::Deleting { stuck: false })];
    let waits = vec![wave(true, &there), wave(false, &leaving)];
    assert_eq!(deleted(waits), (vec![], GroupOutcome::Progressing(1)));
    let stuck = [item(ItemState::Deleting { stuck: true })];
    let stuck_below = vec![wave(true, &there), wave(false, &stuck)];
    assert_eq!(deleted(stuck_below).1, GroupOutcome::Stuck(1, 0));
    let last = vec![wave(true, &there), wave(false, &[item(Missing)])];
    assert_eq!(deleted(last).1, GroupOutcome::Progressing(0));
    let none = vec![wave(true, &[item(Missing)])];
    assert_eq!(deleted(none), (vec![], GroupOutcome::Gone));
}

#[test]
fn without_an_order_nothing_that_exists_is_changed_or_deleted() {
    let outdated = ItemView {
        current: false,
        ..item(Available)
    };
    let held = |deleting, waves: Vec<WaveView>| {
        let decision = decide(&GroupView {
            deleting,
            is_held: true,
            waves,
        });
        (decision.actions, decision.outcome)
    };
    let rolling = vec![wave(true, &[outdated, item(Missing)])];
    let made = vec![GroupAction::Make(0, 1)];
    assert_eq!(held(false, rolling), (made, GroupOutcome::Held));
    let deleting = vec![wave(true, &[item(Available)])];
    assert_eq!(held(true, deleting), (Vec::new(), GroupOutcome::Held));
    let settled = vec![wave(true, &[item(Available)])];
    assert_eq!(held(false, settled), (Vec::new(), GroupOutcome::Available));
    assert_eq!(held(true, Vec::new()), (Vec::new(), GroupOutcome::Gone));
}
