//! Questions before something is done that cannot be undone.

use std::io::{BufRead as _, IsTerminal as _};

use crate::{
    exit::ExitProblem,
    output::{self, sink},
};

/// Whether somebody at a terminal can be asked.
pub(crate) fn is_somebody_there() -> bool {
    let there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    there && !sink::is_for_caller()
}

/// Asks where somebody is there to answer; where nobody is, nobody agreed.
pub(crate) fn is_agreed(question: &str) -> Result<bool, ExitProblem> {
    if !is_somebody_there() {
        return Ok(false);
    }
    output::note(&format!("{question} [y/N]"));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_err(ExitProblem::defect)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
