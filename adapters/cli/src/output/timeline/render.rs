//! Renders a timeline as text.

use jiff::Timestamp;
use vsiflow_workflows::fleet::took;

use super::{Group, Timeline, TimelineEntry};
use crate::output::{symbols, table::rendered, times::Times, wrap::wrapped};

/// The display options of a timeline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimelineView {
    /// How times are written.
    pub(crate) times: Times,
    /// The reference time for ages.
    pub(crate) now: Timestamp,
    /// The columns of the terminal; `None` if lines are not limited.
    pub(crate) width: Option<usize>,
    /// Whether a bar shows the share of each step in its run.
    pub(crate) bars: bool,
    /// Whether the columns have heads.
    pub(crate) heads: bool,
}

/// The width of a bar, in cells.
const BAR: u64 = 10;
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
/// The indentation of lines below an entry.
const BELOW: &str = "      ";

impl Timeline {
    /// The text, with a line end after each line.
    pub(crate) fn render(&self, view: TimelineView) -> String {
        let mut rows = Vec::new();
        let mut below = Vec::new();
        if view.heads {
            let heads = ["WHEN", "WHAT", "OUTCOME", "TRIES", "TOOK"];
            let bar = view.bars.then_some("");
            let heads = heads.into_iter().chain(bar).chain(["BY"]);
            rows.push(heads.map(str::to_owned).collect());
            below.push(Vec::new());
        }
        let mut before = None;
        for group in &self.groups {
            let mut head = group.head.row(view, "", None);
            if before
                .replace(&group.head)
                .is_some_and(|ask| ask.asked_for(group))
                && let Some(by) = head.last_mut()
            {
                by.clear();
            }
            rows.push(head);
            below.push(group.head.below(view));
            let last = group.steps.len().saturating_sub(1);
            for (at, step) in group.steps.iter().enumerate() {
                let branch = format!("{} ", symbols::branch(at == last).fork);
                rows.push(step.row(view, &branch, Some(group)));
                below.push(step.below(view));
            }
        }
        woven(&rows, &below, view)
    }
}

/// The lines of a table, each followed by the lines below it.
fn woven(rows: &[Vec<String>], below: &[Vec<String>], view: TimelineView) -> String {
    let table = rendered(rows.iter());
    let mut text = String::new();
    for (line, under) in table.lines().zip(below) {
        text.push_str(&cut(line, view.width));
        text.push('\n');
        for detail in under {
            text.push_str(detail);
            text.push('\n');
        }
    }
    text
}

/// Truncates a line that is longer than the terminal, with a mark.
fn cut(line: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            let start = line.chars().take(width.saturating_sub(1));
            start.chain(['…']).collect()
        }
        _ => line.to_owned(),
    }
}

impl TimelineEntry {
    /// Whether this is the request that led to the run, so that it already names the actor.
    fn asked_for(&self, run: &Group) -> bool {
        run.is_run && (&self.actor, &self.why) == (&run.head.actor, &run.head.why)
    }

    fn row(&self, view: TimelineView, branch: &str, of: Option<&Group>) -> Vec<String> {
        let tries = match self.tries {
            0 => String::new(),
            tries => tries.to_string(),
        };
        let share = |group: &Group| Some((self.took_ms?, group.span()?));
        let bar = of.and_then(share);
        let bar = bar.map(|(part, whole)| bar_of(part, whole));
        let mut row = vec![
            view.times.shown_at(&self.began, view.now),
            format!("{branch}{}", self.what),
            self.outcome.clone(),
            tries,
            self.took_ms.map(took).unwrap_or_default(),
        ];
        row.extend(view.bars.then(|| bar.unwrap_or_default()));
        row.push(match (self.actor.as_str(), self.why.as_str()) {
            // Actions that no user requested.
            ("engine", "") => String::new(),
            (actor, "") => actor.to_owned(),
            (actor, why) => format!("{actor}: {why}"),
        });
        row
    }

    /// The obstacle and the remedy.
    fn below(&self, view: TimelineView) -> Vec<String> {
        let Some(trouble) = &self.trouble else {
            return Vec::new();
        };
        let mut place = String::new();
        for (what, text) in [("host", &trouble.host), ("object", &trouble.object)] {
            if !text.is_empty() {
                place.push_str(&format!("; {what} {text}"));
            }
        }
        let what = format!("{}: {}{place}", trouble.code, trouble.message);
        let next = [self.next.as_str(), trouble.remedy.as_str()];
        let next: Vec<_> = next.into_iter().filter(|text| !text.is_empty()).collect();
        let mut lines = wrapped(&what, view.width, BELOW, BELOW);
        if !next.is_empty() {
            let next = format!("next: {}", next.join("; "));
            lines.extend(wrapped(&next, view.width, BELOW, BELOW));
        }
        lines
    }
}

impl Group {
    /// How long the run took, or takes so far, in milliseconds.
    fn span(&self) -> Option<u64> {
        self.head.took_ms.or_else(|| {
            let began: Timestamp = self.head.began.parse().ok()?;
            let last: Timestamp = self.head.last.parse().ok()?;
            u64::try_from(last.duration_since(began).as_millis()).ok()
        })
    }
}

/// A part of a whole, in eighths of a cell; any part above 0 has at least one eighth.
fn bar_of(part: u64, whole: u64) -> String {
    let cells = BAR.saturating_mul(8);
    let eighths = part.saturating_mul(cells).checked_div(whole);
    let eighths = eighths
        .unwrap_or_default()
        .clamp(u64::from(part > 0), cells);
    let full = "█".repeat(usize::try_from(eighths / 8).unwrap_or_default());
    let rest = usize::try_from(eighths % 8).unwrap_or_default();
    full + EIGHTHS.get(rest).copied().unwrap_or_default()
}
