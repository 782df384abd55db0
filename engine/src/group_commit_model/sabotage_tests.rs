//! The properties detect each defect that is introduced on purpose.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    properties,
    sync::{Sabotage, break_on_purpose},
    tests::in_random_orders,
};

fn finds(sabotage: Sabotage, property: fn()) {
    break_on_purpose(sabotage);
    let held = catch_unwind(AssertUnwindSafe(|| in_random_orders(property)));
    break_on_purpose(Sabotage::None);
    assert!(held.is_err(), "{sabotage:?} was not found");
}

#[test]
fn an_answer_before_the_commit_is_found() {
    finds(
        Sabotage::AnswerEarly,
        properties::what_is_acknowledged_was_written,
    );
}

#[test]
fn a_request_that_overtakes_another_is_found() {
    finds(
        Sabotage::Overtake,
        properties::the_order_of_requests_is_kept,
    );
}

#[test]
fn what_is_taken_in_before_another_is_written_alone_is_found() {
    finds(
        Sabotage::NotAlone,
        properties::nothing_is_taken_in_before_what_is_alone_is_written,
    );
}

#[test]
fn a_failure_that_is_forgotten_is_found() {
    finds(
        Sabotage::ForgetFailure,
        properties::a_failure_answers_everybody_and_ends_all_writing,
    );
}

#[test]
fn a_caller_that_is_never_answered_is_found() {
    finds(
        Sabotage::Silence,
        properties::a_failure_answers_everybody_and_ends_all_writing,
    );
}

#[test]
fn a_close_that_does_not_wait_is_found() {
    finds(
        Sabotage::LeaveThread,
        properties::closing_finishes_what_waits,
    );
}
