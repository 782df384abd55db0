//! Scans of hosts: `get --refresh`, `resume --watch` and `serve`.

use std::time::Duration;

use crate::{
    actor,
    args::Common,
    compose::App,
    daemon::DaemonServer,
    exit::{CommandOutcome, Exit},
    work::{self, tell, watch_hosts},
};

/// Resumes unfinished work and watches the hosts, until interrupted.
pub(super) async fn watch(app: &App, common: &Common, every: Duration) -> CommandOutcome {
    let answers = DaemonServer::start(app);
    let ended = tokio::select! {
        ended = tell(app, common) => ended,
        ended = resume_and_scan(app, common, every) => ended,
        () = work::interrupted() => Ok(Exit::Interrupted),
    };
    if let Some(answers) = answers {
        answers.finish().await;
    }
    app.close().await;
    ended
}

async fn resume_and_scan(app: &App, common: &Common, every: Duration) -> CommandOutcome {
    let open = app.fleet.interrupted().await?;
    app.fleet.resume(open, actor::by(&common.reason)).await?;
    if app.is_borrowed() && app.stays() {
        // The daemon watches already; its findings are printed all the same.
        return std::future::pending().await;
    }
    app.fleet.drive_all().await?;
    watch_hosts(app, every).await
}
