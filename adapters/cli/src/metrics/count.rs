//! Counts the engine's notices for the metrics.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::broadcast::{Receiver, error::RecvError};
use vsiflow_engine::{
    Notice,
    journal::Record,
    model::{EventKind, Name, Outcome, RunId, RunResult, StreamId, Timestamp},
};

use super::{Metrics, RunLabels, StepLabel, StepLabels, WorkflowLabel};

/// How many open runs and attempts are remembered; one whose end was missed is dropped.
const REMEMBERED: usize = 10_000;

/// Runs and attempts that have not ended.
#[derive(Default)]
struct OpenCount {
    runs: BTreeMap<RunId, (String, Timestamp)>,
    attempts: BTreeMap<(RunId, Name), Timestamp>,
    sent: BTreeMap<RunId, u64>,
}

/// Counts until the engine ends.
pub(crate) async fn follow(metrics: Arc<Metrics>, mut notices: Receiver<Notice>) {
    let mut open = OpenCount::default();
    loop {
        match notices.recv().await {
            Ok(Notice::Ended) | Err(RecvError::Closed) => return,
            Err(RecvError::Lagged(_)) => open = OpenCount::default(),
            Ok(notice) => count_notice(&metrics, &mut open, notice),
        }
        if open.runs.len().saturating_add(open.attempts.len()) > REMEMBERED {
            open = OpenCount::default();
        }
    }
}

fn count_notice(metrics: &Metrics, open: &mut OpenCount, notice: Notice) {
    match notice {
        Notice::Recorded(record) => {
            if let StreamId::Run(run) = record.stream {
                recorded(metrics, open, run, &record);
            }
        }
        Notice::Repeated { node, .. } => {
            metrics.retries.get_or_create(&step(&node)).inc();
            count(metrics, &node, "failed");
        }
        Notice::Progress {
            run,
            node,
            progress,
            ..
        } if node.as_str() == UPLOAD => {
            // Bytes before this process's first report were not sent by it.
            let before = open.sent.insert(run, progress.done);
            let sent = before.map_or(0, |before| progress.done.saturating_sub(before));
            metrics.uploaded.inc_by(sent);
        }
        Notice::Progress { .. } | Notice::Unopened { .. } | Notice::Room(_) | Notice::Ended => {}
    }
}

/// The step that uploads.
const UPLOAD: &str = "upload_chunks";

fn recorded(metrics: &Metrics, open: &mut OpenCount, run: RunId, record: &Record) {
    let at = record.event.at;
    match &record.event.kind {
        EventKind::RunStarted { graph, .. } => {
            open.runs.insert(run, (graph.workflow.to_string(), at));
        }
        EventKind::RunFinished { result } => finished(metrics, open, run, at, result),
        EventKind::StepStarted { node, attempt } => {
            if *attempt > 1 {
                metrics.retries.get_or_create(&step(node)).inc();
            }
            open.attempts.insert((run, node.clone()), at);
        }
        EventKind::StepSucceeded { node, outcome, .. } => {
            if let Some(begun) = open.attempts.remove(&(run, node.clone())) {
                let took = metrics.step_seconds.get_or_create(&step(node));
                took.observe(seconds(begun, at));
            }
            count(metrics, node, word(*outcome));
        }
        EventKind::StepFailed { node, .. } => ended(metrics, open, run, node, "failed"),
        EventKind::StepBlocked { node, .. } => ended(metrics, open, run, node, "blocked"),
        EventKind::StepInterrupted { node, .. } => ended(metrics, open, run, node, "interrupted"),
        _ => {}
    }
}

fn finished(
    metrics: &Metrics,
    open: &mut OpenCount,
    run: RunId,
    at: Timestamp,
    result: &RunResult,
) {
    open.sent.remove(&run);
    let Some((workflow, begun)) = open.runs.remove(&run) else {
        return;
    };
    let result = match result {
        RunResult::Succeeded => "succeeded",
        RunResult::Failed(_) => "failed",
        RunResult::Cancelled => "cancelled",
        RunResult::Superseded => "superseded",
    };
    let labels = WorkflowLabel {
        workflow: workflow.clone(),
    };
    metrics
        .run_seconds
        .get_or_create(&labels)
        .observe(seconds(begun, at));
    let run_labels = RunLabels {
        workflow,
        result: result.to_owned(),
    };
    metrics.runs.get_or_create(&run_labels).inc();
}

fn ended(metrics: &Metrics, open: &mut OpenCount, run: RunId, node: &Name, outcome: &str) {
    open.attempts.remove(&(run, node.clone()));
    count(metrics, node, outcome);
}

fn count(metrics: &Metrics, node: &Name, outcome: &str) {
    let labels = StepLabels {
        step: node.to_string(),
        outcome: outcome.to_owned(),
    };
    metrics.steps.get_or_create(&labels).inc();
}

fn step(node: &Name) -> StepLabel {
    StepLabel {
        step: node.to_string(),
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::AlreadyPresent => "present",
        Outcome::Created => "created",
        Outcome::Updated => "updated",
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of runs are small")]
fn seconds(begun: Timestamp, ended: Timestamp) -> f64 {
    begun.millis_until(ended) as f64 / 1_000.0
}
