//! `scale`, `cordon`, `uncordon` and `output`: pools, groups and their members.

use vsiflow_engine::executor::By;

use crate::{
    actor,
    args::{Common, CordonArgs, OutputArgs, ScaleArgs, without_kind},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    work::{self, Target},
};

pub(super) async fn scale(common: &Common, args: ScaleArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let (namespace, name) = (&args.pool.namespace, args.pool.name());
    let by = actor::by(&common.reason);
    if args.pool.is_group() || args.of_group.is_some() {
        return scale_group(app, common, &args, by).await;
    }
    app.fleet
        .pools()
        .scale(namespace, &name, args.replicas, by)
        .await?;
    let targets = [work::pool_named(&app, namespace, &name).await?];
    let outcome = format!("is to have {} members", args.replicas);
    work::report_recorded(&app, &args.wait, &targets, &outcome);
    work::see_through(app, common, &args.wait, &targets).await
}

async fn scale_group(app: App, common: &Common, args: &ScaleArgs, by: By) -> CommandOutcome {
    let (namespace, name) = (&args.pool.namespace, args.pool.name());
    let Some(pool) = &args.of_group else {
        let message = "a group has several pools";
        let remedy = "name one of them with --pool; `vsiflow describe group/NAME` lists them";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    };
    app.fleet
        .groups()
        .scale(namespace, &name, pool, args.replicas, by)
        .await?;
    let targets = [work::group_named(&app, namespace, &name).await?];
    let outcome = format!("is to have {} members in pool {pool}", args.replicas);
    work::report_recorded(&app, &args.wait, &targets, &outcome);
    work::see_through(app, common, &args.wait, &targets).await
}

/// Prints the outputs of a group.
pub(super) async fn output(common: &Common, args: OutputArgs) -> CommandOutcome {
    let app = App::open(common).await?;
    let (namespace, name) = (&args.namespace, args.name());
    match &args.key {
        Some(key) => {
            let found = app.fleet.groups().output(namespace, &name, key).await?;
            output::raw(found.expose())?;
            if !found.expose().ends_with(b"\n") {
                output::raw(b"\n")?;
            }
        }
        None => {
            let group = app.fleet.groups().get(namespace, &name).await?;
            for one in group.status.outputs {
                output::line(&one.name);
            }
        }
    }
    app.close().await;
    Ok(Exit::Done)
}

pub(super) async fn cordon(common: &Common, args: CordonArgs, on: bool) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let mut targets: Vec<Target> = Vec::new();
    for name in &args.names {
        let (name, by) = (without_kind(name), actor::by(&common.reason));
        let pool = app
            .fleet
            .pools()
            .cordon_member(&args.namespace, name, on, by);
        let pool = work::pool_of(&app, &Box::pin(pool).await?).await?;
        output::line(&if on {
            format!("vsi/{name} is cordoned: {} leaves it out", pool.shown())
        } else {
            format!("vsi/{name} is uncordoned")
        });
        if !targets.iter().any(|target| target.entity == pool.entity) {
            targets.push(pool);
        }
    }
    work::see_through(app, common, &args.wait, &targets).await
}
