//! `man`: manual pages, made from the `--help` texts. Does not read a state directory.

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::{
    args::Cli,
    exit::{CommandOutcome, Exit, ExitProblem},
    user_file::unwritable,
    work::off_runtime,
};

/// Prints the page of `vsiflow`, or writes a page for each command into a folder.
pub(super) async fn run(folder: Option<PathBuf>) -> CommandOutcome {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        let page_of_all = clap_mangen::Man::new(Cli::command());
        page_of_all.render(&mut page).map_err(ExitProblem::defect)?;
        crate::output::raw(&page)?;
        return Ok(Exit::Done);
    };
    let into = folder.clone();
    let written = off_runtime(move || write(&into)).await?;
    written.map_err(|error| unwritable(&folder, &error))?;
    Ok(Exit::Done)
}

fn write(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}
