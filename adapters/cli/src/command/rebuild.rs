//! `rebuild`: makes boot disks anew.

use super::CommandOutcome;
use crate::{
    actor,
    args::{Common, PowerArgs},
    compose::App,
    output, work,
};

pub(super) async fn run(common: &Common, args: PowerArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let (namespace, names) = (&args.targets.namespace, &args.targets.names);
    // Names are looked up first: a slip of the pen touches nothing.
    let targets = work::targets_named(&app, namespace, names).await?;
    for target in &targets {
        let by = actor::by(&common.reason);
        let (namespace, name) = (&target.namespace, &target.name);
        let (_, plan) = app.fleet.rebuild(namespace, name, by).await?;
        for lost in &plan.destroys {
            output::line(&format!("{}: destroys {}", target.shown(), lost.object));
        }
        for stays in &plan.keeps {
            output::line(&format!("{}: keeps {stays}", target.shown()));
        }
    }
    work::tell_recorded(&app, &args.wait, &targets, "is to be rebuilt");
    work::see_through(app, common, &args.wait, &targets).await
}
