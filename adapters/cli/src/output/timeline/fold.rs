//! Folds events into the entries of a timeline.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use vsiflow_engine::model::Actor;
use vsiflow_workflows::fleet::HistoryLine;

use super::{Group, Timeline, TimelineEntry};

/// The state of the fold: where the known runs and steps are.
#[derive(Default)]
struct TimelineFold {
    groups: Vec<Group>,
    runs: BTreeMap<String, usize>,
    /// The unfinished runs, and their entities.
    open: BTreeMap<String, String>,
    /// The actor and the reason of an entity's current desired state.
    requests: BTreeMap<String, (String, String)>,
    /// Runs whose end their entity recorded; the run's own event repeats it.
    closed: BTreeSet<String>,
}

pub(super) fn fold(lines: &[HistoryLine]) -> Timeline {
    let mut fold = TimelineFold::default();
    lines.iter().for_each(|line| fold.take(line));
    Timeline {
        groups: fold.groups,
    }
}

impl TimelineFold {
    fn take(&mut self, line: &HistoryLine) {
        match line.kind.as_str() {
            "intent" | "timer_due" => {}
            "state_changed" if is_derived(line) || self.is_open(&line.entity) => {}
            "run_opened" | "run_started" => _ = self.run(line),
            "run_finished" | "run_closed" => self.run_over(line),
            kind if line.step.is_some() && kind.starts_with("step_") => self.step(line),
            _ => self.event(line),
        }
    }

    fn is_open(&self, entity: &str) -> bool {
        self.open.values().any(|of| of == entity)
    }

    /// The run of a line; makes a new one if it is not known.
    fn run(&mut self, line: &HistoryLine) -> Option<&mut Group> {
        let run = line.run.clone()?;
        let at = match self.runs.get(&run) {
            Some(at) => *at,
            None => {
                let (actor, why) = self.requests.get(&line.entity).cloned().unwrap_or_default();
                let outcome = "Running".to_owned();
                let head = TimelineEntry {
                    actor,
                    why,
                    outcome,
                    ..TimelineEntry::begun(line)
                };
                let at = self.groups.len();
                self.groups.push(Group {
                    head,
                    steps: Vec::new(),
                    is_run: true,
                });
                self.open.insert(run.clone(), line.entity.clone());
                self.runs.insert(run, at);
                at
            }
        };
        let group = self.groups.get_mut(at)?;
        if group.head.what.is_empty() {
            group.head.what = line.workflow.clone().unwrap_or_default();
        }
        group.head.observe(line);
        Some(group)
    }

    fn run_over(&mut self, line: &HistoryLine) {
        self.open
            .retain(|run, _| Some(run.as_str()) != line.run.as_deref());
        if let Some(run) = &line.run
            && !self.closed.insert(run.clone())
        {
            return;
        }
        let Some(Group { head, .. }) = self.run(line) else {
            return;
        };
        head.outcome = line.outcome.clone().unwrap_or_default();
        head.took_ms = line.duration_ms.or_else(|| head.lasted());
        head.failed |= line.error.is_some();
        // The failed step states the reason, if there is one.
        head.trouble = None;
    }

    fn step(&mut self, line: &HistoryLine) {
        let Some(group) = self.run(line) else {
            return;
        };
        let name = line.step.clone().unwrap_or_default();
        let known = group.steps.iter().position(|step| step.what == name);
        let at = known.unwrap_or_else(|| {
            let step = TimelineEntry {
                what: name,
                ..TimelineEntry::begun(line)
            };
            group.steps.push(step);
            group.steps.len().saturating_sub(1)
        });
        let failed = match group.steps.get_mut(at) {
            Some(step) => step.attempted(line),
            None => false,
        };
        group.head.failed |= failed;
    }

    fn event(&mut self, line: &HistoryLine) {
        let what = line.kind.replace('_', " ");
        let detail = line.detail.clone().unwrap_or_default();
        let what = match line.kind.as_str() {
            "desired" => format!("{detail} asked for"),
            "state_changed" => format!("found {detail}"),
            "noted" => detail,
            _ if detail.is_empty() => what,
            _ => format!("{what}: {detail}"),
        };
        if line.kind == "desired" {
            let request = (line.actor.clone(), line.reason.clone());
            self.requests.insert(line.entity.clone(), request);
        }
        let head = TimelineEntry {
            what,
            actor: line.actor.clone(),
            why: line.reason.clone(),
            outcome: line.outcome.clone().unwrap_or_default(),
            trouble: line.error.clone(),
            failed: line.error.is_some(),
            ..TimelineEntry::begun(line)
        };
        self.groups.push(Group {
            head,
            ..Group::default()
        });
    }
}

impl TimelineEntry {
    fn begun(line: &HistoryLine) -> Self {
        Self {
            entity: line.entity.clone(),
            began: line.time.clone(),
            last: line.time.clone(),
            offset: line.offset,
            ..Self::default()
        }
    }

    fn observe(&mut self, line: &HistoryLine) {
        self.last.clone_from(&line.time);
        self.offset = line.offset;
    }

    /// Milliseconds from its begin to its last event.
    fn lasted(&self) -> Option<u64> {
        let began: Timestamp = self.began.parse().ok()?;
        let last: Timestamp = self.last.parse().ok()?;
        u64::try_from(last.duration_since(began).as_millis()).ok()
    }

    /// Applies an event of an attempt; returns whether the attempt failed.
    fn attempted(&mut self, line: &HistoryLine) -> bool {
        self.observe(line);
        self.tries = self.tries.max(line.attempt.unwrap_or_default());
        self.outcome = match line.kind.as_str() {
            "step_started" => "Running",
            "step_succeeded" => line.outcome.as_deref().unwrap_or("Succeeded"),
            "step_failed" if line.detail.is_some() => "Waiting",
            "step_failed" => "Failed",
            "step_blocked" => "Blocked",
            "step_interrupted" => "Interrupted",
            _ => "Skipped",
        }
        .to_owned();
        let runs = line.kind == "step_started";
        self.took_ms = (!runs).then(|| self.lasted()).flatten();
        // While the next attempt runs, the failure of the last one remains shown.
        if !runs || self.trouble.is_none() {
            self.trouble.clone_from(&line.error);
            self.next = line.detail.clone().unwrap_or_default();
        }
        self.failed |= line.error.is_some();
        line.error.is_some()
    }
}

/// Whether the engine found a state by itself: the steps before it say why. A person who sets one, as `host cordon` does,
/// may give no reason.
fn is_derived(line: &HistoryLine) -> bool {
    line.reason.is_empty() && line.actor == Actor::Engine.to_string()
}
