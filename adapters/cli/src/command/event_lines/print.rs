//! Prints events, as tables or as lines of JSON.

use vsiflow_workflows::fleet::HistoryLine;

use crate::{
    args::HistoryFormat,
    exit::ExitProblem,
    output::{self, table},
};

/// Prints events, with a table head or as a continuation.
pub(crate) fn print(
    output: Option<HistoryFormat>,
    lines: &[HistoryLine],
    head: bool,
) -> Result<(), ExitProblem> {
    match output {
        Some(HistoryFormat::Json) => lines.iter().try_for_each(output::json_line),
        wide => {
            EventTable::of(lines, wide.is_some(), head).print();
            Ok(())
        }
    }
}

/// A table of events as text.
struct EventTable {
    text: String,
    head: bool,
}

impl EventTable {
    fn of(lines: &[HistoryLine], wide: bool, head: bool) -> Self {
        let table = table::history(lines, wide);
        let text = if head { table.render() } else { table.rows() };
        let text = if lines.is_empty() {
            String::new()
        } else {
            text.trim_end().to_owned()
        };
        Self { text, head }
    }

    fn print(&self) {
        if !self.text.is_empty() {
            output::line(&self.text);
        } else if self.head {
            output::note("No events found.");
        }
    }
}
