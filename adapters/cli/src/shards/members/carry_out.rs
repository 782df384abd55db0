//! Carries out the requests of pools: journal 0 decides and hands over, and each journal concerned does its
//! part.

use std::{collections::BTreeMap, sync::Arc};

use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};
use vsiflow_workflows::{
    fleet::{ErrorKind, MemberDeletion, MembersRequest, put_hosts},
    spec::{DesiredDataDisk, Resolved},
};

use super::stored::{GuestsAnswer, MembersAnswer, MembersReportAnswer, StoredRequest};
use crate::{
    exit::ExitProblem,
    shards::{
        ask::{self, CommandPart, ForwardedCommand},
        choose::{self, Choice},
        decided,
        failure::failure_of,
        journal_holder::JournalHolder,
        local_documents,
        remote_problem::{RemoteProblem, unreadable},
    },
};

/// Decides over all journals, and has each of them do its part.
pub(in crate::shards) async fn decide(
    holder: &Arc<JournalHolder>,
    id: &str,
    asked_for: &StoredRequest,
) -> MembersAnswer {
    let mut answer = MembersAnswer::default();
    let parts = Box::pin(parts(holder, id, asked_for, &mut answer)).await;
    let handing = parts.into_iter().map(|(journal, part)| async move {
        let command =
            ForwardedCommand::of_engine(CommandPart::MembersHandedOver(StoredRequest::of(part)));
        let handed = choose::hand_over::<MembersAnswer>(holder, id, journal, &command);
        Box::pin(handed).await
    });
    for handed in futures::future::join_all(handing).await {
        match handed {
            Ok(handed) => answer.refused.extend(handed.refused),
            Err(problem) => answer.refused.push(failure_of(&problem)),
        }
    }
    answer
}

/// The part of each journal.
async fn parts(
    holder: &Arc<JournalHolder>,
    id: &str,
    asked_for: &StoredRequest,
    answer: &mut MembersAnswer,
) -> BTreeMap<u16, MembersRequest> {
    let empty = || MembersRequest {
        pool: asked_for.pool.clone(),
        of_shared_cluster: asked_for.of_shared_cluster,
        ..MembersRequest::default()
    };
    let mut parts = BTreeMap::<u16, MembersRequest>::new();
    for (journal, deletions) in &asked_for.delete {
        let part = parts.entry(*journal).or_insert_with(empty);
        part.delete.insert(*journal, deletions.clone());
    }
    let placed = async {
        let resolved = Box::pin(chosen(holder, id, asked_for)).await?;
        let mut apply = BTreeMap::<u16, Resolved>::new();
        for vsi in resolved.vsis {
            let journal = choose::journal_of_host(holder, &vsi.desired.host).await?;
            apply.entry(journal).or_default().vsis.push(vsi);
        }
        for disk in resolved.data_disks {
            let journal = choose::journal_of_host(holder, &disk.host).await?;
            apply.entry(journal).or_default().data_disks.push(disk);
        }
        Ok::<_, ExitProblem>(apply)
    };
    match Box::pin(placed).await {
        Ok(apply) => {
            for (journal, documents) in apply {
                parts.entry(journal).or_insert_with(empty).apply = documents;
            }
        }
        Err(problem) => answer.refused.push(failure_of(&problem)),
    }
    parts
}

/// The members, each with its host.
async fn chosen(
    holder: &Arc<JournalHolder>,
    id: &str,
    asked_for: &StoredRequest,
) -> Result<Resolved, ExitProblem> {
    let mut resolved = asked_for.resolved().map_err(ExitProblem::defect)?;
    if resolved.vsis.is_empty() {
        return Ok(resolved);
    }
    let choice = Choice {
        holder,
        id,
        documents: None,
        by: by(&asked_for.pool),
        resolved: &resolved,
        records: true,
    };
    let chosen = Box::pin(choice.made()).await?;
    put_hosts(&mut resolved, &chosen);
    Ok(resolved)
}

fn by(pool: &str) -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new(format!("the members of pool/{pool}")),
    }
}

/// Does this journal's part. A refusal for one member does not stop the others.
pub(in crate::shards) async fn take_over(
    holder: &JournalHolder,
    handed: &StoredRequest,
) -> MembersAnswer {
    let mut answer = MembersAnswer::default();
    for deletion in handed
        .delete
        .get(&holder.shard.number)
        .into_iter()
        .flatten()
    {
        if let Err(problem) = Box::pin(delete(holder, &handed.pool, deletion)).await {
            answer.refused.push(failure_of(&problem));
        }
    }
    let mut resolved = match handed.resolved() {
        Ok(resolved) => resolved,
        Err(error) => {
            let problem = ExitProblem::defect(error);
            answer.refused.push(failure_of(&problem));
            return answer;
        }
    };
    if handed.of_shared_cluster {
        resolved = permitted(holder, resolved, &mut answer);
    }
    if resolved.vsis.is_empty() && resolved.data_disks.is_empty() {
        return answer;
    }
    let parts: Vec<_> = each(resolved.clone()).collect();
    let all = local_documents::apply(&holder.app, &holder.common, resolved, by(&handed.pool));
    match Box::pin(all).await {
        Ok(_) => {}
        Err(problem) if parts.len() == 1 => answer.refused.push(failure_of(&problem)),
        Err(_) => {
            for one in parts {
                let applied =
                    local_documents::apply(&holder.app, &holder.common, one, by(&handed.pool));
                if let Err(problem) = Box::pin(applied).await {
                    answer.refused.push(failure_of(&problem));
                }
            }
        }
    }
    answer
}

/// The members whose hosts their namespace may use. A disk without its member exists, and is only recorded.
fn permitted(holder: &JournalHolder, resolved: Resolved, answer: &mut MembersAnswer) -> Resolved {
    let mut all = Resolved::default();
    for one in each(resolved) {
        let Some(vsi) = one.vsis.first().map(|vsi| &vsi.desired) else {
            all.data_disks.extend(one.data_disks);
            continue;
        };
        let pool = vsi.member_of.as_ref().map_or("", |of| of.pool.as_str());
        match decided::judge(holder, (&vsi.namespace, pool), &vsi.host) {
            Ok(()) => {
                all.vsis.extend(one.vsis);
                all.data_disks.extend(one.data_disks);
            }
            Err(failure) => answer.refused.push(failure),
        }
    }
    all
}

/// Splits a request into single members, each with its data disks, and the disks of members that it does not have.
fn each(resolved: Resolved) -> impl Iterator<Item = Resolved> {
    let mut disks = resolved.data_disks;
    let mut parts = Vec::new();
    for vsi in resolved.vsis {
        let number = vsi.desired.member_of.as_ref().map(|of| of.number);
        let is_its = |disk: &DesiredDataDisk| {
            let of = disk.member_of.as_ref();
            of.is_some() && of.map(|of| of.number) == number
        };
        let (own, others) = disks.into_iter().partition(is_its);
        disks = others;
        parts.push(Resolved {
            vsis: vec![vsi],
            data_disks: own,
            ..Resolved::default()
        });
    }
    let alone = disks.into_iter().map(|disk| Resolved {
        data_disks: vec![disk],
        ..Resolved::default()
    });
    parts.into_iter().chain(alone)
}

async fn delete(
    holder: &JournalHolder,
    pool: &str,
    deletion: &MemberDeletion,
) -> Result<(), ExitProblem> {
    let (namespace, orphan) = (&deletion.namespace, deletion.orphan);
    // By its UID: another object may have its name by now.
    let uid = deletion.uid.to_string();
    let fleet = &holder.app.fleet;
    let deleted = if deletion.is_disk {
        fleet
            .disks()
            .delete(namespace, &uid, orphan, by(pool))
            .await
    } else {
        Box::pin(fleet.vsis().delete(namespace, &uid, orphan, by(pool))).await
    };
    match deleted {
        Ok(_) => Ok(()),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Asks the guests of this journal's members.
pub(in crate::shards) async fn ask_guests(
    holder: &JournalHolder,
    command: ask::ForwardedCommand,
) -> GuestsAnswer {
    let outcome = match command.part {
        CommandPart::AskGuests(mut questions) => {
            questions.left_alone = holder.is_quiet_for().is_some();
            let answer = holder.app.fleet.groups().ask_guests(&questions);
            Box::pin(answer).await.map_err(ExitProblem::from)
        }
        _ => Err(unreadable()),
    };
    GuestsAnswer::of(outcome)
}

/// Reports this journal's members of a pool.
pub(in crate::shards) async fn report(
    holder: &JournalHolder,
    command: ask::ForwardedCommand,
) -> MembersReportAnswer {
    let outcome = match command.part {
        CommandPart::ReportMembers(mut questions) => {
            questions.left_alone = holder.is_quiet_for().is_some();
            let report = holder.app.fleet.pools().report(&questions);
            Box::pin(report).await.map_err(ExitProblem::from)
        }
        _ => Err(unreadable()),
    };
    MembersReportAnswer {
        outcome: outcome.map_err(|problem| RemoteProblem::of(&problem)),
    }
}
