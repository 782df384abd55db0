//! `resume`: goes on with what a kill or an interrupt left.

use super::Outcome;
use crate::{
    actor,
    args::{Common, ResumeArgs},
    compose::App,
    exit::Exit,
    output, work,
};

pub(super) async fn run(common: &Common, args: ResumeArgs) -> Outcome {
    let app = App::open_to_work(common).await?;
    let targets = if args.names.is_empty() {
        let open = app.fleet.interrupted().await?;
        work::targets_of(&app, &open).await?
    } else {
        work::targets_named(&app, &args.namespace, &args.names).await?
    };
    if targets.is_empty() {
        output::line("nothing to resume");
        app.close().await;
        return Ok(Exit::Done);
    }
    let entities = targets.iter().map(|target| target.entity.clone()).collect();
    app.fleet
        .resume(entities, actor::by(&common.reason))
        .await?;
    let exit = work::until_decided(
        &app,
        common,
        &args.wait,
        &targets,
        work::Until::Over,
        "is settled",
    )
    .await?;
    app.close().await;
    Ok(exit)
}
