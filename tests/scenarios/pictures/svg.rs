//! Draws a step graph as SVG: steps in columns, each to the right of all steps that it waits for.

use std::{collections::BTreeMap, fmt::Write as _};

use super::graphs::DrawnStep;

const BOX: (usize, usize) = (140, 30);
const GAP: (usize, usize) = (22, 12);
const MARGIN: usize = 8;

/// Colours for light and dark backgrounds.
const STYLE: &str = "rect{fill:#eef4fb;stroke:#3b6ea5}text{fill:#12304f;font:12px ui-monospace,\
                     monospace;text-anchor:middle}path{fill:none;stroke:#6b7f94}\
                     @media(prefers-color-scheme:dark){rect{fill:#12263a;stroke:#6ea8e0}\
                     text{fill:#e2eefb}path{stroke:#8fa3b8}}";

/// The column and row of each step, and how many rows each column has.
struct Layout {
    places: BTreeMap<String, (usize, usize)>,
    rows: Vec<usize>,
}

impl Layout {
    fn of(graph: &[DrawnStep]) -> Self {
        let (mut places, mut rows) = (BTreeMap::new(), Vec::new());
        for step in graph {
            let before = step.after.iter().map(|name: &String| {
                let (column, _): (usize, usize) = places[name];
                column + 1
            });
            let column = before.max().unwrap_or(0);
            rows.resize(rows.len().max(column + 1), 0);
            places.insert(step.name.clone(), (column, rows[column]));
            rows[column] += 1;
        }
        Self { places, rows }
    }

    fn size(&self) -> (usize, usize) {
        let rows = self.rows.iter().max().unwrap();
        (
            2 * MARGIN + self.rows.len() * (BOX.0 + GAP.0) - GAP.0,
            2 * MARGIN + rows * (BOX.1 + GAP.1) - GAP.1,
        )
    }

    /// The upper left corner of a step's box. Shorter columns are centred.
    fn corner(&self, step: &str) -> (usize, usize) {
        let (column, row) = self.places[step];
        let most = self.rows.iter().max().unwrap();
        let above = (most - self.rows[column]) * (BOX.1 + GAP.1) / 2;
        let x = MARGIN + column * (BOX.0 + GAP.0);
        (x, MARGIN + above + row * (BOX.1 + GAP.1))
    }
}

pub(super) fn draw(graph: &[DrawnStep]) -> String {
    let layout = Layout::of(graph);
    let (width, height) = layout.size();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
         <title>The step graph of a new VSI</title>\n<style>{STYLE}</style>\n"
    );
    for step in graph {
        for before in &step.after {
            arrow(&mut svg, layout.corner(before), layout.corner(&step.name));
        }
    }
    for step in graph {
        step_box(&mut svg, layout.corner(&step.name), &step.name);
    }
    svg + "</svg>\n"
}

fn step_box(svg: &mut String, (x, y): (usize, usize), name: &str) {
    let (width, height) = BOX;
    let (text_x, text_y) = (x + width / 2, y + height / 2 + 4);
    writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"6\"/>\
         <text x=\"{text_x}\" y=\"{text_y}\">{name}</text>"
    )
    .unwrap();
}

/// The arrow is level up to the last gap, so that one past other columns does not cross a text
/// twice.
fn arrow(svg: &mut String, from: (usize, usize), to: (usize, usize)) {
    let (x1, y1) = (from.0 + BOX.0, from.1 + BOX.1 / 2);
    let (x2, y2) = (to.0, to.1 + BOX.1 / 2);
    let (gap, bend) = (x2 - GAP.0, x2 - GAP.0 / 2);
    writeln!(
        svg,
        "<path d=\"M{x1} {y1}H{gap}C{bend} {y1} {bend} {y2} {x2} {y2}\"/>"
    )
    .unwrap();
}
