//! `plan`: shows what documents would change, how, and what that would cost.

use vsiflow_workflows::{
    fleet::{Applied, Change},
    spec::Resolved,
};

use crate::{
    args::{Common, PlanArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, plan as shown},
    shards::local_documents,
    work,
};

/// Exits as `kubectl diff` does: 0 if nothing would change, 1 if something would. Exits with 4 if
/// something cannot be changed.
pub(super) async fn run(common: &Common, args: PlanArgs) -> CommandOutcome {
    // Before the documents are read: the process that has the state directory may see a cluster
    // that completes them.
    let app = App::open(common).await?;
    let resolved = match app.view() {
        Some(view) => work::in_cluster(view, common, &args.sources).await,
        None => work::documents(common, &args.sources).await,
    };
    let planned = planned(&app, resolved).await;
    app.close().await;
    let planned = planned?;
    match args.output {
        Some(format) => output::print(&shown::json(&planned), format)?,
        None => shown::text(&planned),
    }
    Ok(exit(&planned))
}

async fn planned(
    app: &App,
    resolved: Result<Resolved, ExitProblem>,
) -> Result<Vec<Applied>, ExitProblem> {
    let mut resolved = resolved?;
    if let Some(shard) = app.shard() {
        local_documents::keep(shard, &mut resolved).await?;
    }
    Ok(app.fleet.plan(&resolved).await?)
}

fn exit(planned: &[Applied]) -> Exit {
    if planned
        .iter()
        .any(|one| one.plan.refused().next().is_some())
    {
        return Exit::Blocked;
    }
    let changes = |one: &Applied| one.change == Change::Created || !one.plan.is_empty();
    if planned.iter().any(changes) {
        Exit::Failed
    } else {
        Exit::Done
    }
}
