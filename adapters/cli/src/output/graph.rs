//! Draws a run's step graph as text, each step above the steps that wait for it. Waves of a group are drawn
//! above their members, and these above the next wave.

use std::collections::BTreeMap;

use jiff::Timestamp;
use renderdag::{Ancestor, GraphRowRenderer, Renderer};
use vsiflow_workflows::fleet::{GraphStep, ObjectGraph, RunGraph, took};

use super::{
    symbols::{self, Sign},
    times::Times,
    wrap::{terminal_width, wrapped},
};

/// How many columns the lines of the graph may use beside a message.
const LANES: usize = 12;

/// A graph below its heading.
pub(crate) fn render(graph: &ObjectGraph, times: Times) -> String {
    let sign = if graph.has_members {
        sign_of_phase
    } else {
        sign_of_step
    };
    let drawn = lanes(&graph.nodes, &graph.durations, terminal_width(), sign);
    if graph.head.is_empty() {
        return drawn;
    }
    let mut head = graph.head.clone();
    let started = graph.started.as_ref();
    head.extend(started.map(|at| times.shown_at(at, Timestamp::now())));
    format!("{}\n{drawn}", head.join("   ").trim_end())
}

/// The graph of a run in progress, below the name of its entity and its progress.
pub(crate) fn render_live(
    label: &str,
    run: &RunGraph,
    durations: &BTreeMap<String, u64>,
) -> String {
    let done = run.steps.iter().filter(|step| step.state == "Succeeded");
    format!(
        "{label}   {}   {}   {}/{}\n{}",
        run.workflow,
        run.phase,
        done.count(),
        run.steps.len(),
        lanes(&run.steps, durations, terminal_width(), sign_of_step)
    )
}

fn lanes(
    steps: &[GraphStep],
    durations: &BTreeMap<String, u64>,
    width: Option<usize>,
    sign: fn(&str) -> Sign,
) -> String {
    let ascii = symbols::is_ascii();
    let graph = GraphRowRenderer::new().output().with_min_row_height(1);
    let mut renderer: Box<dyn Renderer<&str, Output = String>> = if ascii {
        Box::new(graph.build_ascii())
    } else {
        Box::new(graph.build_box_drawing())
    };
    let widest = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let rows = steps.iter().map(|step| {
        let waiting = steps.iter().filter(|other| waits_for(steps, other, step));
        let waiting = waiting.map(|other| Ancestor::Parent(other.name.as_str()));
        let took = durations.get(&step.name).copied();
        renderer.next_row(
            step.name.as_str(),
            waiting.collect(),
            sign(&step.state).drawn(ascii).to_owned(),
            message(step, took, widest, width),
        )
    });
    let drawn: String = rows.collect();
    drawn
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Whether `step` comes directly after `before`: an edge is left out if a longer path implies it.
fn waits_for(steps: &[GraphStep], step: &GraphStep, before: &GraphStep) -> bool {
    let named = |name: &String| steps.iter().find(|one| one.name == *name);
    let others = || step.after.iter().filter(|name| **name != before.name);
    step.after.contains(&before.name)
        && !others()
            .filter_map(named)
            .any(|other| reaches(steps, other, before))
}

/// Whether `step` comes after `before`, also indirectly. Steps are listed after those they wait for.
fn reaches(steps: &[GraphStep], step: &GraphStep, before: &GraphStep) -> bool {
    let mut reached = vec![step.name.as_str()];
    for one in steps.iter().rev() {
        if reached.contains(&one.name.as_str()) {
            reached.extend(one.after.iter().map(String::as_str));
        }
    }
    reached.contains(&before.name.as_str())
}

fn sign_of_step(state: &str) -> Sign {
    match state {
        "Succeeded" => Sign::Done,
        "Running" => Sign::Busy,
        "Failed" => Sign::Failed,
        "Blocked" => Sign::Blocked,
        "Delayed" => Sign::Delayed,
        "Skipped" => Sign::Left,
        _ => Sign::Waiting,
    }
}

fn sign_of_phase(phase: &str) -> Sign {
    match phase {
        "Running" | "Available" | "Stopped" | "Paused" | "Open" => Sign::Done,
        "Provisioning" | "Booting" | "Updating" | "Progressing" => Sign::Busy,
        "Failed" => Sign::Failed,
        "Blocked" | "Degraded" | "Unreadable" => Sign::Blocked,
        "Deleting" | "Deleted" | "Removed" => Sign::Left,
        _ => Sign::Waiting,
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

    fn node(name: &str, after: &[String], state: &'static str) -> GraphStep {
        GraphStep {
            after: after.to_vec(),
            ..step(name, &[], state)
        }
    }

    fn step(name: &str, after: &[&str], state: &'static str) -> GraphStep {
        GraphStep {
            name: name.to_owned(),
            after: after.iter().map(|&one| one.to_owned()).collect(),
            state: state.into(),
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
        insta::assert_snapshot!(lanes(&steps, &durations, Some(80), sign_of_step));
    }

    #[test]
    fn members_stand_below_their_wave_and_above_the_next_one() {
        let after = |name: &str| [name.to_owned()];
        let nodes = [
            node("wave control", &[], "Open"),
            node("control", &after("wave control"), "Available"),
            node("bootstrap", &after("wave control"), "Removed"),
            node(
                "wave workers",
                &["control".to_owned(), "bootstrap".to_owned()],
                "Closed",
            ),
            node("worker", &after("wave workers"), "Progressing"),
        ];
        let drawn = lanes(&nodes, &BTreeMap::new(), Some(80), sign_of_phase);
        insta::assert_snapshot!(drawn);
    }
}
