//! `scale`, `cordon` and `uncordon`: pools and their members.

use super::CommandOutcome;
use crate::{
    actor,
    args::{Common, CordonArgs, ScaleArgs, without_kind},
    compose::App,
    output,
    work::{self, Target},
};

pub(super) async fn scale(common: &Common, args: ScaleArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let (namespace, name) = (&args.pool.namespace, args.pool.name());
    let by = actor::by(&common.reason);
    app.fleet
        .scale_pool(namespace, &name, args.replicas, by)
        .await?;
    let targets = [work::pool_named(&app, namespace, &name).await?];
    let said = format!("is to have {} members", args.replicas);
    work::tell_recorded(&app, &args.wait, &targets, &said);
    work::see_through(app, common, &args.wait, &targets).await
}

pub(super) async fn cordon(common: &Common, args: CordonArgs, on: bool) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let mut targets: Vec<Target> = Vec::new();
    for name in &args.names {
        let (name, by) = (without_kind(name), actor::by(&common.reason));
        let pool = app.fleet.cordon_member(&args.namespace, name, on, by);
        let pool = work::pool_of(&app, &pool.await?).await?;
        output::line(&match on {
            true => format!("vsi/{name} is cordoned: {} leaves it out", pool.shown()),
            false => format!("vsi/{name} is uncordoned"),
        });
        if !targets.iter().any(|target| target.entity == pool.entity) {
            targets.push(pool);
        }
    }
    work::see_through(app, common, &args.wait, &targets).await
}
