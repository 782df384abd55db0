//! `cancel`: stops the runs of VSIs and data disks; existing objects remain.

use vsiflow_engine::executor::Cancelled;

use crate::{
    actor,
    args::{CancelArgs, Common, ObjectKind, Targets, kind_and_name, names_of},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    work::{self, Target},
};

pub(super) async fn run(common: &Common, args: CancelArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    // All names are looked up first, so that a typing error changes nothing.
    let targets = cancellable(&app, args.targets).await?;
    let mut requested = Vec::new();
    for target in targets {
        let by = actor::by(&common.reason);
        let cancelled = app.fleet.cancel(target.entity.clone(), by).await?;
        requested.push((target, cancelled));
    }
    let mut exit = Exit::Done;
    for (target, cancelled) in requested {
        let (shown, word) = (target.shown(), target.word());
        match cancelled {
            Cancelled::NothingToDo if app.fleet.is_settled(&target.entity) => {
                output::line(&format!("{shown}: no run is open"));
            }
            Cancelled::NothingToDo => {
                output::line(&format!(
                    "{shown}: no run is open yet; what was recorded last is still done"
                ));
                exit = Exit::Blocked;
            }
            Cancelled::OrdersVoided => output::line(&format!(
                "{shown}: no run is open; what was ordered to be deleted, made anew or restored is not done any more"
            )),
            Cancelled::Requested => {
                // The step in progress ends first.
                app.fleet.decided(&target.entity).await?;
                output::line(&format!(
                    "{shown} cancelled; run `vsiflow retry {word}` to continue"
                ));
            }
        }
    }
    app.close().await;
    Ok(exit)
}

/// The VSIs and data disks to cancel, all looked up. Objects of other kinds have no runs that can be cancelled.
async fn cancellable(app: &App, mut targets: Targets) -> Result<Vec<Target>, ExitProblem> {
    targets.names = names_of(&targets.names);
    for name in &targets.names {
        let (kind, _) = kind_and_name(name);
        if ![ObjectKind::Vsi, ObjectKind::Disk].contains(&kind) {
            let noun = kind.words().noun;
            let message = format!("{name}: the runs of a {noun} cannot be cancelled");
            let remedy = "name VSIs, or data disks as `disk/NAME`";
            return Err(ExitProblem::new(Exit::Usage, "VSI0801", message, remedy));
        }
    }
    work::chosen(app, &targets).await
}
