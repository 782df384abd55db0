//! The runs of a VSI: the step graph of one, and a timeline of all.

use maud::{Markup, html};
use vsiflow_workflows::fleet::{HistoryLine, Moment, RunGraph};

use super::{context::PageContext, graph, state::state, text};

/// The maximum number of runs shown.
const RUNS: usize = 50;
/// The maximum number of attempts drawn for one run.
const ATTEMPTS: usize = 60;
/// The width of a run's drawing, and the height of an attempt.
const WIDTH: u64 = 600;
const HEIGHT: usize = 6;

/// The graph of a run, as a drawing and as a table.
pub(super) fn drawn(run: Option<&RunGraph>, history: &[HistoryLine]) -> Markup {
    let Some(run) = run else {
        return html! {};
    };
    let took = run.durations(history);
    html! {
        section aria-labelledby="graph" {
            h2 #graph { "Steps of " (run.workflow) " " (state(&run.phase)) }
            div.wide tabindex="0" role="region" aria-label="Step graph" { (graph::draw(run, &took)) }
            details #steps {
                summary { "As a table" }
                table {
                    thead { tr {
                        th scope="col" { "Step" } th scope="col" { "State" }
                        th scope="col" { "Attempts" } th scope="col" { "Took" }
                        th scope="col" { "After" } th scope="col" { "At" }
                    } }
                    tbody { @for step in &run.steps { tr {
                        th scope="row" { (step.name) } td { (state(&step.state)) }
                        td { (step.attempt) }
                        td { @if let Some(ms) = took.get(&step.name) { (text::took(*ms)) } }
                        td { (step.after.join(", ")) }
                        td { @if let Some(at) = &step.at { time { (at) } } }
                    } } }
                }
            }
            @for step in run.steps.iter().filter(|step| !step.message.is_empty()) {
                p.obstacle { strong { (step.name) } ": " (text::visible(&step.message)) }
            }
        }
    }
}

/// All runs, the newest first, each with a timeline of its steps.
pub(super) fn timeline(
    runs: &[RunGraph],
    drawn: Option<&RunGraph>,
    history: &[HistoryLine],
    context: &PageContext,
) -> Markup {
    let more = context.at.more();
    html! {
        h2 { "Runs" }
        ol.timeline {
            @for run in runs.iter().take(RUNS) {
                @let span = RunSpan::of(run, history);
                li {
                    a href={ "?run=" (run.name) (more) } aria-current=[is_drawn(run, drawn)] {
                        (run.workflow) " of generation " (run.generation)
                    }
                    " " (state(&run.phase)) " "
                    time { (run.started) }
                    @match run.phase.as_ref() {
                        "Active" | "Paused" => " – now",
                        _ => { " – " time { (span.end) } },
                    }
                    ", " (run.steps.iter().filter(|step| step.state == "Succeeded").count())
                    " of " (run.steps.len()) " steps"
                    (span.bar())
                }
            }
        }
        @if runs.len() > RUNS { p { (runs.len().saturating_sub(RUNS)) " older runs are in the history." } }
    }
}

fn is_drawn(run: &RunGraph, drawn: Option<&RunGraph>) -> Option<&'static str> {
    drawn.filter(|drawn| drawn.name == run.name).map(|_| "true")
}

/// When a run and the attempts of its steps were under way, in milliseconds.
#[derive(Debug, Default, PartialEq, Eq)]
struct RunSpan {
    end: String,
    from: u64,
    to: u64,
    /// Step, kind of event, begin and end of each attempt that ended.
    attempts: Vec<(String, String, u64, u64)>,
}

impl RunSpan {
    fn of(run: &RunGraph, history: &[HistoryLine]) -> Self {
        let mut span = Self::default();
        let own = history
            .iter()
            .filter(|line| line.run.as_deref() == Some(run.name.as_str()));
        for line in own {
            let Some(at) = milliseconds(&line.time) else {
                continue;
            };
            if span.from == 0 {
                span.from = at;
            }
            span.to = span.to.max(at);
            span.end.clone_from(&line.time);
            if let (Some(step), Some(took)) = (&line.step, line.duration_ms) {
                let began = at.saturating_sub(took);
                span.from = span.from.min(began);
                span.attempts
                    .push((step.clone(), line.kind.clone(), began, at));
            }
        }
        span
    }

    /// The drawing: a bar for each attempt, from the beginning of the run to its end.
    fn bar(&self) -> Markup {
        let whole = self.to.saturating_sub(self.from).max(1);
        let place = |at: u64| {
            let part = at.saturating_sub(self.from).saturating_mul(WIDTH);
            part.checked_div(whole).unwrap_or_default()
        };
        let shown: Vec<_> = self.attempts.iter().take(ATTEMPTS).collect();
        if shown.is_empty() {
            return html! {};
        }
        let height = shown.len().saturating_mul(HEIGHT);
        html! {
            svg.bars viewBox={ "0 0 " (WIDTH) " " (height) } width=(WIDTH) height=(height) aria-hidden="true" {
                @for (at, (step, kind, began, ended)) in shown.iter().enumerate() {
                    rect.(kind) x=(place(*began)) y=(at.saturating_mul(HEIGHT))
                        width=(place(*ended).saturating_sub(place(*began)).max(2)) height=(HEIGHT.saturating_sub(1)) {
                        title { (step) ", " (text::took(ended.saturating_sub(*began))) }
                    }
                }
            }
        }
    }
}

/// A time of the journal, in milliseconds since the epoch.
fn milliseconds(time: &str) -> Option<u64> {
    match time.parse() {
        Ok(Moment::Time(time)) => Some(time.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(time: &str, step: &str, took: u64) -> HistoryLine {
        HistoryLine {
            run: Some("01".to_owned()),
            time: time.to_owned(),
            step: Some(step.to_owned()),
            kind: "step_succeeded".to_owned(),
            duration_ms: Some(took),
            ..HistoryLine::default()
        }
    }

    fn run() -> RunGraph {
        RunGraph {
            name: "01".to_owned(),
            workflow: "provision_vsi".to_owned(),
            generation: 1,
            started: String::new(),
            phase: "Succeeded".into(),
            steps: Vec::new(),
        }
    }

    #[test]
    fn attempts_are_drawn_from_their_beginning_to_their_end() {
        let history = [
            line("2026-11-22T09:00:01.000Z", "a", 1_000),
            line("2026-11-22T09:00:02.000Z", "b", 500),
        ];
        let span = RunSpan::of(&run(), &history);
        assert_eq!(span.to - span.from, 2_000);
        let drawn = span.bar().into_string();
        assert!(drawn.contains(r#"x="0" y="0" width="300""#), "{drawn}");
        assert!(drawn.contains(r#"x="450" y="6" width="150""#), "{drawn}");
    }

    #[test]
    fn a_clock_that_was_set_back_and_no_time_at_all_draw_something_that_fits() {
        let history = [
            line("2026-11-22T09:00:01.000Z", "a", u64::MAX),
            line("2026-11-22T08:00:00.000Z", "b", 5),
            line("soon", "c", 5),
        ];
        let drawn = RunSpan::of(&run(), &history).bar().into_string();
        assert_eq!(drawn.matches("<rect").count(), 2, "{drawn}");
        assert_eq!(RunSpan::of(&run(), &[]).bar().into_string(), "");
    }
}
