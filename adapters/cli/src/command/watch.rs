//! `get --watch`: prints the list, then each line that changed, until interrupted.

pub(super) mod graphs;

use std::{collections::HashSet, time::Duration};

use super::current_list::current_list;
use crate::{
    args::{Common, GetArgs, ListFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
};

/// How often the list is read. Between two polls other processes may use the state directory.
const POLL: Duration = Duration::from_millis(500);
/// How often the list of a set is read: that reads all its journals.
const POLL_OF_SET: Duration = Duration::from_secs(2);

pub(super) async fn run(common: &Common, args: GetArgs) -> CommandOutcome {
    tokio::select! {
        watched = watch(common, args) => watched,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

async fn watch(common: &Common, args: GetArgs) -> CommandOutcome {
    if args.kinds_and_names().0.len() > 1 {
        let message = "several kinds cannot be watched together";
        let remedy = "watch one kind, or use `vsiflow top`";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    let args = GetArgs {
        watch: false,
        ..args
    };
    let lines = args.output.as_ref().is_none_or(ListFormat::is_lines);
    let poll = common.set.as_ref().map_or(POLL, |_| POLL_OF_SET);
    let mut shown = ShownRow::default();
    let mut graphs = graphs::LiveGraphs::where_drawn(common, lines);
    loop {
        let text = current_list(common, &args).await?;
        let news = if lines {
            shown.lines(&text)
        } else {
            shown.whole(&text)
        };
        let print = || {
            if !news.is_empty() {
                output::line(news.trim_end());
            }
        };
        match &mut graphs {
            Some(graphs) => {
                graphs.print(print);
                graphs.draw_those_in(common, &args, &text).await;
            }
            None => print(),
        }
        tokio::time::sleep(poll).await;
    }
}

/// What was last shown.
#[derive(Default)]
struct ShownRow {
    rows: HashSet<String>,
    text: String,
}

impl ShownRow {
    /// The lines that are new or changed, apart from their age. An empty answer changes nothing.
    fn lines(&mut self, text: &str) -> String {
        let head = text.lines().next().unwrap_or_default();
        if text.is_empty() {
            return String::new();
        }
        let mut rows = HashSet::new();
        let mut news = String::new();
        for line in text.lines() {
            let row = without_age(head, line);
            if !self.rows.contains(&row) {
                news.push_str(line);
                news.push('\n');
            }
            rows.insert(row);
        }
        self.rows = rows;
        news
    }

    fn whole(&mut self, text: &str) -> String {
        if text.is_empty() || text == self.text {
            return String::new();
        }
        text.clone_into(&mut self.text);
        self.text.clone()
    }
}

/// A row without its age, which always changes, and independent of the current column widths.
fn without_age(head: &str, line: &str) -> String {
    let age = head.find("AGE").filter(|_| line != head);
    let without = age.and_then(|age| {
        let rest = line.get(age..)?;
        let rest = rest.split_once(' ').map_or("", |(_, rest)| rest);
        Some(format!("{} {rest}", line.get(..age)?))
    });
    let cells = without.unwrap_or_else(|| line.to_owned());
    cells.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_that_changed_are_shown_again_and_growing_older_is_no_change() {
        let mut shown = ShownRow::default();
        let first = "NAME   PHASE     AGE\na      Pending   1s\nb      Running   9s\n";
        assert_eq!(shown.lines(first), first);
        let older = "NAME   PHASE     AGE\na      Pending   2s\nb      Running   10s\n";
        assert_eq!(shown.lines(older), "");
        let wider =
            "NAME   PHASE          AGE\na      Provisioning   3s\nb      Running        11s\n";
        assert_eq!(shown.lines(wider), "a      Provisioning   3s\n");
        assert_eq!(shown.lines(""), "");
    }
}
