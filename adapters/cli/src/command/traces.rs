//! Runs as OpenTelemetry traces: those of the past.

use vsiflow_otlp::follow::{self, ExportError, ExportedSpans};

use crate::{
    args::{Common, TracesCommand, TracesExportArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    serving::traces::{before, collector, untaken},
};

pub(super) async fn run(common: &Common, command: TracesCommand) -> CommandOutcome {
    let TracesCommand::Export(args) = command;
    let app = App::open(common).await?;
    let exported = export(&app, &args).await;
    app.close().await;
    let ExportedSpans {
        spans,
        rejected,
        end,
    } = exported?;
    if rejected > 0 {
        output::warning(&format!("the collector rejected {rejected} of them"));
    }
    output::line(&format!(
        "{spans} spans of the events before offset {end} sent to {}",
        args.endpoint
    ));
    Ok(Exit::Done)
}

async fn export(app: &App, args: &TracesExportArgs) -> Result<ExportedSpans, ExitProblem> {
    let from = match (args.from_offset, args.since) {
        (Some(from), _) => from,
        (None, Some(since)) => before(&app.fleet, since).await?,
        (None, None) => 0,
    };
    let collector = collector(app, &args.endpoint)?;
    let exported = follow::past(&app.fleet, &collector, from).await;
    exported.map_err(|why| match why {
        ExportError::Fleet(why) => why.into(),
        ExportError::Collector(why) => untaken(&why),
    })
}
