//! Draws a step graph as SVG.

use std::collections::BTreeMap;

use maud::{Markup, html};
use rust_sugiyama::{configure::Config, from_vertices_and_edges};
use vsiflow_workflows::fleet::{GraphStep, RunGraph};

use super::text;

const WIDTH: f64 = 190.0;
const HEIGHT: f64 = 46.0;
const GAP: f64 = 24.0;
/// For a larger graph only the table is shown.
const MAX: usize = 100;

/// The graph of a run, from the top down. `took` has the durations of steps in milliseconds.
pub(super) fn draw(run: &RunGraph, took: &BTreeMap<String, u64>) -> Markup {
    if run.steps.is_empty() || run.steps.len() > MAX {
        return html! {};
    }
    let (places, width, height) = places(&run.steps);
    let place = |name: &str| places.get(name).copied().unwrap_or_default();
    let edges = run.steps.iter().flat_map(|step| {
        let to = &step.name;
        step.after.iter().map(move |from| (from, to))
    });
    // Room for the outlines of the outermost steps.
    let (width, height) = (width + 4.0, height + 4.0);
    let view = format!("-2 -2 {width:.0} {height:.0}");
    html! {
        svg.graph viewBox=(view) width=(format!("{width:.0}")) height=(format!("{height:.0}"))
            role="img" aria-labelledby="graph" {
            @for (from, to) in edges { path d=(edge(place(from), place(to))) {} }
            @for step in &run.steps { (node(step, place(&step.name), took.get(&step.name))) }
        }
    }
}

fn node(step: &GraphStep, (x, y): (f64, f64), took: Option<&u64>) -> Markup {
    let mut words = step.state.to_string();
    if step.attempt > 1 {
        words.push_str(&format!(" ×{}", step.attempt));
    }
    if let Some(ms) = took {
        words.push_str(&format!(", {}", text::took(*ms)));
    }
    let at = |part: f64| format!("{part:.1}");
    html! {
        g.(step.state.to_lowercase()) {
            title { (step.name) ": " (words) }
            rect x=(at(x)) y=(at(y)) width=(at(WIDTH)) height=(at(HEIGHT)) rx="6" {}
            text x=(at(x + 10.0)) y=(at(y + 19.0)) { (step.name) }
            text.small x=(at(x + 10.0)) y=(at(y + 36.0)) { (words) }
        }
    }
}

fn edge((x1, y1): (f64, f64), (x2, y2): (f64, f64)) -> String {
    let (x1, y1, x2) = (x1 + WIDTH / 2.0, y1 + HEIGHT, x2 + WIDTH / 2.0);
    let middle = f64::midpoint(y1, y2);
    format!("M{x1:.1} {y1:.1} C{x1:.1} {middle:.1} {x2:.1} {middle:.1} {x2:.1} {y2:.1}")
}

/// The upper left corner of each step, and the width and height of the whole.
fn places(steps: &[GraphStep]) -> (BTreeMap<String, (f64, f64)>, f64, f64) {
    let number = |name: &str| {
        let at = steps.iter().position(|step| step.name == name)?;
        u32::try_from(at).ok()
    };
    let vertices: Vec<_> = (0u32..)
        .take(steps.len())
        .map(|id| (id, (WIDTH, HEIGHT)))
        .collect();
    let edges = steps.iter().flat_map(|step| {
        let befores = step.after.iter();
        befores.filter_map(|before| Some((number(before)?, number(&step.name)?)))
    });
    let edges: Vec<_> = edges.collect();
    let config = Config {
        vertex_spacing: GAP,
        ..Config::default()
    };
    let mut found = BTreeMap::new();
    let (mut left, mut height) = (0.0_f64, 0.0_f64);
    for (places, ..) in from_vertices_and_edges(&vertices, &edges, &config) {
        let name = |id: usize| steps.get(id).map(|step| step.name.clone());
        let part: Vec<_> = places
            .into_iter()
            .filter_map(|(id, at)| Some((name(id)?, at)))
            .collect();
        let part = upright(part, steps);
        let most = |which: fn(&(f64, f64)) -> f64| {
            part.iter().map(|(_, at)| which(at)).fold(0.0, f64::max)
        };
        let (wide, high) = (most(|at| at.0) + WIDTH, most(|at| at.1) + HEIGHT);
        found.extend(
            part.into_iter()
                .map(|(step_name, (x, y))| (step_name, (x + left, y))),
        );
        left += wide + GAP;
        height = height.max(high);
    }
    (found, (left - GAP).max(WIDTH), height.max(HEIGHT))
}

/// The same positions relative to the upper left corner, with the first steps at the top.
fn upright(part: Vec<(String, (f64, f64))>, steps: &[GraphStep]) -> Vec<(String, (f64, f64))> {
    let of = |name: &str| part.iter().find(|(one, _)| one == name).map(|(_, at)| at.1);
    let pairs = steps
        .iter()
        .flat_map(|step| step.after.iter().map(move |before| (before, &step.name)));
    let mut falls = pairs.filter_map(|(before, after)| Some(of(after)? < of(before)?));
    let sign = if falls.next().unwrap_or(false) {
        -1.0
    } else {
        1.0
    };
    let turned: Vec<_> = part
        .into_iter()
        .map(|(name, (x, y))| (name, (x, y * sign)))
        .collect();
    let least = |which: fn(&(f64, f64)) -> f64| {
        turned
            .iter()
            .map(|(_, at)| which(at))
            .fold(f64::INFINITY, f64::min)
    };
    let (x0, y0) = (least(|at| at.0), least(|at| at.1));
    turned
        .into_iter()
        .map(|(name, (x, y))| (name, (x - x0, y - y0)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, after: &[&str], state: &'static str, attempt: u32) -> GraphStep {
        GraphStep {
            name: name.to_owned(),
            after: after.iter().map(|&one| one.to_owned()).collect(),
            state: state.into(),
            attempt,
            ..GraphStep::default()
        }
    }

    fn run(steps: Vec<GraphStep>) -> RunGraph {
        RunGraph {
            name: "run".to_owned(),
            workflow: "provision_vsi".to_owned(),
            generation: 1,
            started: String::new(),
            phase: "Active".into(),
            steps,
        }
    }

    fn diamond() -> RunGraph {
        run(vec![
            step("resolve_host", &[], "Succeeded", 1),
            step("write_cidata", &["resolve_host"], "Succeeded", 2),
            step("clone_boot_disk", &["resolve_host"], "Running", 1),
            step(
                "define_domain",
                &["write_cidata", "clone_boot_disk"],
                "Waiting",
                0,
            ),
        ])
    }

    #[test]
    fn the_drawing_of_a_graph_is_this_one() {
        let took = BTreeMap::from([
            ("resolve_host".to_owned(), 75),
            ("write_cidata".to_owned(), 1_250),
        ]);
        let drawn = draw(&diamond(), &took).into_string();
        let lines = drawn.replace("><", ">\n<");
        insta::assert_snapshot!("graph", lines);
        assert_eq!(drawn, draw(&diamond(), &took).into_string());
    }

    #[test]
    fn no_two_steps_overlap_and_each_is_below_those_before_it() {
        let run = diamond();
        let (places, width, height) = places(&run.steps);
        assert_eq!(places.len(), 4);
        let all: Vec<_> = places.values().collect();
        for (at, one) in all.iter().enumerate() {
            assert!(one.0 >= 0.0 && one.0 + WIDTH <= width && one.1 + HEIGHT <= height);
            for other in &all[at + 1..] {
                let apart = (one.0 - other.0).abs() >= WIDTH || (one.1 - other.1).abs() >= HEIGHT;
                assert!(apart, "{places:?}");
            }
        }
        for step in &run.steps {
            for before in &step.after {
                assert!(
                    places[&step.name].1 >= places[before].1 + HEIGHT,
                    "{places:?}"
                );
            }
        }
    }

    #[test]
    fn a_graph_without_edges_and_one_without_steps_are_drawn() {
        assert_eq!(draw(&run(Vec::new()), &BTreeMap::new()).into_string(), "");
        let alone = run(vec![
            step("a", &[], "Waiting", 0),
            step("b", &["nobody"], "Waiting", 0),
        ]);
        let drawn = draw(&alone, &BTreeMap::new()).into_string();
        assert_eq!(drawn.matches("<rect").count(), 2, "{drawn}");
    }
}
