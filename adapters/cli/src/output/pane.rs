//! Lines at the end of a terminal that are redrawn in place, above the bars and below printed output.

use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

/// The minimum time between two redraws.
pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
/// Lines that are left for printed output and bars.
const LEFT: usize = 4;
/// The assumed height of a terminal that does not report it, in lines.
const USUAL: usize = 24;

/// A text that stays at the end of a terminal.
pub(crate) struct Pane {
    all: MultiProgress,
    bar: Option<ProgressBar>,
    text: String,
    drawn: Option<Instant>,
}

impl Pane {
    /// A pane below what is printed on standard error.
    pub(crate) fn new() -> Self {
        let target = ProgressDrawTarget::stderr_with_hz(10);
        Self::above(MultiProgress::with_draw_target(target))
    }

    /// A pane above these bars.
    pub(crate) fn above(all: MultiProgress) -> Self {
        Self {
            all,
            bar: None,
            text: String::new(),
            drawn: None,
        }
    }

    /// Whether enough time has passed to draw again.
    pub(crate) fn is_due(&self) -> bool {
        self.drawn.is_none_or(|drawn| drawn.elapsed() >= INTERVAL)
    }

    /// Replaces the drawn text; an empty text removes it.
    pub(crate) fn draw(&mut self, text: &str) {
        self.drawn = Some(Instant::now());
        let text = fit(text, rows().saturating_sub(LEFT));
        if text == self.text {
            return;
        }
        self.text = text;
        if self.text.is_empty() {
            return self.clear();
        }
        let (all, style) = (&self.all, ProgressStyle::with_template("{msg}"));
        let bar = self.bar.get_or_insert_with(|| {
            let bar = all.insert(0, ProgressBar::no_length());
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        bar.set_message(self.text.clone());
    }

    /// Removes the text.
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
    }

    /// Prints to standard output, above the pane.
    pub(crate) fn print(&self, print: impl FnOnce()) {
        self.all.suspend(print);
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The number of lines of the terminal at standard error.
fn rows() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    let rows = size.map(|size| usize::from(size.ws_row)).unwrap_or(0);
    if rows == 0 { USUAL } else { rows }
}

/// As many lines as fit; if there are more, the last line says how many are left out.
fn fit(text: &str, rows: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    if lines.len() <= rows {
        return lines.join("\n");
    }
    let shown = rows.saturating_sub(1);
    let more = lines.len().saturating_sub(shown);
    let shown = lines.iter().take(shown).copied();
    let more = format!("… {more} more lines");
    shown.chain([more.as_str()]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::fit;

    #[test]
    fn what_a_terminal_has_no_room_for_is_counted() {
        assert_eq!(fit("a\nb\nc\n", 3), "a\nb\nc");
        assert_eq!(fit("a\nb\nc\nd\n", 3), "a\nb\n… 2 more lines");
        assert_eq!(fit("a\nb", 0), "… 2 more lines");
        assert_eq!(fit("", 0), "");
    }
}
