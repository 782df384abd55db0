//! `apply --prune`: deletes what was applied from a directory and has no document there any more.

use std::time::{Duration, Instant};

use vsiflow_api::{DeleteRequest, DeletionTarget};
use vsiflow_engine::model::Failure;
use vsiflow_workflows::{fleet::LeftOut, record::kind, spec::Resolved};

use super::delete;
use crate::{
    args::{Common, PruneArgs, WaitArgs},
    compose::App,
    exit::{Exit, ExitProblem},
    output,
    work::{self, Target},
};

/// The objects to delete; none without `--prune`.
///
/// # Errors
/// When the documents are not from one directory, or more objects would be deleted than is permitted.
pub(super) async fn left_out(
    app: &App,
    args: &PruneArgs,
    resolved: &Resolved,
) -> Result<Vec<LeftOut>, ExitProblem> {
    if !args.prune {
        return Ok(Vec::new());
    }
    if resolved.directory.is_none() {
        let message = "--prune needs one directory to compare with what was applied from it";
        let remedy = "use -f DIR once, and no other -f";
        return Err(ExitProblem::new(Exit::Usage, "VSI0610", message, remedy));
    }
    let left = app.fleet.left_out(resolved).await?;
    let count = left.iter().map(|one| one.count).sum::<usize>();
    if count > args.prune_limit {
        Err(too_many(&left, args.prune_limit))
    } else {
        Ok(left)
    }
}

fn too_many(left: &[LeftOut], limit: usize) -> ExitProblem {
    let names: Vec<_> = left.iter().map(shown).collect();
    let count = left.iter().map(|one| one.count).sum::<usize>();
    let names = names.join(", ");
    let message = format!("{count} would be deleted, and {limit} may be: {names}");
    let remedy = format!(
        "check that all of it should be deleted, then use --prune-limit {count}; nothing was applied"
    );
    ExitProblem::new(Exit::Blocked, "VSI0709", message, &remedy)
}

/// An object to delete, as it is printed.
pub(crate) fn shown(left: &LeftOut) -> String {
    let label = work::label(&left.namespace, &left.name);
    match left.kind {
        kind::POOL | kind::GROUP => format!("{}/{label} with {} members", left.kind, left.count),
        one => format!("{one}/{label}"),
    }
}

/// Prints what would be deleted, and what its host would refuse; returns the exit. With `quiet` only refusals are
/// printed.
pub(super) async fn report_candidates(
    app: &App,
    left: &[LeftOut],
    quiet: bool,
) -> Result<Exit, ExitProblem> {
    let mut exit = Exit::Done;
    for one in left {
        let stays = match (one.keeps_volume, one.kind) {
            (false, _) => "",
            (true, kind::VSI) => "; everything on its host stays",
            (true, _) => "; its volume stays",
        };
        let refusal = deletion_refusal(app, one).await?;
        if refusal.is_some() || !quiet {
            let disks = if one.data_disks.is_empty() {
                String::new()
            } else {
                format!(", with the data disks {}", one.data_disks.join(", "))
            };
            let what = format!("deleted{stays}{disks} (dry run)");
            exit = exit.max(output::foreseen(&shown(one), &what, refusal));
        }
    }
    Ok(exit)
}

/// What a host would refuse of a deletion.
async fn deletion_refusal(app: &App, one: &LeftOut) -> Result<Option<Failure>, ExitProblem> {
    let (namespace, name) = (&one.namespace, &one.name);
    let refusal = match one.kind {
        _ if one.keeps_volume => None,
        kind::VSI => app.fleet.vsis().deletion_refusal(namespace, name).await?,
        kind::DISK => app.fleet.disks().deletion_refusal(namespace, name).await?,
        kind::POOL => app.fleet.pools().deletion_refusal(namespace, name).await?,
        kind::GROUP => app.fleet.groups().deletion_refusal(namespace, name).await?,
        _ => None,
    };
    Ok(refusal)
}

/// Records the deletion of all these objects.
pub(crate) async fn prune(
    app: &App,
    common: &Common,
    left: Vec<LeftOut>,
) -> Result<Vec<Target>, ExitProblem> {
    for one in &left {
        output::note(&format!(
            "{} is pruned: it no longer has a document",
            shown(one)
        ));
    }
    let names = left
        .iter()
        .map(|one| format!("{}/{}/{}", one.kind, one.namespace, one.name));
    let request = DeleteRequest {
        namespace: "default".to_owned(),
        objects: names.map(DeletionTarget::named).collect(),
        orphan: false,
        release: false,
        ignore_not_found: true,
        reason: common.reason.clone(),
    };
    delete::record(app, request).await
}

/// The rest of a wait that began at `begun`.
pub(super) fn remaining_wait(wait: &WaitArgs, begun: Instant) -> WaitArgs {
    let left = |timeout: Duration| timeout.saturating_sub(begun.elapsed());
    WaitArgs {
        wait: wait.wait,
        timeout: wait.timeout.map(left),
    }
}
