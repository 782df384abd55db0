//! `rebuild`: replaces the boot disks of VSIs with new ones.

use vsiflow_workflows::fleet::ReplacementPlace;

use crate::{
    actor,
    args::{Common, RebuildArgs},
    compose::App,
    exit::CommandOutcome,
    output, work,
};

pub(super) async fn run(common: &Common, args: RebuildArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    // All names are looked up first, so that a typing error changes nothing.
    let targets = work::chosen(&app, &args.targets).await?;
    if args.targets.names.is_empty() {
        work::confirm_destruction(&args.destroy, "rebuild", &targets)?;
    }
    let room = ReplacementPlace::of(args.in_place);
    for target in &targets {
        let by = actor::by(&common.reason);
        let (namespace, name) = (&target.namespace, &target.name);
        let (_, plan) = app.fleet.vsis().rebuild(namespace, name, room, by).await?;
        for lost in &plan.destroys {
            output::line(&format!("{}: destroys {}", target.shown(), lost.object));
        }
        for stays in &plan.keeps {
            output::line(&format!("{}: keeps {stays}", target.shown()));
        }
    }
    work::report_recorded(&app, &args.wait, &targets, "is to be rebuilt");
    work::see_through(app, common, &args.wait, &targets).await
}
