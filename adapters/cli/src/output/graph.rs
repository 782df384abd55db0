//! A run's step graph as text: each step stands above those that wait for it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use renderdag::{Ancestor, GraphRowRenderer, Renderer as _};
use vsiflow_workflows::fleet::{GraphStep, HistoryLine, RunGraph, took};

use super::{
    times::Times,
    wrap::{terminal_width, wrapped},
};

/// Columns that the lines of the graph may take beside a message.
const LANES: usize = 12;

/// The graph of a run, below a line that says what it is. `history` tells how long steps took.
pub(crate) fn render(run: &RunGraph, history: &[HistoryLine], times: Times) -> String {
    let began = times.shown_at(&run.started, Timestamp::now());
    let head = [
        run.workflow.as_str(),
        run.phase,
        &format!("generation {}", run.generation),
        &began,
    ];
    let durations = run.durations(history);
    format!(
        "{}\n{}",
        head.join("   "),
        lanes(&run.steps, &durations, terminal_width())
    )
}

fn lanes(steps: &[GraphStep], durations: &BTreeMap<String, u64>, width: Option<usize>) -> String {
    let mut renderer = GraphRowRenderer::new()
        .output()
        .with_min_row_height(1)
        .build_box_drawing();
    let widest = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let rows = steps.iter().map(|step| {
        let waiting = steps.iter().filter(|other| waits_for(steps, other, step));
        let waiting = waiting.map(|other| Ancestor::Parent(other.name.as_str()));
        let took = durations.get(&step.name).copied();
        renderer.next_row(
            step.name.as_str(),
            waiting.collect(),
            glyph(step.state).to_owned(),
            message(step, took, widest, width),
        )
    });
    let drawn: String = rows.collect();
    drawn
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Whether `step` comes right after `before`: another way between them says as much.
fn waits_for(steps: &[GraphStep], step: &GraphStep, before: &GraphStep) -> bool {
    let named = |name: &String| steps.iter().find(|one| one.name == *name);
    let others = || step.after.iter().filter(|name| **name != before.name);
    step.after.contains(&before.name)
        && !others()
            .filter_map(named)
            .any(|other| reaches(steps, other, before))
}

/// Whether `step` comes after `before`, over others too. Steps stand behind those they come after.
fn reaches(steps: &[GraphStep], step: &GraphStep, before: &GraphStep) -> bool {
    let mut asked = vec![step.name.as_str()];
    for one in steps.iter().rev() {
        if asked.contains(&one.name.as_str()) {
            asked.extend(one.after.iter().map(String::as_str));
        }
    }
    asked.contains(&before.name.as_str())
}

fn glyph(state: &str) -> &'static str {
    match state {
        "Succeeded" => "●",
        "Running" => "◉",
        "Failed" => "✗",
        "Blocked" => "■",
        "Delayed" => "◌",
        "Skipped" => "–",
        _ => "○",
    }
}

fn message(step: &GraphStep, took_ms: Option<u64>, widest: usize, width: Option<usize>) -> String {
    let mut words = vec![
        format!("{:<widest$}", step.name),
        format!("{:<9}", step.state),
    ];
    words.extend(took_ms.filter(|_| step.state == "Succeeded").map(took));
    words.extend((step.attempt > 1).then(|| format!("attempt {}", step.attempt)));
    let mut lines = vec![words.join("  ").trim_end().to_owned()];
    if !step.message.is_empty() {
        let room = width.map(|width| width.saturating_sub(LANES));
        lines.extend(wrapped(&step.message, room, "", ""));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, after: &[&str], state: &'static str) -> GraphStep {
        GraphStep {
            name: name.to_owned(),
            after: after.iter().map(|&one| one.to_owned()).collect(),
            state,
            attempt: 1,
            ..GraphStep::default()
        }
    }

    #[test]
    fn steps_stand_above_those_that_wait_for_them() {
        let mut steps = vec![
            step("resolve_host", &[], "Succeeded"),
            step("ensure_base_image", &["resolve_host"], "Running"),
            step("create_console_log", &["resolve_host"], "Succeeded"),
            step(
                "clone_boot_disk",
                &["resolve_host", "ensure_base_image"],
                "Waiting",
            ),
            step(
                "define_domain",
                &["clone_boot_disk", "create_console_log"],
                "Waiting",
            ),
        ];
        steps[1].message = "VSI0101: the host is not reached. Check that it runs".to_owned();
        steps[1].attempt = 3;
        let durations = [("resolve_host", 13), ("create_console_log", 1_300)];
        let durations = durations.map(|(step, ms)| (step.to_owned(), ms)).into();
        insta::assert_snapshot!(lanes(&steps, &durations, Some(80)));
    }
}
