//! Looking at hosts: `get --refresh`, `resume --watch` and `serve`.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use tokio::sync::mpsc;
use vsiflow_workflows::fleet::{Looked, WATCHERS};

use super::Outcome;
use crate::{
    actor,
    args::Common,
    compose::App,
    daemon::Server,
    exit::{Exit, Problem},
    output::{self, live::Live},
    work,
};

/// Looks once and records what differs; nothing is acted on.
pub(super) async fn refresh(app: &App) -> Result<(), Problem> {
    let looked = app.fleet.look(false).await?;
    tell_unreachable(&looked);
    Ok(())
}

/// Goes on with what lies open and looks at the hosts again and again, until interrupted.
pub(super) async fn watch(app: &App, common: &Common, every: Duration) -> Outcome {
    let answers = Server::start(app);
    let ended = tokio::select! {
        ended = look_forever(app, common, every) => ended,
        () = work::interrupted() => Ok(Exit::Interrupted),
    };
    if let Some(answers) = answers {
        answers.finish().await;
    }
    app.close().await;
    ended
}

/// Looks at the hosts again and again, and tells what is news; ends only with an error.
pub(super) async fn look_on(app: &App, every: Duration) -> Outcome {
    let (sender, mut looks) = mpsc::channel(WATCHERS);
    let mut told = BTreeMap::new();
    let mut watching = pin!(app.fleet.watch(every, sender));
    loop {
        let look = tokio::select! {
            ended = &mut watching => match ended? {},
            Some(look) = looks.recv() => look,
        };
        let news = !look.whole || told.get(&look.host) != Some(&look.looked);
        if news {
            tell(&look.looked);
        }
        if look.whole {
            told.insert(look.host, look.looked);
        }
    }
}

async fn look_once(app: &App, told: Looked) -> Result<Looked, Problem> {
    let looked = app.fleet.look(true).await?;
    if looked != told {
        tell(&looked);
    }
    Ok(looked)
}

async fn look_forever(app: &App, common: &Common, every: Duration) -> Outcome {
    let mut told = Looked::default();
    loop {
        let open = app.fleet.interrupted().await?;
        let targets = work::targets_of(app, &open).await?;
        app.fleet.resume(open, actor::by(&common.reason)).await?;
        let mut live = Live::new(common.quiet);
        // What is under way is shown until the next look.
        let until = work::Until::Over;
        let shown = tokio::time::timeout(every, work::watch(app, &targets, until, &mut live));
        if let Ok(ended) = shown.await {
            ended?;
        }
        live.finish();
        told = look_once(app, told).await?;
        tokio::time::sleep(every).await;
    }
}

fn tell(looked: &Looked) {
    for (name, findings) in &looked.drifted {
        for finding in findings {
            output::line(&format!("vsi/{name}: drift: {finding}"));
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

fn tell_unreachable(looked: &Looked) {
    for (host, failure) in &looked.unreachable {
        output::warning(&format!("host {host}: {failure}"));
    }
}
