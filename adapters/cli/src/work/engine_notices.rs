//! Prints the engine's notices during commands that run until stopped: `serve` and `resume --watch`.

use tokio::sync::broadcast::{Receiver, error::RecvError};
use vsiflow_engine::{Notice, model::StreamId};

use crate::{
    args::Common,
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, live::LiveOutput},
};

/// Prints notices until the engine ends.
pub(crate) async fn tell(app: &App, common: &Common) -> CommandOutcome {
    let mut live = LiveOutput::new(common.quiet);
    let mut notices = app.notices();
    while let Some(notice) = next(&mut notices).await {
        let label = label(app, &notice).await?;
        live.show(&notice, |_| label.clone());
    }
    if let Some(error) = app.fleet.task_panicked() {
        return Err(error.into());
    }
    let remedy = "see that the state directory can be written and has room, then start again";
    let message = "the engine ended: its journal cannot be written";
    Err(ExitProblem::new(Exit::Failed, "VSI0007", message, remedy))
}

/// The name of the notice's object.
async fn label(app: &App, notice: &Notice) -> Result<String, ExitProblem> {
    let entity = match notice {
        Notice::Progress { entity, .. } | Notice::Unopened { entity, .. } => Some(entity.clone()),
        Notice::Repeated { run, .. } => app.fleet.entity_of(*run),
        Notice::Recorded(record) => match record.stream {
            StreamId::Run(run) => app.fleet.entity_of(run),
            _ => None,
        },
        Notice::Room(_) | Notice::Ended => None,
    };
    let Some(entity) = entity else {
        return Ok(String::new());
    };
    let title = app.fleet.title(&entity).await?;
    Ok(title.map_or_else(
        || entity.to_string(),
        |(namespace, name)| format!("vsi/{}", output::label(&namespace, &name)),
    ))
}

async fn next(notices: &mut Receiver<Notice>) -> Option<Notice> {
    loop {
        match notices.recv().await {
            Ok(Notice::Ended) | Err(RecvError::Closed) => return None,
            Ok(notice) => return Some(notice),
            Err(RecvError::Lagged(_)) => {}
        }
    }
}
