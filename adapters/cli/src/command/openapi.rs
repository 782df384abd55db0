//! `openapi`: prints the description of the daemon's HTTP API.

use crate::{
    args::OutputFormat,
    exit::{CommandOutcome, Exit},
    output,
};

pub(super) fn run() -> CommandOutcome {
    output::print(vsiflow_api::document(), OutputFormat::Json)?;
    Ok(Exit::Done)
}
