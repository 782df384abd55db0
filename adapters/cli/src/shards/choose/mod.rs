//! Journal 0 chooses hosts over all journals of a set, admits what their quotas permit, and hands over what
//! it decided (docs/adr/0014-choices-over-journals.md).
//!
//! Guarantees:
//! - **A choice is recorded before anything follows from it.** A hand-over names the request that it was
//!   decided for, so the next holder of journal 0 hands over the same decision, and no new one.
//! - **What is promised is not promised again.** A promise counts until a report says what became of it; that
//!   report must be newer than the answer to the promise's last request. So open requests are read before
//!   reports are asked for.
//! - **A process that lost the lease of journal 0 hands nothing over.** The statement that hands over is
//!   fenced.
//!
//! This module acts on no host, and records only promises and admissions.

mod attempt;
mod reports;

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vsiflow_api::{ForwardedAnswer, JournalPart};
use vsiflow_engine::{executor::By, model::Text};
use vsiflow_workflows::{fleet::put_hosts, spec::Resolved};

pub(super) use self::{attempt::Choice, reports::used_elsewhere};
use super::{
    DECIDES,
    api::ApiAnswer,
    ask::{self, CommandPart, ForwardedCommand, ForwardedDocuments},
    journal_holder::JournalHolder,
    local_documents, networks,
    remote_problem::{RemoteProblem, unknown},
    snapshots,
};
use crate::{compose::database, daemon::api_problem, documents, exit::ExitProblem};

/// The answers of the journals that documents concern, or why nothing was decided.
#[derive(Serialize, Deserialize)]
pub(super) struct DecidedAnswer {
    pub(super) outcome: Result<Vec<JournalPart>, RemoteProblem>,
}

impl DecidedAnswer {
    /// The answer if it is not known what a process that ended has decided.
    pub(super) fn lost() -> Self {
        Self {
            outcome: Err(RemoteProblem::of(&unknown())),
        }
    }
}

/// Chooses hosts for documents, and has every journal that they concern do its part. If nothing was decided, as for VSI0763
/// or VSI0737, nothing was handed over.
pub(super) async fn decide(
    holder: &Arc<JournalHolder>,
    id: &str,
    work: &ForwardedDocuments,
) -> DecidedAnswer {
    let decided = Box::pin(decided(holder, id, work)).await;
    DecidedAnswer {
        outcome: decided.map_err(|problem| RemoteProblem::of(&problem)),
    }
}

async fn decided(
    holder: &Arc<JournalHolder>,
    id: &str,
    work: &ForwardedDocuments,
) -> Result<Vec<JournalPart>, ExitProblem> {
    let named = documents::named_host(&work.documents)?;
    let read = documents::resolved(&work.documents, named, None).await?;
    let mut resolved = read.resolved;
    local_documents::refuse_shared(&resolved)?;
    if work.reason.is_some() && !resolved.quotas.is_empty() {
        note_limits(holder, &resolved).await?;
    }
    let choice = Choice {
        holder,
        id,
        documents: Some(&work.documents),
        by: By {
            actor: work.request.actor.clone(),
            reason: Text::new(work.reason.as_deref().unwrap_or_default()),
        },
        resolved: &resolved,
        records: work.reason.is_some(),
    };
    let chosen = Box::pin(choice.made()).await?;
    put_hosts(&mut resolved, &chosen);
    let mut journals = BTreeSet::new();
    for host in local_documents::hosts(&resolved) {
        journals.insert(journal_of_host(holder, &host).await?);
    }
    let of_snapshots = snapshots::homes(holder.shard.set(), &resolved).await?;
    journals.extend(of_snapshots.into_iter().flatten());
    let of_networks = local_documents::networks(&resolved);
    let place = &holder.shard.place;
    let of_networks = networks::journals_of(place, &holder.common, &of_networks, false).await?;
    journals.extend(of_networks.into_iter().flatten());
    let makes_members = local_documents::makes_members(&resolved);
    if makes_members {
        journals.remove(&DECIDES);
    } else if !resolved.quotas.is_empty() || !resolved.types.is_empty() {
        journals.insert(DECIDES);
    }
    let part = CommandPart::HandedOver(chosen, work.request.clone());
    let command = ForwardedCommand {
        actor: work.request.actor.clone(),
        ..ForwardedCommand::of_engine(part)
    };
    let mut parts = Box::pin(parts_of(holder, id, journals, &command)).await;
    // A pool or a group makes members as soon as it is recorded, so their journals must know the hosts
    // before.
    if makes_members && parts.iter().all(is_done) {
        let of_journal_0 = parts_of(holder, id, BTreeSet::from([DECIDES]), &command);
        parts.extend(Box::pin(of_journal_0).await);
    }
    Ok(parts)
}

fn is_done(part: &JournalPart) -> bool {
    part.answer.as_ref().is_ok_and(ForwardedAnswer::is_success)
}

/// Has these journals do their parts.
async fn parts_of(
    holder: &JournalHolder,
    id: &str,
    journals: BTreeSet<u16>,
    command: &ForwardedCommand,
) -> Vec<JournalPart> {
    let handing = journals.into_iter().map(|journal| async move {
        let answer = hand_over::<ApiAnswer>(holder, id, journal, command).await;
        let answer = answer.and_then(ApiAnswer::into_answer);
        JournalPart {
            journal,
            answer: answer.map_err(|problem| api_problem(&problem)),
        }
    });
    futures::future::join_all(handing).await
}

/// Records that nothing may use these namespaces any more without journal 0, because they get a
/// quota.
pub(super) async fn note_limits(
    holder: &JournalHolder,
    resolved: &Resolved,
) -> Result<(), ExitProblem> {
    let namespaces = resolved.quotas.iter().map(|quota| quota.namespace.clone());
    let noted = holder.shard.set();
    let noted = noted.note_limits(&holder.held, &namespaces.collect()).await;
    if noted.map_err(database::problem)? {
        return Ok(());
    }
    Err(ExitProblem::defect("the lease of journal 0 is past"))
}

/// The ID of the request that hands a decision over to a journal.
fn hand_over_id(decision: &str, journal: u16) -> String {
    format!("{decision}-{journal}")
}

/// Deletes the answers to the hand-overs of an answered decision.
pub(super) async fn forget(holder: &JournalHolder, decision: &str) {
    let set = holder.shard.set();
    let all = 0..set.journals();
    let all: Vec<_> = all.map(|journal| hand_over_id(decision, journal)).collect();
    if set.forget(&all).await.is_err() {
        tracing::debug!("answers are forgotten later");
    }
}

pub(super) async fn journal_of_host(
    holder: &JournalHolder,
    host: &str,
) -> Result<u16, ExitProblem> {
    let journal = holder.shard.set().assign(host).await;
    journal.map_err(database::problem)
}

/// Has a journal do its part of a decision.
pub(super) async fn hand_over<A: DeserializeOwned>(
    holder: &JournalHolder,
    decision: &str,
    journal: u16,
    command: &ForwardedCommand,
) -> Result<A, ExitProblem> {
    let (set, sealer) = (holder.shard.set(), &holder.sealer);
    let id = hand_over_id(decision, journal);
    let request = (id.as_str(), journal);
    let repeatable = match &command.part {
        CommandPart::HandedOver(_, part) => part.is_repeatable,
        _ => true,
    };
    let by = Some(&*holder.held);
    ask::send(set, sealer, request, command, repeatable, by).await?;
    ask::answer(set, sealer, request, ask::TIMEOUT).await
}
