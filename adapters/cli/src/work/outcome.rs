//! Reports the outcome of a command, and what continues afterwards.

use vsiflow_api::{AwaitedOutcome, ObjectOutcome};
use vsiflow_engine::{
    clock::{Clock as _, SystemClock},
    model::Timestamp,
};

use super::target::Target;
use crate::{
    args::WaitArgs,
    exit::{Exit, ExitProblem},
    output::{self, label},
};

/// Prints the outcome of a target, and returns the command's exit for it. Without an outcome the wait ended `early`. On
/// success it prints `done`, or else the phase.
pub(crate) fn say(
    target: &Target,
    known: &ObjectOutcome,
    early: Option<Exit>,
    wait: &WaitArgs,
    done: &str,
) -> Exit {
    match (known.outcome, early) {
        (Some(outcome), _) => decided(target, known, outcome, done),
        (None, Some(Exit::Interrupted)) => {
            let (shown, word) = (target.shown(), target.word());
            let message = format!("{shown}: interrupted; run `vsiflow resume {word}` to continue");
            output::note(&message);
            Exit::Interrupted
        }
        (None, _) => {
            timed_out(target, known, wait);
            Exit::TimedOut
        }
    }
}

fn decided(target: &Target, known: &ObjectOutcome, outcome: AwaitedOutcome, done: &str) -> Exit {
    let exit = Exit::from(outcome);
    match outcome {
        AwaitedOutcome::Reached => reached(target, known, done),
        AwaitedOutcome::Failed | AwaitedOutcome::Blocked => {
            output::note(&format!("{}:", target.shown()));
            if let Some(failure) = known.failure.clone() {
                output::problem(&ExitProblem {
                    exit,
                    ..failure.into()
                });
            }
            if let Some(due) = known.next_try {
                output::note(&next_try(target, Timestamp(due)));
            }
        }
        AwaitedOutcome::Cancelled => cancelled(target),
    }
    exit
}

/// The outcome of a deletion.
pub(crate) const DELETED: &str = "deleted";

/// The outcome of a deletion that leaves everything on the host.
pub(crate) const FORGOTTEN: &str = "is forgotten; its host was not touched";

fn reached(target: &Target, known: &ObjectOutcome, done: &str) {
    let shown = target.shown();
    let done = match done {
        DELETED if target.is_vsi() && known.is_forgotten => FORGOTTEN,
        other => other,
    };
    if !done.is_empty() {
        output::line(&format!("{shown} {done}"));
    } else if target.is_pool() || target.is_group() {
        output::line(&format!("{shown} is Available"));
    } else if !target.is_disk() {
        output::line(&format!("{shown} is {}", known.phase));
    }
}

fn cancelled(target: &Target) {
    let is_kept = target.is_vsi() || target.is_disk() || target.is_pool() || target.is_group();
    let next = if is_kept {
        format!("retry {}", target.word())
    } else {
        "image upload".to_owned()
    };
    let shown = target.shown();
    output::note(&format!(
        "{shown} was cancelled; run `vsiflow {next}` to continue"
    ));
}

/// The message about a retry: the engine retries only while a vsiflow process works.
fn next_try(target: &Target, due: Timestamp) -> String {
    let (seconds, shown, word) = (seconds_until(due), target.shown(), target.word());
    format!(
        "{shown}: the next try is due in {seconds} s; `vsiflow resume {word}` sees to it, \
         `vsiflow retry {word}` does not wait"
    )
}

fn timed_out(target: &Target, known: &ObjectOutcome, wait: &WaitArgs) {
    let (shown, word) = (target.shown(), target.word());
    let after = wait
        .timeout
        .map(|t| humantime::format_duration(t).to_string())
        .unwrap_or_default();
    output::note(&format!(
        "{shown}: not decided after {after}; run `vsiflow resume {word}` to continue"
    ));
    let failure = known.failure.clone().or_else(|| known.obstacle.clone());
    if let Some(failure) = failure {
        output::problem(&ExitProblem {
            exit: Exit::TimedOut,
            ..failure.into()
        });
    }
}

pub(super) fn seconds_until(due: Timestamp) -> u64 {
    SystemClock.now().millis_until(due).div_ceil(1000)
}

/// Reports that a network is not made yet.
pub(crate) fn report_not_made(namespace: &str, name: &str) {
    let label = label(namespace, name);
    output::note(&format!(
        "network/{label} is not made: nothing refers to it; it is made on the host of a VSI that does"
    ));
}
