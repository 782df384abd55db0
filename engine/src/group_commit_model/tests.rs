//! Runs each property in as many thread orders as time allows.

use shuttle::{
    Config, Runner,
    scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler},
};

use super::properties;

/// Orders of each kind.
const ORDERS: usize = 1_000;

fn run(scheduler: impl Scheduler + 'static, property: fn()) {
    let mut config = Config::new();
    // Debug builds need more than the default.
    config.stack_size = 256 * 1024;
    Runner::new(scheduler, config).run(property);
}

/// Random orders, orders with few but adverse switches, and the first of an enumeration of all.
fn in_any_order(property: fn()) {
    run(RandomScheduler::new(ORDERS), property);
    run(PctScheduler::new(3, ORDERS), property);
    run(DfsScheduler::new(Some(ORDERS), false), property);
}

pub(super) fn in_random_orders(property: fn()) {
    run(RandomScheduler::new(ORDERS), property);
}

#[test]
fn what_is_acknowledged_was_written() {
    in_any_order(properties::what_is_acknowledged_was_written);
}

#[test]
fn the_order_of_requests_is_kept() {
    in_any_order(properties::the_order_of_requests_is_kept);
}

#[test]
fn nothing_is_taken_in_before_what_is_alone_is_written() {
    in_any_order(properties::nothing_is_taken_in_before_what_is_alone_is_written);
}

#[test]
fn a_failure_answers_everybody_and_ends_all_writing() {
    in_any_order(properties::a_failure_answers_everybody_and_ends_all_writing);
}

#[test]
fn a_failure_met_elsewhere_ends_all_writing() {
    in_any_order(properties::a_failure_met_elsewhere_ends_all_writing);
}

#[test]
fn closing_finishes_what_waits() {
    in_any_order(properties::closing_finishes_what_waits);
}

#[test]
fn nobody_has_to_wait_for_the_answer() {
    in_any_order(properties::nobody_has_to_wait_for_the_answer);
}
