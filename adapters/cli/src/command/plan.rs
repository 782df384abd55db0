//! `plan`: shows what documents would change, how, and what that would cost.

use vsiflow_workflows::{
    fleet::{Applied, Change},
    spec::Resolved,
};

use crate::{
    args::{Common, OutputFormat, PlanArgs},
    command::apply,
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
    let exit = match resolved {
        Ok(resolved) => Box::pin(show(&app, resolved, args.output)).await,
        Err(refused) => Err(refused),
    };
    app.close().await;
    exit
}

async fn show(app: &App, mut resolved: Resolved, format: Option<OutputFormat>) -> CommandOutcome {
    if let Some(shard) = app.shard() {
        local_documents::keep(shard, &mut resolved).await?;
    }
    let planned = app.fleet.plan(&resolved).await?;
    let unfit = apply::report_unfit_images(app, &resolved, &planned);
    let unfit = match format {
        Some(format) => {
            output::print(&shown::json(&planned), format)?;
            output::aside(Box::pin(async { Ok::<_, ExitProblem>(unfit.await) })).await?
        }
        None => {
            shown::text(&planned);
            unfit.await
        }
    };
    Ok(exit(&planned).max(unfit))
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
