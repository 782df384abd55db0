//! Scans hosts and runs due work repeatedly, and reports changes.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use tokio::sync::mpsc;
use vsiflow_workflows::fleet::{DriftReport, SCAN_QUEUE};

use crate::{
    compose::App,
    exit::CommandOutcome,
    output::{self, serving::report_snapshots},
};

/// Scans the hosts and takes the snapshots that are due, until there is an error. It is for processes that
/// work on all objects, and starts once that work has resumed: in a cluster the desired state of VSIs is read
/// first.
pub(crate) async fn keep_current(app: &App, every: Duration) -> CommandOutcome {
    let schedules = app.fleet.snapshots().run_schedules(report_snapshots);
    tokio::select! {
        ended = watch_hosts(app, every) => ended,
        never = schedules => match never {},
    }
}

/// Scans the hosts and reports changes, until there is an error.
pub(crate) async fn watch_hosts(app: &App, every: Duration) -> CommandOutcome {
    let (sender, mut looks) = mpsc::channel(SCAN_QUEUE);
    let mut reported = BTreeMap::new();
    let mut watching = pin!(app.fleet.hosts().watch(every, sender));
    loop {
        let look = tokio::select! {
            ended = &mut watching => match ended? {},
            Some(look) = looks.recv() => look,
        };
        let news = !look.whole || reported.get(&look.host) != Some(&look.report);
        if news {
            report_news(&look.report);
        }
        if look.whole {
            reported.insert(look.host, look.report);
        }
    }
}

fn report_news(report: &DriftReport) {
    for (name, findings) in &report.drifted {
        for finding in findings {
            let what = if finding.is_of_guest() {
                "degraded"
            } else {
                "drift"
            };
            output::line(&format!("vsi/{name}: {what}: {finding}"));
        }
    }
    for name in &report.restored {
        output::line(&format!("vsi/{name} is restored"));
    }
    for name in &report.restarted {
        output::line(&format!(
            "vsi/{name} is started again: its host was restarted"
        ));
    }
    report_unreachable(report);
}

/// Reports which hosts do not answer.
pub(crate) fn report_unreachable(report: &DriftReport) {
    for (host, failure) in &report.unreachable {
        output::warning(&format!("host {host}: {failure}"));
    }
}
