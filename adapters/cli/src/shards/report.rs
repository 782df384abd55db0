//! What a journal reports of its hosts and objects, for journal 0 to choose from. It records only news about
//! its own hosts, and an answer is never older than its question.

use std::sync::Arc;

use vsiflow_workflows::{
    fleet::{JournalReport, ReportQuestions},
    spec::Resolved,
};

use super::{
    ask::{CommandPart, ForwardedCommand, ReportAnswer},
    front::documents::read,
    journal_holder::JournalHolder,
    remote_problem::{RemoteProblem, unreadable},
};
use crate::{
    args::{Cli, CliCommand, Sources},
    daemon,
    exit::ExitProblem,
    output::sink,
    work,
};

/// Answers a report request of journal 0.
pub(super) async fn report(holder: &JournalHolder, command: ForwardedCommand) -> ReportAnswer {
    let quiet = holder.is_quiet_for();
    let saying = async {
        let ForwardedCommand { request, part, .. } = command;
        // A request for pools has no documents with hosts.
        let arguments = (!request.args.is_empty()).then_some(&request.args);
        let cli = arguments.map(|args| daemon::command_line(args).ok_or_else(unreadable));
        let cli = cli.transpose()?;
        let CommandPart::Report(mut questions) = part else {
            return Err(unreadable());
        };
        questions.left_alone = quiet.map(|left| {
            let left = left.as_secs().saturating_add(1);
            format!("it is left alone for {left} s more, after the death of a process")
        });
        let saying = work::with_files(
            daemon::documents_of(request),
            report_of(holder, cli.as_ref(), &questions),
        );
        Box::pin(holder.app.for_others().lend(saying)).await
    };
    // Warnings about documents are reported by the journal that applies them.
    let outcome = Box::pin(sink::with(Arc::default(), saying)).await;
    ReportAnswer {
        outcome: outcome.map_err(|problem| RemoteProblem::of(&problem)),
        is_quiet: quiet.is_some(),
    }
}

async fn report_of(
    holder: &JournalHolder,
    cli: Option<&Cli>,
    questions: &ReportQuestions,
) -> Result<JournalReport, ExitProblem> {
    let resolved = match cli {
        Some(cli) => {
            let sources = sources(&cli.command).ok_or_else(unreadable)?;
            read(&cli.common, &sources).await?
        }
        None => Resolved::default(),
    };
    let placements = holder.app.fleet.placements();
    // If a host is looked at with settings that differ from the recorded ones, nothing else may be
    // recorded of it.
    let _turn = if placements.replaces_settings(&resolved, &questions.hosts) {
        Some(holder.shard.turn.lock().await)
    } else {
        None
    };
    Ok(Box::pin(placements.report(&resolved, questions)).await?)
}

/// The documents of a command, if it has any.
pub(super) fn sources(command: &CliCommand) -> Option<Sources> {
    match command {
        CliCommand::Apply(args) => Some(args.sources.clone()),
        CliCommand::Plan(args) => Some(args.sources.clone()),
        CliCommand::Diff(args) => Some(Sources::of(&args.files)),
        _ => None,
    }
}
