//! Tables, as kubectl prints them.

mod cells;
mod findings;
mod history;
mod kinds;

pub(crate) use self::{
    findings::{candidates, checks, drained, inventory},
    history::history,
    kinds::{TableForm, objects, tokens},
};

use vsiflow_steps::host_text;

/// A table: a head and rows.
pub(crate) struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&'static str]) -> Self {
        Self::with_head(head.iter().map(|word| (*word).to_owned()).collect())
    }

    fn with_head(head: Vec<String>) -> Self {
        let rows = Vec::new();
        Self { head, rows }
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows without the head, to continue a table that was printed before.
    pub(crate) fn rows(&self) -> String {
        let text = self.render();
        text.split_once('\n')
            .map(|(_, rows)| rows.to_owned())
            .unwrap_or_default()
    }

    /// The text: columns as wide as their widest cell, three spaces apart.
    pub(crate) fn render(&self) -> String {
        rendered(std::iter::once(&self.head).chain(&self.rows))
    }

    /// The table without the columns that are empty in every row.
    pub(crate) fn render_what_is_known(&self) -> String {
        let is_known = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells
                .into_iter()
                .any(|cell| !["", "<none>"].contains(&cell.as_str()))
        };
        let known: Vec<bool> = (0..self.head.len()).map(is_known).collect();
        let known_cells = |row: &[String]| {
            let cells = row.iter().zip(&known).filter(|(_, known)| **known);
            cells.map(|(cell, _)| cell.clone()).collect::<Vec<_>>()
        };
        let rows: Vec<_> = std::iter::once(&self.head)
            .chain(&self.rows)
            .map(|row| known_cells(row))
            .collect();
        rendered(rows.iter())
    }

    /// The table without the head.
    pub(crate) fn render_without_head(&self) -> String {
        rendered(self.rows.iter())
    }
}

/// Rows as text: columns as wide as their widest cell, three spaces apart.
pub(super) fn rendered<'r>(rows: impl Iterator<Item = &'r Vec<String>>) -> String {
    let shown = |row: &Vec<String>| row.iter().map(|cell| shown(cell)).collect::<Vec<_>>();
    let rows: Vec<Vec<String>> = rows.map(shown).collect();
    let widths = widths(&rows);
    rows.iter().map(|row| line(row, &widths)).collect()
}

/// The width of each column: that of its widest cell.
pub(super) fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    widths
}

/// A row as a line, with columns of these widths, three spaces apart.
pub(super) fn line(row: &[String], widths: &[usize]) -> String {
    let cells = row.iter().zip(widths).map(|(cell, width)| {
        // Formatting panics at widths beyond 65,535.
        let missing = width.saturating_sub(cell.chars().count());
        format!("{cell}{}", " ".repeat(missing))
    });
    let cells = cells.collect::<Vec<_>>().join("   ");
    format!("{}\n", cells.trim_end())
}

/// A cell on one line: a name from a host or a message may contain line breaks and other control characters.
pub(super) fn shown(cell: &str) -> String {
    host_text::shown(cell).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "LONG"]);
        table.rows.push(vec!["wide cell".into(), "x".into()]);
        assert_eq!(table.render(), "A           LONG\nwide cell   x\n");
    }

    #[test]
    fn a_cell_may_be_of_any_length() {
        let mut table = Table::new(&["A", "B"]);
        table.rows.push(vec!["x".repeat(70_000), "y".into()]);
        assert!(table.render().ends_with("x   y\n"));
    }

    #[test]
    fn no_cell_breaks_the_table() {
        let mut table = Table::new(&["NAME", "STATE"]);
        for name in ["a\nb", "\u{1b}[2J", "\u{202e}x", "caf\u{e9}"] {
            table.rows.push(vec![name.into(), "on".into()]);
        }
        let text = table.render();
        assert_eq!(text.lines().count(), 5, "{text}");
        assert!(text.contains("a\\nb        on\n"), "{text}");
        assert!(
            !text.contains(|c: char| c.is_control() && c != '\n'),
            "{text}"
        );
    }

    #[test]
    fn columns_that_are_empty_in_every_row_can_be_left_out() {
        let mut table = Table::new(&["NAME", "IP", "STEP", "RUN"]);
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        table.rows.push(row(["a", "<none>", "", "r1"]));
        table.rows.push(row(["b", "<none>", "boot", ""]));
        assert_eq!(
            table.render_what_is_known(),
            "NAME   STEP   RUN\na             r1\nb      boot\n"
        );
    }
}
