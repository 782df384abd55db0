//! What a journal reports of its hosts and objects, for journal 0 to choose from. It records only news about
//! its own hosts, and an answer is never older than its question.

use vsiflow_api::SentDocuments;
use vsiflow_workflows::{
    fleet::{JournalReport, ReportQuestions},
    spec::Resolved,
};

use super::{ask::ReportAnswer, journal_holder::JournalHolder, remote_problem::RemoteProblem};
use crate::{documents, exit::ExitProblem};

/// Answers a report request of journal 0. Without documents it is for pools, or for a custom resource.
pub(super) async fn report(
    holder: &JournalHolder,
    mut questions: ReportQuestions,
    documents: Option<&SentDocuments>,
) -> ReportAnswer {
    let quiet = holder.is_quiet_for();
    questions.left_alone = quiet.map(|left| {
        let left = left.as_secs().saturating_add(1);
        format!("it is left alone for {left} s more, after the death of a process")
    });
    let outcome = Box::pin(report_of(holder, &questions, documents)).await;
    ReportAnswer {
        outcome: outcome.map_err(|problem| RemoteProblem::of(&problem)),
        is_quiet: quiet.is_some(),
    }
}

async fn report_of(
    holder: &JournalHolder,
    questions: &ReportQuestions,
    documents: Option<&SentDocuments>,
) -> Result<JournalReport, ExitProblem> {
    let resolved = match documents {
        Some(sent) => {
            let host = documents::named_host(sent)?;
            // Warnings about documents are reported where all of them are read.
            documents::resolved(sent, host, None).await?.resolved
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
