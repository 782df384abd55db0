//! Looking at hosts: `get --refresh`, `resume --watch` and `serve`.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use tokio::sync::mpsc;
use vsiflow_workflows::fleet::{DriftReport, WATCHERS};

use super::{CommandOutcome, tell::tell};
use crate::{
    actor,
    args::Common,
    compose::App,
    daemon::DaemonServer,
    exit::{Exit, ExitProblem},
    output, work,
};

/// Looks once and records what differs; nothing is acted on.
pub(super) async fn refresh(app: &App) -> Result<(), ExitProblem> {
    let looked = app.fleet.hosts().scan(false).await?;
    tell_unreachable(&looked);
    Ok(())
}

/// Goes on with what lies open and watches the hosts, until interrupted.
pub(super) async fn watch(app: &App, common: &Common, every: Duration) -> CommandOutcome {
    let answers = DaemonServer::start(app);
    let ended = tokio::select! {
        ended = tell(app, common) => ended,
        ended = go_on(app, common, every) => ended,
        () = work::interrupted() => Ok(Exit::Interrupted),
    };
    if let Some(answers) = answers {
        answers.finish().await;
    }
    app.close().await;
    ended
}

async fn go_on(app: &App, common: &Common, every: Duration) -> CommandOutcome {
    let open = app.fleet.interrupted().await?;
    app.fleet.resume(open, actor::by(&common.reason)).await?;
    if app.is_borrowed() && app.stays() {
        // The daemon watches already: what it finds is told all the same.
        return std::future::pending().await;
    }
    app.fleet.drive_all().await?;
    look_on(app, every).await
}

/// Looks at the hosts again and again, and tells what is news; ends only with an error.
pub(crate) async fn look_on(app: &App, every: Duration) -> CommandOutcome {
    let (sender, mut looks) = mpsc::channel(WATCHERS);
    let mut told = BTreeMap::new();
    let mut watching = pin!(app.fleet.hosts().watch(every, sender));
    loop {
        let look = tokio::select! {
            ended = &mut watching => match ended? {},
            Some(look) = looks.recv() => look,
        };
        let news = !look.whole || told.get(&look.host) != Some(&look.looked);
        if news {
            tell_of(&look.looked);
        }
        if look.whole {
            told.insert(look.host, look.looked);
        }
    }
}

fn tell_of(looked: &DriftReport) {
    for (name, findings) in &looked.drifted {
        for finding in findings {
            let what = if finding.is_of_guest() {
                "degraded"
            } else {
                "drift"
            };
            output::line(&format!("vsi/{name}: {what}: {finding}"));
        }
    }
    for name in &looked.restored {
        output::line(&format!("vsi/{name} is restored"));
    }
    for name in &looked.restarted {
        output::line(&format!(
            "vsi/{name} is started again: its host was restarted"
        ));
    }
    tell_unreachable(looked);
}

fn tell_unreachable(looked: &DriftReport) {
    for (host, failure) in &looked.unreachable {
        output::warning(&format!("host {host}: {failure}"));
    }
}
