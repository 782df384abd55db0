//! `cancel`: stops the run of a VSI; what exists is kept.

use vsiflow_engine::executor::Cancelled;

use super::CommandOutcome;
use crate::{
    actor,
    args::{CancelArgs, Common},
    compose::App,
    exit::Exit,
    output,
};

pub(super) async fn run(common: &Common, args: CancelArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let (namespace, name) = (&args.target.namespace, &args.target.name());
    let entity = app.fleet.vsi(namespace, name).await?;
    match app
        .fleet
        .cancel(entity.clone(), actor::by(&common.reason))
        .await?
    {
        Cancelled::NothingToDo => output::line(&format!("vsi/{name}: no run is open")),
        Cancelled::Requested => {
            // The step that acts just now ends first.
            app.fleet.decided(&entity).await?;
            output::line(&format!(
                "vsi/{name} cancelled; run `vsiflow retry {name}` to continue"
            ));
        }
    }
    app.close().await;
    Ok(Exit::Done)
}
