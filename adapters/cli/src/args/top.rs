//! Arguments of `top`.

use clap::Args;

use super::OutputFormat;

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct TopArgs {
    /// Print the current state once, as an object, and exit; no terminal is needed.
    #[arg(long)]
    pub(crate) once: bool,
    /// With --once: count the steps that ended since this offset of the journal.
    #[arg(long, value_name = "OFFSET", requires = "once")]
    pub(crate) from_offset: Option<u64>,
    /// With --once: the output format, `json` (default) or `yaml`.
    #[arg(short, long, value_enum, requires = "once")]
    pub(crate) output: Option<OutputFormat>,
}
