//! What a journal says of its hosts and objects, for journal 0 to choose by. It records nothing but what is news of its
//! own hosts, and an answer is never older than its question.

use std::sync::Arc;

use vsiflow_workflows::{
    fleet::{JournalReport, ReportQuestions},
    spec::Resolved,
};

use super::{
    ask::{CommandPart, ForwardedCommand, RemoteProblem, ReportAnswer, unreadable},
    front,
    journal_holder::JournalHolder,
};
use crate::{
    args::{Cli, CliCommand, Sources},
    daemon,
    exit::ExitProblem,
    output::sink,
    work,
};

/// Answers the question of journal 0.
pub(super) async fn report(holder: &JournalHolder, command: ForwardedCommand) -> ReportAnswer {
    let quiet = holder.is_quiet_for();
    let saying = async {
        let ForwardedCommand { request, part, .. } = command;
        // What is asked for pools has no documents with hosts.
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
    // What documents may be warned of is said where they are applied.
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
            front::read(&cli.common, &sources).await?
        }
        None => Resolved::default(),
    };
    let placements = holder.app.fleet.placements();
    // While a host is looked at by other settings than are recorded, nothing is recorded of it.
    let _turn = if placements.replaces_settings(&resolved, &questions.hosts) {
        Some(holder.shard.turn.lock().await)
    } else {
        None
    };
    Ok(Box::pin(placements.report(&resolved, questions)).await?)
}

/// The documents of a command that has some.
pub(super) fn sources(command: &CliCommand) -> Option<Sources> {
    match command {
        CliCommand::Apply(args) => Some(args.sources.clone()),
        CliCommand::Plan(args) => Some(args.sources.clone()),
        CliCommand::Diff(args) => Some(Sources::of(&args.files)),
        _ => None,
    }
}
