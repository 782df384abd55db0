//! `approve`: lets changes go on that wait for somebody's word.

use crate::{
    actor,
    args::{ApproveArgs, Common, without_kind},
    compose::App,
    exit::CommandOutcome,
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
    app.fleet.vsis().approve(namespace, &vsis, by()).await?;
    for name in pools.iter().filter_map(|name| work::pool_name(name)) {
        app.fleet.pools().approve(namespace, name, by()).await?;
    }
    let targets = work::targets_named(&app, namespace, &names).await?;
    work::tell_recorded(&app, &args.wait, &targets, "is approved");
    let until = work::Until::Decided;
    let exit = work::until_decided(&app, common, &args.wait, &targets, until, "").await?;
    app.close().await;
    Ok(exit)
}
