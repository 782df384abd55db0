//! `start`, `stop`, `restart`, `pause`, `unpause`.

use vsiflow_workflows::{fleet::Gracefully, wanted::PowerAction};

use super::Outcome;
use crate::{
    actor,
    args::{Common, PowerArgs, StopArgs, Targets, WaitArgs},
    compose::App,
    work,
};

pub(super) async fn up(common: &Common, action: PowerAction, args: PowerArgs) -> Outcome {
    run(common, action, &args.targets, Gracefully::default()).await
}

pub(super) async fn down(common: &Common, action: PowerAction, args: StopArgs) -> Outcome {
    let how = Gracefully {
        timeout_s: args.timeout.map(|timeout| timeout.as_secs().max(1)),
        force: args.force,
    };
    run(common, action, &args.targets, how).await
}

async fn run(common: &Common, action: PowerAction, targets: &Targets, how: Gracefully) -> Outcome {
    let app = App::open_to_work(common).await?;
    // Names are looked up first: a slip of the pen touches nothing.
    let targets = work::targets_named(&app, &targets.namespace, &targets.names).await?;
    for target in &targets {
        let by = actor::by(&common.reason);
        let (namespace, name) = (&target.namespace, &target.name);
        app.fleet.power(namespace, name, action, how, by).await?;
    }
    let wait = WaitArgs {
        wait: true,
        timeout: None,
    };
    let until = work::Until::Decided;
    let exit = work::until_decided(&app, common, &wait, &targets, until, "").await?;
    app.close().await;
    Ok(exit)
}
