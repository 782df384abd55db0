//! `cancel`: stops the runs of VSIs; existing objects remain.

use vsiflow_engine::executor::Cancelled;

use crate::{
    actor,
    args::{CancelArgs, Common, Targets, without_kind},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    work::{self, Target},
};

pub(super) async fn run(common: &Common, args: CancelArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    // All names are looked up first, so that a typing error changes nothing.
    let targets = vsis(&app, args.targets).await?;
    let mut requested = Vec::new();
    for target in targets {
        let by = actor::by(&common.reason);
        let cancelled = app.fleet.cancel(target.entity.clone(), by).await?;
        requested.push((target, cancelled));
    }
    for (target, cancelled) in requested {
        let (shown, label) = (target.shown(), target.label());
        match cancelled {
            Cancelled::NothingToDo => output::line(&format!("{shown}: no run is open")),
            Cancelled::OrdersVoided => output::line(&format!(
                "{shown}: no run is open; what was ordered to be made anew or restored is not done any more"
            )),
            Cancelled::Requested => {
                // The step in progress ends first.
                app.fleet.decided(&target.entity).await?;
                output::line(&format!(
                    "{shown} cancelled; run `vsiflow retry {label}` to continue"
                ));
            }
        }
    }
    app.close().await;
    Ok(Exit::Done)
}

/// Accepts `vsi NAME` for `vsi/NAME`: only VSIs have runs that can be cancelled.
async fn vsis(app: &App, mut targets: Targets) -> Result<Vec<Target>, ExitProblem> {
    if targets.names.len() > 1 && targets.names.first().is_some_and(|word| word == "vsi") {
        targets.names.remove(0);
    }
    for name in &targets.names {
        app.fleet
            .vsis()
            .find(&targets.namespace, without_kind(name))
            .await?;
    }
    work::chosen(app, &targets).await
}
