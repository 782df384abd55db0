//! `get --watch`: prints the list, then each row that changed, until interrupted.

use std::{collections::HashSet, time::Duration};

use vsiflow_workflows::{
    fleet::VsiOverview,
    kinds::{Cell, ObjectKind},
};

use super::{
    check, lists,
    print::{ListedRows, WholeObjects},
};
use crate::{
    args::{Common, GetArgs, ListFormat, OutputFormat},
    command::graph_pane::LiveGraphs,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::is_silence,
};

/// How often the list is read. Between two polls other processes may use the state directory.
const POLL: Duration = Duration::from_millis(500);
/// How often the list of a set is read: that reads all its journals.
const POLL_OF_SET: Duration = Duration::from_secs(2);

pub(in crate::command) async fn run(common: &Common, args: GetArgs) -> CommandOutcome {
    tokio::select! {
        watched = watch(common, args) => watched,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

async fn watch(common: &Common, mut args: GetArgs) -> CommandOutcome {
    let (kinds, _) = args.kinds_and_names();
    let [kind] = kinds.as_slice() else {
        let message = "several kinds cannot be watched together";
        let remedy = "watch one kind, or use `vsiflow top`";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    };
    check(&args)?;
    let lines = args.output.as_ref().is_none_or(ListFormat::is_lines);
    let poll = common.set.as_ref().map_or(POLL, |_| POLL_OF_SET);
    let mut shown = ShownRows::default();
    let mut graphs = LiveGraphs::where_drawn(common, lines);
    let mut has_answered = false;
    loop {
        let listed = match current(common, &args, *kind).await {
            // What was shown last remains true.
            Err(problem) if has_answered && is_silence(&problem) => None,
            listed => listed?,
        };
        has_answered = true;
        // The hosts are scanned once.
        args.refresh = false;
        if let Some(listed) = listed {
            let listed_vsis = vsis_of(&listed);
            let news = shown.news(&args, listed)?;
            let print = || {
                if !news.is_empty() {
                    output::line(news.trim_end());
                }
            };
            match &mut graphs {
                Some(graphs) => {
                    graphs.print(print);
                    let is_listed = |vsi: &VsiOverview| {
                        listed_vsis.contains(&(vsi.namespace.clone(), vsi.name.clone()))
                    };
                    graphs.draw(common, is_listed).await;
                }
                None => print(),
            }
        }
        tokio::time::sleep(poll).await;
    }
}

/// The current rows.
async fn current(
    common: &Common,
    args: &GetArgs,
    kind: ObjectKind,
) -> Result<Option<ListedRows>, ExitProblem> {
    let Some(listed) = lists(common, args).await?.pop() else {
        return Ok(None);
    };
    let rows = ListedRows::of(kind, listed.table).arranged(args)?;
    Ok(Some(rows))
}

/// Namespace and name of the listed VSIs.
fn vsis_of(listed: &ListedRows) -> HashSet<(String, String)> {
    if listed.kind != ObjectKind::Vsi {
        return HashSet::new();
    }
    let rows = listed.rows.iter();
    rows.map(|row| (row.namespace.clone().unwrap_or_default(), row.name.clone()))
        .collect()
}

/// What was last shown.
#[derive(Default)]
struct ShownRows {
    head: String,
    rows: HashSet<String>,
    /// The whole output, in a format that is not of lines.
    text: Option<String>,
}

impl ShownRows {
    /// The text of what is new or changed since the last call.
    fn news(&mut self, args: &GetArgs, listed: ListedRows) -> Result<String, ExitProblem> {
        match &args.output {
            None | Some(ListFormat::Plain(OutputFormat::Wide)) => {
                Ok(self.new_rows_of_table(args, &listed))
            }
            Some(ListFormat::Plain(OutputFormat::Name)) => {
                let names: Vec<_> = listed.names(false).collect();
                Ok(self.new_lines(names.iter().map(|name| (name.clone(), name.clone()))))
            }
            Some(format @ ListFormat::Columns(_)) => {
                let text = WholeObjects::of(args, vec![listed]).text(args, format)?;
                Ok(self.new_lines(text.lines().map(|line| (words_of(line), line.to_owned()))))
            }
            Some(format) => {
                let text = WholeObjects::of(args, vec![listed]).text(args, format)?;
                if self.text.as_ref() == Some(&text) {
                    return Ok(String::new());
                }
                self.text = Some(text.clone());
                Ok(text)
            }
        }
    }

    /// The rows whose cells changed. Growing older changes none: a cell has the moment, and not the age.
    fn new_rows_of_table(&mut self, args: &GetArgs, listed: &ListedRows) -> String {
        let table = listed.table(args);
        let text = if args.no_headers {
            table.render_without_head()
        } else {
            table.render_what_is_known()
        };
        let mut lines = text.lines();
        let head = if args.no_headers {
            ""
        } else {
            lines.next().unwrap_or_default()
        };
        let keys = listed.rows.iter().map(|row| {
            let namespace = row.namespace.as_deref().unwrap_or_default();
            format!("{namespace} {}", key_of(&row.cells))
        });
        let rows: Vec<_> = keys.zip(lines.map(str::to_owned)).collect();
        if rows.is_empty() {
            return String::new();
        }
        let mut news = self.new_lines(rows.into_iter());
        let head_words = words_of(head);
        if !news.is_empty() && head_words != self.head {
            news = format!("{head}\n{news}");
            self.head = head_words;
        }
        news
    }

    /// The lines whose keys are new.
    fn new_lines(&mut self, lines: impl Iterator<Item = (String, String)>) -> String {
        let mut keys = HashSet::new();
        let mut news = String::new();
        for (key, line) in lines {
            if !self.rows.contains(&key) {
                news.push_str(&line);
                news.push('\n');
            }
            keys.insert(key);
        }
        self.rows = keys;
        news
    }
}

/// What tells a row from others.
fn key_of(cells: &[Cell]) -> String {
    format!("{cells:?}")
}

/// A line independent of the widths of its columns.
fn words_of(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use vsiflow_workflows::kinds::{ObjectRow, ObjectTable};

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn listed(rows: &[(&str, &str, &str)]) -> ListedRows {
        let text = |text: &str| Cell::Text(text.to_owned());
        let row = |(name, phase, created): &(&str, &str, &str)| ObjectRow {
            namespace: Some("default".to_owned()),
            name: (*name).to_owned(),
            uid: None,
            labels: None,
            size: 1,
            is_unreadable: false,
            cells: vec![text(name), text(phase), Cell::Time((*created).to_owned())],
            object: None,
        };
        let columns = ObjectKind::Vsi.heads(false);
        let columns = [columns[0].clone(), columns[1].clone()].into_iter();
        let since = vsiflow_workflows::kinds::Head::Since;
        ListedRows::of(
            ObjectKind::Vsi,
            ObjectTable {
                columns: columns.chain([since]).collect(),
                rows: rows.iter().map(row).collect(),
            },
        )
    }

    #[test]
    fn only_rows_that_changed_are_shown_again_and_growing_older_is_no_change() {
        let cli = Cli::parse_from(["vsiflow", "get", "--watch", "--time=absolute"]);
        let CliCommand::Get(args) = cli.command else {
            panic!("another command");
        };
        let (morning, noon) = ("2026-01-01T08:00:00.000Z", "2026-01-01T12:00:00.000Z");
        let mut shown = ShownRows::default();
        let mut news = |rows: &[(&str, &str, &str)]| {
            let text = shown.new_rows_of_table(&args, &listed(rows));
            text.lines().map(words_of).collect::<Vec<_>>()
        };
        let first = news(&[("a", "Pending", morning), ("b", "Running", noon)]);
        assert_eq!(first.len(), 3, "{first:?}");
        assert_eq!(first[0], "NAME PHASE CREATED");
        let same = news(&[("a", "Pending", morning), ("b", "Running", noon)]);
        assert!(same.is_empty(), "{same:?}");
        let changed = news(&[("a", "Provisioning", morning), ("b", "Running", noon)]);
        assert_eq!(changed.len(), 1, "{changed:?}");
        assert!(changed[0].starts_with("a Provisioning"), "{changed:?}");
        assert!(news(&[]).is_empty());
    }
}
