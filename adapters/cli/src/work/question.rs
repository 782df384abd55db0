//! Questions to the user before something that cannot be undone.

use std::io::{BufRead as _, IsTerminal as _};

use crate::{
    exit::ExitProblem,
    output::{self, sink},
};

/// Whether there is a user at a terminal to ask.
fn is_somebody_there() -> bool {
    let there = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    there && !sink::is_for_caller()
}

/// Asks the user; without a terminal the answer is no.
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
