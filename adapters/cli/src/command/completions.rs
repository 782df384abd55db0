//! `completions`: prints a completion script for a shell.

use crate::{
    complete,
    exit::{CommandOutcome, Exit, ExitProblem},
};

pub(super) fn run(shell: clap_complete::Shell) -> CommandOutcome {
    let script = complete::script(&shell.to_string());
    let script = script.ok_or_else(|| ExitProblem::defect("a shell without a script"))?;
    crate::output::raw(&script)?;
    Ok(Exit::Done)
}
