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

use serde::de::DeserializeOwned;
use vsiflow_workflows::{fleet::put_hosts, spec::Resolved};

pub(super) use self::{attempt::Choice, reports::used_elsewhere};
use super::{
    DECIDES,
    ask::{self, CommandAnswer, CommandPart, ForwardedCommand},
    front::documents::read,
    journal_holder::JournalHolder,
    local_documents, networks,
    remote_problem::unreadable,
    report, snapshots,
};
use crate::{
    actor,
    args::{Cli, CliCommand},
    compose::database,
    exit::{Exit, ExitProblem},
    output,
};

/// Chooses hosts for documents, and has every journal that they concern do its part.
///
/// # Errors
/// VSI0763; VSI0737 and similar codes, in which case nothing was handed over.
pub(super) async fn decide(
    holder: &Arc<JournalHolder>,
    id: &str,
    command: &ForwardedCommand,
    cli: &Cli,
) -> Result<Exit, ExitProblem> {
    let sources = report::sources(&cli.command).ok_or_else(unreadable)?;
    let mut resolved = Box::pin(read(&cli.common, &sources)).await?;
    local_documents::refuse_shared(&resolved)?;
    let records = matches!(&cli.command, CliCommand::Apply(args) if !args.dry_run);
    if records && !resolved.quotas.is_empty() {
        note_limits(holder, &resolved).await?;
    }
    let choice = Choice {
        holder,
        id,
        command,
        by: actor::by(&cli.common.reason),
        resolved: &resolved,
        records,
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
    let command = ForwardedCommand {
        part: CommandPart::HandedOver(chosen),
        ..command.clone()
    };
    let handed = Box::pin(hand_over_to(holder, id, journals, &command)).await;
    if !makes_members || handed != Exit::Done {
        return Ok(handed);
    }
    // A pool or a group makes members as soon as it is recorded, so their journals must know the hosts
    // before.
    let last = Box::pin(hand_over_to(
        holder,
        id,
        BTreeSet::from([DECIDES]),
        &command,
    ))
    .await;
    Ok(handed.max(last))
}

/// Has these journals do their parts, and prints their output.
async fn hand_over_to(
    holder: &JournalHolder,
    id: &str,
    journals: BTreeSet<u16>,
    command: &ForwardedCommand,
) -> Exit {
    let handing = journals
        .into_iter()
        .map(|journal| hand_over::<CommandAnswer>(holder, id, journal, command));
    let all = futures::future::join_all(handing).await;
    let all = all.into_iter();
    output::worst(all.map(|answered| answered.and_then(|answer| answer.print())))
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
    ask::send(set, sealer, request, command, true, Some(&holder.held)).await?;
    ask::answer(set, sealer, request, ask::TIMEOUT).await
}
