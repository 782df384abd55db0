//! `approve`: approves changes that wait for a person's consent.

use vsiflow_engine::executor::By;

use crate::{
    actor,
    args::{ApproveArgs, Common, without_kind},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    work,
};

pub(super) async fn run(common: &Common, args: ApproveArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let (namespace, names) = (&args.targets.namespace, &args.targets.names);
    let names: Vec<_> = names
        .iter()
        .map(|name| without_kind(name).to_owned())
        .collect();
    let by = || actor::by(&common.reason);
    let (pools, vsis): (Vec<_>, Vec<_>) = names
        .iter()
        .cloned()
        .partition(|name| work::pool_name(name).is_some());
    match &args.proposal {
        Some(proposal) => Box::pin(one(&app, (namespace, &names), proposal, by())).await?,
        None => {
            app.fleet.vsis().approve(namespace, &vsis, by()).await?;
            for name in pools.iter().filter_map(|name| work::pool_name(name)) {
                app.fleet.pools().approve(namespace, name, by()).await?;
            }
        }
    }
    let targets = work::targets_named(&app, namespace, &names).await?;
    work::report_recorded(&app, &args.wait, &targets, "is approved");
    let until = work::Until::Decided;
    let exit = work::until_decided(&app, common, &args.wait, &targets, until, "").await?;
    app.close().await;
    Ok(exit)
}

/// Approves one change and no other.
async fn one(
    app: &App,
    (namespace, names): (&str, &[String]),
    proposal: &str,
    by: By,
) -> Result<(), ExitProblem> {
    let [name] = names else {
        let message = "--proposal is the change of one VSI or pool";
        let remedy = "name that one alone";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    };
    let was_it = match work::pool_name(name) {
        Some(pool) => {
            let pools = app.fleet.pools();
            pools.approve_this(namespace, pool, proposal, by).await?
        }
        None => {
            let vsis = app.fleet.vsis();
            vsis.approve_this(namespace, name, proposal, by).await?
        }
    };
    if was_it {
        return Ok(());
    }
    let message = "the change that was shown does not wait any more";
    let remedy = "check which change waits now, and approve that one";
    let object = if name.contains('/') {
        name.clone()
    } else {
        format!("vsi/{name}")
    };
    Err(ExitProblem {
        object,
        ..ExitProblem::new(Exit::Blocked, "VSI0840", message, remedy)
    })
}
