//! `openapi`: what can be asked of the daemon by HTTP.

use crate::{
    args::OutputFormat,
    exit::{CommandOutcome, Exit},
    output,
};

pub(super) fn run() -> CommandOutcome {
    output::print(vsiflow_api::document(), OutputFormat::Json)?;
    Ok(Exit::Done)
}
