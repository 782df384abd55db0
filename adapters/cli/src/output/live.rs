//! Shows the progress of a command: step graphs and bars on a terminal, plain lines elsewhere.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::IsTerminal as _,
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;
use vsiflow_engine::{
    Notice,
    journal::Record,
    model::{EntityId, EventKind, Failure, Name, Outcome, RunId, StreamId},
    step::Progress,
};
use vsiflow_workflows::fleet::{Meter, RunGraph, UploadProgress, took};

use super::{graph, pane::Pane};

/// How often a step's progress is printed without bars.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows notices of the engine. Does nothing when quiet.
pub(crate) struct LiveOutput {
    shown: ShownLine,
    began: HashMap<(RunId, Name), u64>,
    reported: HashMap<(RunId, Name), (Instant, Meter)>,
    /// How long steps took, in milliseconds, by the run's text and the step's name.
    took: HashMap<String, BTreeMap<String, u64>>,
}

enum ShownLine {
    Nothing,
    Plain,
    Bars {
        all: MultiProgress,
        of: HashMap<(RunId, Name), ProgressBar>,
        graphs: Box<Graphs>,
    },
}

/// The step graphs of the entities that the command waits for.
struct Graphs {
    pane: Pane,
    /// The entities whose graphs are drawn now.
    of: HashSet<EntityId>,
    /// Runs that were drawn: for their successful steps no lines are printed.
    runs: HashSet<String>,
}

/// A step graph, and its entity.
pub(crate) struct Drawn {
    pub(crate) entity: EntityId,
    pub(crate) label: String,
    pub(crate) run: RunGraph,
    /// Whether the command still waits for it.
    pub(crate) open: bool,
}

impl LiveOutput {
    /// Bars if standard error is a terminal, otherwise plain lines.
    pub(crate) fn new(quiet: bool) -> Self {
        // The engine's log contains the same, with more IDs.
        let shown = if quiet || super::log::is_asked() {
            ShownLine::Nothing
        } else if std::io::stderr().is_terminal() && !super::sink::is_for_caller() {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            let all = MultiProgress::with_draw_target(target);
            ShownLine::Bars {
                graphs: Box::new(Graphs {
                    pane: Pane::above(all.clone()),
                    of: HashSet::new(),
                    runs: HashSet::new(),
                }),
                all,
                of: HashMap::new(),
            }
        } else {
            ShownLine::Plain
        };
        Self {
            shown,
            began: HashMap::new(),
            reported: HashMap::new(),
            took: HashMap::new(),
        }
    }

    /// Whether step graphs are drawn, and enough time has passed to draw them again.
    pub(crate) fn draws(&self) -> bool {
        matches!(&self.shown, ShownLine::Bars { graphs, .. } if graphs.pane.is_due())
    }

    /// Whether step graphs are drawn at all.
    pub(crate) fn has_graphs(&self) -> bool {
        matches!(self.shown, ShownLine::Bars { .. })
    }

    /// Whether the graph of this entity is drawn.
    pub(crate) fn is_drawn(&self, entity: &EntityId) -> bool {
        matches!(&self.shown, ShownLine::Bars { graphs, .. } if graphs.of.contains(entity))
    }

    /// Replaces the drawn step graphs. The graph of an entity that is no longer waited for is printed a last
    /// time.
    pub(crate) fn draw(&mut self, drawn: &[Drawn]) {
        let ShownLine::Bars { all, graphs, .. } = &mut self.shown else {
            return;
        };
        let none = BTreeMap::new();
        let mut text = String::new();
        graphs.of.clear();
        for one in drawn {
            let took = self.took.get(&one.run.name).unwrap_or(&none);
            let graph = graph::render_live(&one.label, &one.run, took);
            if one.open {
                graphs.of.insert(one.entity.clone());
                graphs.runs.insert(one.run.name.clone());
                text.push_str(&graph);
            } else {
                // A closed terminal is not an error.
                let _ = all.println(graph.trim_end());
            }
        }
        graphs.pane.draw(&text);
    }

    /// Shows one notice; `label` names the entity of a run.
    pub(crate) fn show(&mut self, notice: &Notice, label: impl Fn(RunId) -> String) {
        if matches!(self.shown, ShownLine::Nothing) {
            return;
        }
        match notice {
            Notice::Recorded(record) => self.recorded(record, label),
            Notice::Progress {
                run,
                node,
                progress,
                ..
            } => {
                self.progress(&label(*run), (*run, node.clone()), progress);
            }
            Notice::Repeated {
                run,
                node,
                attempt,
                failure,
                delay_ms,
            } => {
                let text = format!("{failure}; attempt {attempt}, again in {}", took(*delay_ms));
                self.say(&label(*run), node.as_str(), &text);
            }
            Notice::Unopened { entity, failure } => {
                self.say(&entity.to_string(), "is not begun:", &failure.to_string());
            }
            Notice::Room(seen) => super::room(*seen),
            Notice::Ended => {}
        }
    }

    /// Prints what something still waits for.
    pub(crate) fn still_waits(&self, label: &str, what: &str) {
        self.say(label, "still waits:", what);
    }

    fn recorded(&mut self, record: &Record, label: impl Fn(RunId) -> String) {
        let StreamId::Run(run) = record.stream else {
            return;
        };
        let at = record.event.at.0;
        match &record.event.kind {
            EventKind::StepStarted { node, .. } => {
                self.began.insert((run, node.clone()), at);
            }
            EventKind::StepSucceeded { node, outcome, .. } => {
                self.end(&(run, node.clone()));
                let began = self.began.get(&(run, node.clone()));
                let how = match outcome {
                    Outcome::AlreadyPresent => "present",
                    Outcome::Created => "done",
                    Outcome::Updated => "updated",
                };
                // The start of an attempt is not recorded if the attempt is like the one before.
                let text = match began {
                    Some(began) => {
                        let millis = at.saturating_sub(*began);
                        let steps = self.took.entry(run.to_string()).or_default();
                        steps.insert(node.to_string(), millis);
                        format!("{how} ({})", took(millis))
                    }
                    None => how.to_owned(),
                };
                if self.is_in_graph(run) {
                    return;
                }
                self.say(&label(run), node.as_str(), &text);
            }
            EventKind::StepFailed {
                node,
                failure,
                retry,
                ..
            } => {
                self.end(&(run, node.clone()));
                let again = retry.map(|wait| format!("; again in {}", took(wait.delay_ms)));
                self.failed(&label(run), node, failure, &again.unwrap_or_default());
            }
            EventKind::StepBlocked { node, failure, .. } => {
                self.end(&(run, node.clone()));
                self.failed(&label(run), node, failure, "; blocked");
            }
            EventKind::StepInterrupted { node, .. } => self.end(&(run, node.clone())),
            _ => {}
        }
    }

    fn is_in_graph(&self, run: RunId) -> bool {
        match &self.shown {
            ShownLine::Bars { graphs, .. } => graphs.runs.contains(&run.to_string()),
            _ => false,
        }
    }

    fn failed(&mut self, label: &str, node: &Name, failure: &Failure, note: &str) {
        self.say(label, node.as_str(), &format!("{failure}{note}"));
    }

    fn say(&self, label: &str, node: &str, text: &str) {
        let line = format!("{label}: {node} {text}");
        match &self.shown {
            ShownLine::Nothing => {}
            ShownLine::Plain => super::note(&line),
            ShownLine::Bars { all, .. } => {
                // A closed terminal is not an error.
                let _ = all.println(line);
            }
        }
    }

    fn end(&mut self, at: &(RunId, Name)) {
        self.reported.remove(at);
        if let ShownLine::Bars { of, .. } = &mut self.shown
            && let Some(bar) = of.remove(at)
        {
            bar.finish_and_clear();
        }
    }

    fn progress(&mut self, label: &str, at: (RunId, Name), progress: &Progress) {
        if let ShownLine::Bars { all, of, .. } = &mut self.shown {
            let bar = of.entry(at).or_insert_with(|| bar(all, progress.done));
            bar.set_style(style(progress));
            if let Some(total) = progress.total {
                bar.set_length(total);
            }
            bar.set_prefix(label.to_owned());
            bar.set_message(progress.what.clone());
            bar.set_position(progress.done);
            return;
        }
        let now = Instant::now();
        let (reported, meter) = self
            .reported
            .entry(at.clone())
            .or_insert_with(|| (now, Meter::default()));
        meter.note(now, progress);
        if now.duration_since(*reported) >= PLAIN_EVERY {
            *reported = now;
            let text = UploadProgress::of(progress, meter).to_string();
            self.say(label, at.1.as_str(), &text);
        }
    }

    /// Clears the bars and the graphs.
    pub(crate) fn finish(&mut self) {
        if let ShownLine::Bars { all, of, graphs } = &mut self.shown {
            graphs.pane.clear();
            of.drain().for_each(|(_, bar)| bar.finish_and_clear());
            let _ = all.clear();
        }
    }
}

/// A progress bar. Bytes before `position` do not count for the rate.
fn bar(all: &MultiProgress, position: u64) -> ProgressBar {
    let bar = all.add(ProgressBar::no_length().with_position(position));
    bar.reset_eta();
    bar
}

fn style(progress: &Progress) -> ProgressStyle {
    let template = match (progress.total, progress.done) {
        (Some(_), _) => {
            "{prefix}: {msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
        }
        (None, 0) => "{prefix}: {spinner} {msg}",
        (None, _) => "{prefix}: {spinner} {msg} {binary_bytes} {binary_bytes_per_sec}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
