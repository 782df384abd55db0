//! `cancel`: stops the runs of VSIs and data disks, and takes back the deletions of pools and groups; existing objects
//! remain.

use vsiflow_engine::executor::{By, Cancelled};
use vsiflow_workflows::fleet::Fleets;

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
    let namespace = args.targets.namespace.clone();
    let cancellable = cancellable(&app, args.targets).await?;
    for (kind, name) in &cancellable.deletions {
        let by = actor::by(&common.reason);
        take_back(&app, *kind, &namespace, name, by).await?;
    }
    let mut requested = Vec::new();
    for target in cancellable.runs {
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
                    "{shown}: no run is open, and no order that could be taken back; what needs no order is still done"
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

/// What `cancel` is about.
#[derive(Default)]
struct Cancellable {
    /// VSIs and data disks, whose runs end.
    runs: Vec<Target>,
    /// Names of pools and groups, whose deletion is taken back, each with its kind.
    deletions: Vec<(ObjectKind, String)>,
}

/// Takes back the deletion of a pool or a group.
async fn take_back(
    app: &App,
    kind: ObjectKind,
    namespace: &str,
    name: &str,
    by: By,
) -> Result<(), ExitProblem> {
    let fleet = &app.fleet;
    let was_leaving = match kind {
        ObjectKind::Group => fleet.groups().cancel_deletion(namespace, name, by).await?,
        _ => fleet.pools().cancel_deletion(namespace, name, by).await?,
    };
    let shown = format!("{}/{}", kind.word(), work::label(namespace, name));
    let outcome = if was_leaving {
        "its deletion is taken back; members of which something is deleted already are made again"
    } else {
        "it is not being deleted; the runs of its members are cancelled by their names"
    };
    output::line(&format!("{shown}: {outcome}"));
    Ok(())
}

/// What is named or selected, all looked up. Objects of other kinds have nothing that can be cancelled.
async fn cancellable(app: &App, mut targets: Targets) -> Result<Cancellable, ExitProblem> {
    let mut found = Cancellable::default();
    let named = names_of(&targets.names);
    targets.names.clear();
    for name in named {
        let (kind, bare) = kind_and_name(&name);
        match kind {
            ObjectKind::Vsi | ObjectKind::Disk => targets.names.push(name),
            ObjectKind::Pool | ObjectKind::Group => {
                let fleets = Fleets::from(app.fleet.clone());
                kind.check_exists(&fleets, &targets.namespace, bare).await?;
                found.deletions.push((kind, bare.to_owned()));
            }
            _ => {
                let noun = kind.words().noun;
                let message = format!("{name}: a {noun} has nothing that can be cancelled");
                let remedy = "name VSIs, data disks as `disk/NAME`, or pools and groups that are being deleted";
                return Err(ExitProblem::new(Exit::Usage, "VSI0801", message, remedy));
            }
        }
    }
    // Without names, the selection would be of all.
    if found.deletions.is_empty() || !targets.names.is_empty() {
        found.runs = work::chosen(app, &targets).await?;
    }
    Ok(found)
}
