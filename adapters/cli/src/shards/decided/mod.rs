//! Custom resources that journal 0 decides about, because their host is chosen over all journals or their
//! namespace has a quota (docs/adr/0017-custom-resources-over-journals.md). Journal 0 decides, hands over to
//! the journal of the host, and that journal's operator records the resource.
//!
//! After a crash the next holder begins an unfinished request again. The operator recognises by the UID what
//! it recorded before, and records nothing twice.

pub(super) mod stored;
pub(super) mod waiting;

use std::sync::Arc;

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{Actor, Failure, Text},
};
use vsiflow_workflows::{
    fleet::{ChosenHost, MembersRequest, usage_of},
    spec::Resolved,
};

use self::{stored::DecidedResource, waiting::not_recorded};
use super::{
    ask::{CommandPart, ForwardedCommand},
    choose::{self, Choice},
    failure::failure_of,
    journal_holder::JournalHolder,
    members::stored::{MembersAnswer, StoredRequest},
};
use crate::exit::ExitProblem;

/// The request to journal 0 for a resource.
pub(super) fn question(uid: Uuid, apply: Resolved) -> CommandPart {
    let ask = MembersRequest {
        apply,
        ..MembersRequest::default()
    };
    CommandPart::DecideResource(uid, StoredRequest::of(ask))
}

/// Chooses a host if the resource names none, admits what quotas permit, and has the operator of the host's
/// journal record the resource.
pub(super) async fn decide(
    holder: &Arc<JournalHolder>,
    id: &str,
    (uid, asked_for): (Uuid, &StoredRequest),
) -> MembersAnswer {
    match Box::pin(decided(holder, id, uid, asked_for)).await {
        Ok(answer) => answer,
        Err(problem) => MembersAnswer {
            refused: vec![failure_of(&problem)],
        },
    }
}

async fn decided(
    holder: &Arc<JournalHolder>,
    id: &str,
    uid: Uuid,
    asked_for: &StoredRequest,
) -> Result<MembersAnswer, ExitProblem> {
    let resolved = asked_for.resolved().map_err(ExitProblem::defect)?;
    let by = By {
        actor: Actor::Engine,
        reason: Text::new("a custom resource asks for it"),
    };
    let choice = Choice {
        holder,
        id,
        documents: None,
        by,
        resolved: &resolved,
        records: true,
    };
    let chosen = Box::pin(choice.made()).await?.into_iter().next();
    let chosen = chosen.or_else(|| host_of(&resolved));
    let host = chosen.ok_or_else(|| ExitProblem::defect("no host was chosen"))?;
    let journal = choose::journal_of_host(holder, &host.host).await?;
    let part = ForwardedCommand::of_engine(CommandPart::ResourceDecided(DecidedResource {
        uid,
        host,
        admitted: usage_of(&resolved),
    }));
    Box::pin(choose::hand_over(holder, id, journal, &part)).await
}

/// The host that the resource itself names.
fn host_of(resolved: &Resolved) -> Option<ChosenHost> {
    let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
    let vsis = vsis.map(|vsi| (&vsi.namespace, &vsi.name, &vsi.host));
    let disks = resolved.data_disks.iter();
    let disks = disks.map(|disk| (&disk.namespace, &disk.name, &disk.host));
    let (namespace, name, host) = vsis.chain(disks).next()?;
    Some(ChosenHost {
        namespace: namespace.clone(),
        name: name.clone(),
        host: host.clone(),
        decision: None,
    })
}

/// Whether members of a pool of the cluster may be on a host of this journal.
///
/// # Errors
/// As [`PoolPermits::judge`](vsiflow_kube::share::PoolPermits::judge), and when this process serves no
/// cluster.
pub(super) fn judge(holder: &JournalHolder, pool: (&str, &str), host: &str) -> Result<(), Failure> {
    match &holder.decided {
        Some(operator) => operator.judge(pool, host),
        None => Err(no_cluster()),
    }
}

fn no_cluster() -> Failure {
    not_recorded("this process of the set serves no cluster: start all of them with --kube")
}

/// Has the operator of this journal record a decision about a resource on one of its hosts.
pub(super) async fn take_over(holder: &JournalHolder, decided: &DecidedResource) -> MembersAnswer {
    let refused = match &holder.decided {
        Some(waiting) => waiting.recorded(decided.clone()).await,
        None => Err(no_cluster()),
    };
    MembersAnswer {
        refused: refused.err().into_iter().collect(),
    }
}
