//! Looking at hosts and at what is due again and again, and telling what is news.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use tokio::sync::mpsc;
use vsiflow_workflows::fleet::{DriftReport, WATCHERS};

use crate::{
    compose::App,
    exit::CommandOutcome,
    output::{self, serving::told_of_snapshots},
};

/// Looks at the hosts and takes the snapshots that are due, for good; ends only with an error. It is for who works on everything
/// there is, and begins once that goes on: in a cluster what VSIs are to be is read first.
pub(crate) async fn keep_up(app: &App, every: Duration) -> CommandOutcome {
    let schedules = app.fleet.snapshots().keep_schedules(told_of_snapshots);
    tokio::select! {
        ended = look_on(app, every) => ended,
        never = schedules => match never {},
    }
}

/// Looks at the hosts for good, and tells what is news; ends only with an error.
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

/// Says which hosts do not answer.
pub(crate) fn tell_unreachable(looked: &DriftReport) {
    for (host, failure) in &looked.unreachable {
        output::warning(&format!("host {host}: {failure}"));
    }
}
