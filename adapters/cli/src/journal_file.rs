//! The errors of journals that are exported to files or built from them.

use std::path::Path;

use vsiflow_api::Problem;
use vsiflow_engine::{
    audit::{AuditError, Omissions, Violation},
    journal::{DamageWords, MissingCause},
    state_dir::StateDirError,
};

use crate::{
    exit::{Exit, ExitProblem},
    output,
};

/// How many ranges or blobs a warning names.
const NAMED: usize = 3;

/// Checks that there is a state directory.
pub(crate) fn there(path: &Path) -> Result<(), ExitProblem> {
    if path.join("FORMAT").is_file() {
        return Ok(());
    }
    let message = format!("there is no state directory at {}", path.display());
    let remedy = "name the state directory with --state or $VSIFLOW_STATE";
    Err(ExitProblem::new(Exit::NotFound, "VSI0907", message, remedy))
}

/// Warns about events that a copy lacks because the journal lacks them. Events that were removed on purpose
/// with their archive are not reported.
pub(crate) fn warn_of(lacks: &Omissions) {
    let lost = lacks.missing.iter();
    let lost = lost.filter(|range| range.cause != MissingCause::Removed);
    let lost = lost.map(|range| format!("{range} (lost)"));
    let blobs = lacks
        .blobs
        .iter()
        .map(|hash| format!("payload {hash} (lost)"));
    let odd = lacks.undecodable.iter();
    let odd = odd.map(|offset| format!("what offset {offset} says (it cannot be decoded)"));
    let all: Vec<_> = lost.chain(blobs).chain(odd).collect();
    if all.is_empty() {
        return;
    }
    let more = match all.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<_> = all.into_iter().take(NAMED).collect();
    output::warning(&format!(
        "it lacks what the journal lacks: {}{more}; `vsiflow audit verify` names all",
        named.join(", ")
    ));
}

/// A violation as an error.
fn of_violation(violation: &Violation) -> ExitProblem {
    ExitProblem {
        exit: Exit::Failed,
        ..Problem::of_violation(violation).into()
    }
}

/// The error of a failed audit.
pub(crate) fn of_error(error: &AuditError) -> ExitProblem {
    match error {
        AuditError::Violation(violation) => of_violation(violation),
        AuditError::State(state) => ExitProblem::from(state.clone()),
        AuditError::Journal(journal) => match journal.damage() {
            Some(DamageWords { place, why }) => {
                let mut problem = ExitProblem::new(Exit::Failed, error.code(), why, error.remedy());
                problem.object = place;
                problem
            }
            None => plain_error(error),
        },
        other => plain_error(other),
    }
}

fn plain_error(error: &AuditError) -> ExitProblem {
    let (code, remedy) = (error.code(), error.remedy());
    ExitProblem::new(Exit::Failed, code, error.to_string(), remedy)
}

/// The same error, for a new state directory.
pub(crate) fn of_new_folder(error: &AuditError) -> ExitProblem {
    let mut problem = of_error(error);
    if matches!(error, AuditError::State(StateDirError::Damaged { .. })) {
        problem.remedy = "name an empty or new folder with --state".to_owned();
    }
    problem
}
