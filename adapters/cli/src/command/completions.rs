//! `completions`: a script for a shell.

use clap::CommandFactory as _;

use super::CommandOutcome;
use crate::{args::Cli, exit::Exit};

pub(super) fn run(shell: clap_complete::Shell) -> CommandOutcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vsiflow", &mut script);
    crate::output::raw(&script)?;
    Ok(Exit::Done)
}
