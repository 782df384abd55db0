//! Custom resources whose host is chosen over all journals (docs/adr/0017-custom-resources-over-journals.md): decided in
//! journal 0, handed over to the journal of the host, and recorded there by its operator.
//!
//! What a crash leaves: a request that was begun is begun anew by the next holder. The operator knows by the UID what it
//! recorded before, and records nothing twice.

pub(super) mod stored;
pub(super) mod waiting;

use std::sync::Arc;

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};
use vsiflow_workflows::{fleet::MembersAsk, spec::Resolved};

use self::{stored::PlacedResource, waiting::not_recorded};
use super::{
    ask::{CommandAsked, CommandPart},
    choose::{self, Choice},
    failure::failure_of,
    held::JournalHolder,
    members::stored::{MembersAnswer, StoredAsk},
};
use crate::exit::ExitProblem;

/// What is asked of journal 0 for a resource.
pub(super) fn question(uid: Uuid, apply: Resolved) -> CommandPart {
    let ask = MembersAsk {
        apply,
        ..MembersAsk::default()
    };
    CommandPart::DecideResource(uid, StoredAsk::of(ask))
}

/// Chooses a host, and has the operator of its journal record the VSI.
pub(super) async fn decide(
    holder: &Arc<JournalHolder>,
    id: &str,
    (uid, asked_for): (Uuid, &StoredAsk),
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
    asked_for: &StoredAsk,
) -> Result<MembersAnswer, ExitProblem> {
    let resolved = asked_for.resolved().map_err(ExitProblem::defect)?;
    let question = CommandAsked::of_engine(CommandPart::Own);
    let by = By {
        actor: Actor::Engine,
        reason: Text::new("a host for a custom resource"),
    };
    let choice = Choice {
        holder,
        id,
        asked: &question,
        by,
        resolved: &resolved,
        records: true,
    };
    let chosen = Box::pin(choice.made()).await?.into_iter().next();
    let chosen = chosen.ok_or_else(|| ExitProblem::defect("no host was chosen"))?;
    let journal = choose::journal_of_host(holder, &chosen.host).await?;
    let part = CommandAsked::of_engine(CommandPart::ResourcePlaced(PlacedResource { uid, chosen }));
    Box::pin(choose::hand_over(holder, id, journal, &part)).await
}

/// Has the operator of this journal record what was placed on one of its hosts.
pub(super) async fn take_over(holder: &JournalHolder, placed: &PlacedResource) -> MembersAnswer {
    let refused = match &holder.placed {
        Some(placements) => placements.recorded(placed.uid, placed.chosen.clone()).await,
        None => Err(not_recorded(
            "this process of the set serves no cluster: start all of them with --kube",
        )),
    };
    MembersAnswer {
        refused: refused.err().into_iter().collect(),
    }
}
