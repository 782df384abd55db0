//! `openapi`: what can be asked of the daemon by HTTP.

use super::CommandOutcome;
use crate::{args::OutputFormat, exit::Exit, output};

pub(super) fn run() -> CommandOutcome {
    output::print(vsiflow_api::document(), OutputFormat::Json)?;
    Ok(Exit::Done)
}
