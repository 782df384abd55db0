//! The reports that journal 0 requests from the other journals.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::timeout;
use vsiflow_api::SentDocuments;
use vsiflow_workflows::fleet::{ObjectUsage, ReportQuestions};

use crate::{
    exit::ExitProblem,
    shards::{
        DECIDES,
        ask::{self, CommandPart, ForwardedCommand, ReportAnswer},
        journal_holder::JournalHolder,
        remote_problem,
    },
};

/// How long a holder may take to begin a report.
const BEGIN: Duration = Duration::from_secs(10);
/// How long a report may take.
const REPORT: Duration = Duration::from_secs(60);

/// Asks a journal for a report on the objects of documents.
pub(super) async fn ask(
    holder: &JournalHolder,
    journal: u16,
    questions: &ReportQuestions,
    documents: Option<&SentDocuments>,
) -> Result<ReportAnswer, ExitProblem> {
    let (set, sealer) = (holder.shard.set(), &holder.sealer);
    let sent = documents.map(|documents| Box::new(documents.clone()));
    let part = CommandPart::Report(Box::new(questions.clone()), sent);
    let command = ForwardedCommand::of_engine(part);
    let id = ask::id();
    let request = (id.as_str(), journal);
    ask::send(set, sealer, request, &command, true, Some(&holder.held)).await?;
    let answer = timeout(REPORT, ask::answer(set, sealer, request, BEGIN)).await;
    if set.withdraw(&id).await.is_err() {
        tracing::debug!("a report is forgotten later");
    }
    answer.unwrap_or_else(|_| Err(remote_problem::silent(journal, REPORT)))
}

/// What objects use in these namespaces, in all journals except journal 0.
///
/// # Errors
/// When a journal does not report.
pub(in crate::shards) async fn used_elsewhere(
    holder: &JournalHolder,
    namespaces: &BTreeSet<String>,
) -> Result<Vec<ObjectUsage>, ExitProblem> {
    let questions = ReportQuestions {
        namespaces: namespaces.clone(),
        ..ReportQuestions::default()
    };
    let others = (0..holder.shard.set().journals()).filter(|journal| *journal != DECIDES);
    let reports = others.map(|journal| ask(holder, journal, &questions, None));
    let mut taken = Vec::new();
    for answered in futures::future::try_join_all(reports).await? {
        taken.extend(answered.outcome.map_err(|outcome| outcome.problem())?.taken);
    }
    Ok(taken)
}
