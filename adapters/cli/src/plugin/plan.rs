//! Plans: of a change that waits for approval, from the status; of files, from the process that
//! would apply them.

use serde_json::{Value, json};
use vsiflow_kube::{crd::ProposedChange, plugin::VsiResource};

use super::{
    access::{ClusterAccess, problem},
    args::{PluginPlanArgs, PluginPowerArgs},
    ask, power,
};
use crate::{
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
};

/// Exits as `vsiflow plan` does: 0 if nothing would change, 1 if something would, 4 if something
/// cannot be changed.
pub(super) async fn run(there: &ClusterAccess<'_>, args: PluginPlanArgs) -> CommandOutcome {
    if !args.files.is_empty() {
        return ask::plan(there, args).await;
    }
    let mut vsis = Vec::new();
    for name in &args.names {
        vsis.push(there.cluster.vsi(name).await.map_err(problem)?);
    }
    match args.output {
        Some(format) => {
            let items: Vec<_> = vsis.iter().map(item).collect();
            output::print(&output::list(&items), format)?;
        }
        None => vsis.iter().for_each(show),
    }
    Ok(vsis.iter().map(exit).max().unwrap_or(Exit::Done))
}

/// Shows each change, then approves exactly that one, not a later one that replaces it.
pub(super) async fn approve(there: &ClusterAccess<'_>, args: PluginPowerArgs) -> CommandOutcome {
    let mut waiting = Vec::new();
    for name in &args.names {
        let vsi = there.cluster.vsi(name).await.map_err(problem)?;
        let id = proposal(&vsi)?.id.clone();
        if args.output.is_none() {
            show(&vsi);
        }
        waiting.push((vsi, id));
    }
    let mut approved = Vec::new();
    for (vsi, id) in waiting {
        let after = there.cluster.approve(&vsi, &id).await;
        approved.push((vsi, after.map_err(problem)?));
    }
    let outcome = ("is approved", power::PowerField::Annotation);
    power::finish(there, approved, &args, outcome).await
}

fn proposal(vsi: &VsiResource) -> Result<&ProposedChange, ExitProblem> {
    vsi.status.proposal.as_ref().ok_or_else(|| {
        ExitProblem::new(
            Exit::Blocked,
            "VSI0704",
            format!("no change of {} waits for approval", vsi.label()),
            "change its resource; `kubectl vsi plan -f FILE` shows what that would do",
        )
    })
}

fn show(vsi: &VsiResource) {
    match &vsi.status.proposal {
        Some(waiting) => {
            output::line(&format!(
                "{} waits with the change {}:",
                vsi.label(),
                waiting.id
            ));
            output::plan::changes(&waiting.plan);
        }
        None => output::line(&format!("{}: no change waits for approval", vsi.label())),
    }
}

fn item(vsi: &VsiResource) -> Value {
    let plan = vsi.status.proposal.as_ref().map(|waiting| &waiting.plan);
    let plan = plan.cloned().unwrap_or_default();
    json!({
        "kind": "vsi",
        "metadata": {"name": vsi.name, "namespace": vsi.namespace},
        "action": plan.how().map_or_else(|| json!("none"), |how| json!(how)),
        "changes": plan.changes,
        "destroys": plan.destroys,
        "keeps": plan.keeps,
        "awaitsApproval": vsi.status.proposal.is_some(),
        "id": vsi.status.proposal.as_ref().map(|waiting| &waiting.id),
    })
}

fn exit(vsi: &VsiResource) -> Exit {
    match &vsi.status.proposal {
        Some(waiting) if waiting.plan.refused().next().is_some() => Exit::Blocked,
        Some(_) => Exit::Failed,
        None => Exit::Done,
    }
}
