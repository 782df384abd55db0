//! What is going on while a command works: bars on a terminal, plain lines elsewhere.

use std::{
    collections::HashMap,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use vsiflow_engine::{
    Notice,
    journal::Record,
    model::{EventKind, Failure, Name, Outcome, RunId, StreamId},
    step::Progress,
};

use super::table::took;

/// How often a step's progress is told where there are no bars.
const PLAIN_EVERY: Duration = Duration::from_secs(5);

/// Shows notices. Does nothing when quiet.
pub(crate) struct Live {
    shown: Shown,
    began: HashMap<(RunId, Name), u64>,
    told: HashMap<(RunId, Name), (Instant, Instant)>,
}

enum Shown {
    Nothing,
    Plain,
    Bars {
        all: MultiProgress,
        of: HashMap<(RunId, Name), ProgressBar>,
    },
}

impl Live {
    /// Bars where standard error is a terminal, plain lines elsewhere.
    pub(crate) fn new(quiet: bool) -> Self {
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal() && !super::sink::is_for_caller() {
            let target = ProgressDrawTarget::stderr_with_hz(10);
            Shown::Bars {
                all: MultiProgress::with_draw_target(target),
                of: HashMap::new(),
            }
        } else {
            Shown::Plain
        };
        Self {
            shown,
            began: HashMap::new(),
            told: HashMap::new(),
        }
    }

    /// Shows one notice; `label` names the entity of a run.
    pub(crate) fn show(&mut self, notice: &Notice, label: impl Fn(RunId) -> String) {
        if matches!(self.shown, Shown::Nothing) {
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
            Notice::Ended => {}
        }
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
                let began = self.began.get(&(run, node.clone())).copied().unwrap_or(at);
                let how = match outcome {
                    Outcome::AlreadyPresent => "present",
                    Outcome::Created => "done",
                    Outcome::Updated => "updated",
                };
                let text = format!("{how} ({})", took(at.saturating_sub(began)));
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

    fn failed(&mut self, label: &str, node: &Name, failure: &Failure, note: &str) {
        self.say(label, node.as_str(), &format!("{failure}{note}"));
    }

    fn say(&self, label: &str, node: &str, text: &str) {
        let line = format!("{label}: {node} {text}");
        match &self.shown {
            Shown::Nothing => {}
            Shown::Plain => super::note(&line),
            Shown::Bars { all, .. } => {
                // A terminal that went away is no error.
                let _ = all.println(line);
            }
        }
    }

    fn end(&mut self, at: &(RunId, Name)) {
        self.told.remove(at);
        if let Shown::Bars { of, .. } = &mut self.shown
            && let Some(bar) = of.remove(at)
        {
            bar.finish_and_clear();
        }
    }

    fn progress(&mut self, label: &str, at: (RunId, Name), progress: &Progress) {
        if let Shown::Bars { all, of } = &mut self.shown {
            let bar = of
                .entry(at)
                .or_insert_with(|| all.add(ProgressBar::no_length()));
            bar.set_style(style(progress.total.is_some()));
            if let Some(total) = progress.total {
                bar.set_length(total);
            }
            bar.set_prefix(label.to_owned());
            bar.set_message(progress.what.clone());
            bar.set_position(progress.done);
            return;
        }
        let now = Instant::now();
        let (began, told) = *self.told.entry(at.clone()).or_insert((now, now));
        if now.duration_since(told) >= PLAIN_EVERY {
            self.told.insert(at.clone(), (began, now));
            self.say(
                label,
                at.1.as_str(),
                &plain(progress, now.duration_since(began)),
            );
        }
    }

    /// Clears the bars.
    pub(crate) fn finish(&mut self) {
        if let Shown::Bars { all, of } = &mut self.shown {
            of.drain().for_each(|(_, bar)| bar.finish_and_clear());
            let _ = all.clear();
        }
    }
}

fn style(counted: bool) -> ProgressStyle {
    let template = if counted {
        "{prefix}: {msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}"
    } else {
        "{prefix}: {spinner} {msg}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// `uploading 120 MiB of 1024 MiB (11 %), 40.0 MiB/s, 22 s left`.
fn plain(progress: &Progress, elapsed: Duration) -> String {
    const MIB: u64 = 1024 * 1024;
    let Progress {
        done,
        total: Some(total),
        what,
    } = progress
    else {
        return progress.what.clone();
    };
    if *total < MIB {
        return what.clone();
    }
    let millis = u64::try_from(elapsed.as_millis())
        .unwrap_or(u64::MAX)
        .max(1);
    let rate = done.saturating_mul(1_000) / millis;
    let left = total
        .saturating_sub(*done)
        .checked_div(rate)
        .map(|s| format!(", {s} s left"));
    let percent = done.saturating_mul(100).checked_div(*total).unwrap_or(0);
    format!(
        "{what} {} MiB of {} MiB ({percent} %), {}.{} MiB/s{}",
        done / MIB,
        total / MIB,
        rate / MIB,
        rate % MIB * 10 / MIB,
        left.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_say_rate_and_time_left() {
        let mib = 1024 * 1024;
        let progress = Progress {
            done: 100 * mib,
            total: Some(300 * mib),
            what: "uploading".into(),
        };
        let line = plain(&progress, Duration::from_secs(10));
        assert_eq!(
            line,
            "uploading 100 MiB of 300 MiB (33 %), 10.0 MiB/s, 20 s left"
        );
    }
}
