//! Reports the outcome of a command, and what continues afterwards.

use vsiflow_engine::{
    clock::{Clock as _, SystemClock},
    model::Timestamp,
};
use vsiflow_workflows::fleet::Verdict;

use super::target::Target;
use crate::{
    args::WaitArgs,
    compose::App,
    exit::{Exit, ExitProblem},
    output::{self, label},
};

/// Prints the outcome of a target, and returns the command's exit for it. Without a verdict the
/// wait ended `early`. On success it prints `done`, or else the phase.
pub(super) fn say(
    app: &App,
    target: &Target,
    verdict: Option<Verdict>,
    early: Option<Exit>,
    wait: &WaitArgs,
    done: &str,
) -> Exit {
    match (verdict, early) {
        (Some(verdict), _) => decided(app, target, verdict, done),
        (None, Some(Exit::Interrupted)) => {
            let (shown, word) = (target.shown(), target.word());
            let message = format!("{shown}: interrupted; run `vsiflow resume {word}` to continue");
            output::note(&message);
            Exit::Interrupted
        }
        (None, _) => {
            timed_out(app, target, wait);
            Exit::TimedOut
        }
    }
}

fn decided(app: &App, target: &Target, verdict: Verdict, done: &str) -> Exit {
    let exit = Exit::from(&verdict);
    match verdict {
        Verdict::Reached => reached(app, target, done),
        Verdict::Failed(failure) | Verdict::Blocked(failure) => {
            output::note(&format!("{}:", target.shown()));
            output::problem(&ExitProblem::of(exit, &failure));
            if let Some(due) = app.fleet.next_try(&target.entity) {
                output::note(&next_try(target, due));
            }
        }
        Verdict::Cancelled => cancelled(target),
    }
    exit
}

/// The outcome of a deletion.
pub(crate) const DELETED: &str = "deleted";

/// The outcome of a deletion that leaves everything on the host.
pub(crate) const FORGOTTEN: &str = "is forgotten; its host was not touched";

fn reached(app: &App, target: &Target, done: &str) {
    let shown = target.shown();
    let done = match done {
        DELETED if target.is_vsi() && app.fleet.is_forgotten(&target.entity) => FORGOTTEN,
        other => other,
    };
    if !done.is_empty() {
        output::line(&format!("{shown} {done}"));
    } else if target.is_pool() || target.is_group() {
        output::line(&format!("{shown} is Available"));
    } else if !target.is_disk() {
        let phase = app.fleet.phase(&target.entity);
        output::line(&format!("{shown} is {phase}"));
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

fn timed_out(app: &App, target: &Target, wait: &WaitArgs) {
    let (shown, word) = (target.shown(), target.word());
    let after = wait
        .timeout
        .map(|t| humantime::format_duration(t).to_string())
        .unwrap_or_default();
    output::note(&format!(
        "{shown}: not decided after {after}; run `vsiflow resume {word}` to continue"
    ));
    let failure = match app.fleet.verdict(&target.entity) {
        Some(Verdict::Failed(failure)) => Some(failure),
        _ => app.fleet.obstacle(&target.entity),
    };
    if let Some(failure) = failure {
        output::problem(&ExitProblem::of(Exit::TimedOut, &failure));
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
