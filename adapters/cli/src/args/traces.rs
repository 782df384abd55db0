//! Arguments of `traces`.

use clap::{Args, Subcommand};
use vsiflow_otlp::CollectorAddress;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TracesCommand {
    /// Send the runs of the past to a collector of OpenTelemetry
    #[command(
        after_help = "Example:\n  vsiflow traces export --since 24h --endpoint http://collector.lab.test:4318"
    )]
    Export(TracesExportArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TracesExportArgs {
    /// The collector, by OTLP over HTTP with protobuf, such as `http://127.0.0.1:4318`.
    #[arg(long, value_name = "URL", env = "VSIFLOW_OTLP_ENDPOINT")]
    pub(crate) endpoint: CollectorAddress,
    /// Send what ended within this time, such as `24h` [default: everything].
    #[arg(long, value_name = "DURATION", value_parser = super::duration, conflicts_with = "from_offset")]
    pub(crate) since: Option<std::time::Duration>,
    /// Send what ended from this offset of the journal on.
    #[arg(long, value_name = "OFFSET")]
    pub(crate) from_offset: Option<u64>,
}
