//! Arguments of commands that only read: `get`, `describe`, `history`, `logs` and others.

use std::{fmt, path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};

use vsiflow_steps::guest::pattern::{LinePattern, compile};
use vsiflow_workflows::fleet::Moment;

use super::{
    OutputFormat, Selection,
    kinds::{ObjectKind, kind_and_names, name_of, names_of, once},
};
use crate::output::{
    columns::Columns,
    jsonpath::{self, Template, ValuePath},
    times::Times,
};

#[derive(Clone, Debug, Default, Args)]
pub(crate) struct GetArgs {
    /// What to list: `vsi` (default), `pool`, `group`, `disk`, `snapshot`, `network` (from its host), `image`, `host`, `run` or
    /// `type`; then names. Several kinds have commas between them, such as `vsi,network`.
    #[arg(value_name = "KIND|NAME")]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// All objects of the kind, as without names.
    #[arg(long)]
    pub(crate) all: bool,
    /// Include deleted VSIs.
    #[arg(long)]
    pub(crate) deleted: bool,
    /// After the list, print each line that changes, until interrupted.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Scan the hosts first, and record drift.
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Show what the journal knew after the event of this offset, in a set after that of `JOURNAL:OFFSET`, or at
    /// this time, such as `2026-11-22T09:30:00Z`.
    #[arg(long, value_name = "[JOURNAL:]OFFSET|TIME", conflicts_with_all = ["watch", "refresh"])]
    pub(crate) at: Option<Moment>,
    /// Sort by this path, such as `.metadata.creationTimestamp`.
    #[arg(long, value_name = "JSONPATH", value_parser = jsonpath::path_of)]
    pub(crate) sort_by: Option<ValuePath>,
    #[command(flatten)]
    pub(crate) times: TimeArg,
    /// Print tables without a header.
    #[arg(long)]
    pub(crate) no_headers: bool,
    /// The output format: `wide`, `json`, `yaml`, `name`, `jsonpath=TEMPLATE` or
    /// `custom-columns=HEAD:PATH,…`.
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) output: Option<ListFormat>,
}

/// The output format of a list.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ListFormat {
    /// A format that every command supports.
    Plain(OutputFormat),
    /// A `JSONPath` template, evaluated once.
    JsonPath(Template),
    /// A table with the user's own columns.
    Columns(Columns),
}

impl FromStr for ListFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some(("jsonpath", template)) => template.parse().map(Self::JsonPath),
            Some(("custom-columns", columns)) => columns.parse().map(Self::Columns),
            _ => <OutputFormat as ValueEnum>::from_str(text, false)
                .map(Self::Plain)
                .map_err(|_| {
                    "write wide, json, yaml, name, jsonpath=TEMPLATE or custom-columns=HEAD:PATH"
                        .to_owned()
                }),
        }
    }
}

impl ListFormat {
    /// Whether each object is printed on its own line.
    pub(crate) fn is_lines(&self) -> bool {
        matches!(
            self,
            Self::Plain(OutputFormat::Wide | OutputFormat::Name) | Self::Columns(_)
        )
    }
}

/// Which namespace.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Scope {
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// All namespaces.
    #[arg(short = 'A', long)]
    pub(crate) all_namespaces: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DescribeArgs {
    /// The VSIs, as `NAME`, `vsi/NAME` or `vsi NAME…`; other kinds as `disk/NAME` or `disk NAME…`, `pool/NAME`, `image/NAME` and so on.
    #[arg(required = true, value_name = "NAME")]
    words: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) times: TimeArg,
    /// Show what the journal knew after the event of this offset, in a set after that of `JOURNAL:OFFSET`, or at
    /// this time, such as `2026-11-22T09:30:00Z`.
    #[arg(long, value_name = "[JOURNAL:]OFFSET|TIME")]
    pub(crate) at: Option<Moment>,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

impl DescribeArgs {
    /// Replaces the names with these.
    pub(crate) fn leave(&mut self, names: Vec<String>) {
        self.words = names;
    }

    /// The names of VSIs; names of other objects with their kind, as `disk/NAME`.
    pub(crate) fn names(&self) -> Vec<String> {
        names_of(&self.words)
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DiffArgs {
    /// The VSI, as `NAME`, `vsi/NAME` or `vsi NAME`; other kinds as `disk/NAME` or `disk NAME`, `pool/NAME`, `group/NAME` and so on.
    #[arg(
        required_unless_present = "files",
        conflicts_with = "files",
        num_args = 1..=2,
        value_name = "NAME"
    )]
    words: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Show what these documents would change, as `plan` does.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with = "at"
    )]
    pub(crate) files: Vec<PathBuf>,
    /// The moment to compare with: after the event of this offset, in a set of `JOURNAL:OFFSET`, or at this time, such
    /// as `2026-11-22T09:30:00Z`. A second one is compared with the first [default: now].
    #[arg(
        long,
        value_name = "[JOURNAL:]OFFSET|TIME",
        required_unless_present = "files"
    )]
    pub(crate) at: Vec<Moment>,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

impl DiffArgs {
    /// A VSI's name; the name of another object with its kind, as `disk/NAME`.
    pub(crate) fn name(&self) -> String {
        name_of(&self.words)
    }
}

/// A VSI, or another object with its kind.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetArg {
    /// The VSI, as `NAME`, `vsi/NAME` or `vsi NAME`; other kinds as `disk/NAME` or `disk NAME`, `pool/NAME`, `group/NAME` and so on.
    #[arg(required = true, num_args = 1..=2, value_name = "NAME")]
    words: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

impl TargetArg {
    /// A VSI's name; the name of another object with its kind, as `disk/NAME`.
    pub(crate) fn name(&self) -> String {
        name_of(&self.words)
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct HistoryArgs {
    /// The VSIs, as `NAME`, `vsi/NAME` or `vsi NAME…`; other kinds as `disk/NAME` or `disk NAME…`, `pool/NAME`, `group/NAME` and so on.
    #[arg(required = true, value_name = "NAME")]
    words: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Follow new events, until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show only events from this offset of the journal.
    #[arg(
        long,
        value_name = "OFFSET",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) from_offset: u64,
    #[command(flatten)]
    pub(crate) filter: EventFilter,
    /// Show every event, and not one line for each run and step.
    #[arg(long)]
    pub(crate) events: bool,
    /// Draw the steps of the newest run, each above those that wait for it; of a pool or a group its members.
    #[arg(long, conflicts_with_all = ["events", "follow", "output", "since", "actor", "failed", "from_offset"])]
    pub(crate) graph: bool,
    #[command(flatten)]
    pub(crate) times: TimeArg,
    /// The output format, for every event: a table with more columns, or one JSON object in each line.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<HistoryFormat>,
}

/// Which events are shown.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct EventFilter {
    /// Show only what happened within this time, such as `2h`.
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) since: Option<std::time::Duration>,
    /// Show only what this actor caused, such as a user's name. A run counts as its asker's; with
    /// `--events` each event counts as its own actor's, such as `engine`.
    #[arg(long, value_name = "ACTOR")]
    pub(crate) actor: Option<String>,
    /// Show only failures.
    #[arg(long)]
    pub(crate) failed: bool,
}

/// An offset in the journal, or in one journal of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventOffset {
    /// The number of the journal in a set.
    pub(crate) journal: Option<u16>,
    /// The offset in that journal.
    pub(crate) offset: u64,
}

impl FromStr for EventOffset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (journal, offset) = match text.parse() {
            Ok(Moment::Offset(offset)) => (None, offset),
            Ok(Moment::Event { journal, offset }) => (Some(journal), offset),
            Ok(Moment::Time(_)) | Err(_) => {
                return Err("write an offset, such as 41, in a set of journals 2:41");
            }
        };
        Ok(Self { journal, offset })
    }
}

impl fmt::Display for EventOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.journal {
            Some(journal) => write!(f, "{journal}:{}", self.offset),
            None => write!(f, "{}", self.offset),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct EventsArgs {
    /// Watch for new events, until interrupted.
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Show only events from this offset of the journal; in a set `JOURNAL:OFFSET`, and only events of that journal.
    #[arg(
        long,
        value_name = "[JOURNAL:]OFFSET",
        default_value_t,
        hide_default_value = true
    )]
    pub(crate) from_offset: EventOffset,
    #[command(flatten)]
    pub(crate) filter: EventFilter,
    /// How many of the newest events are shown; 0 shows all.
    #[arg(long, value_name = "LINES", default_value_t = 100)]
    pub(crate) tail: usize,
    /// The output format: a table with more columns, or one JSON object in each line.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<HistoryFormat>,
}

impl HistoryArgs {
    /// Replaces the names with these.
    pub(crate) fn leave(&mut self, names: Vec<String>) {
        self.words = names;
    }

    /// The names of VSIs; names of other objects with their kind, as `disk/NAME`.
    pub(crate) fn names(&self) -> Vec<String> {
        names_of(&self.words)
    }

    /// Whether every event is printed, without folding. Followed events are, since a printed line
    /// cannot be changed.
    pub(crate) fn is_events(&self) -> bool {
        self.events || self.follow || self.output.is_some()
    }
}

/// How times are written.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct TimeArg {
    /// How times are written.
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub(crate) time: Times,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LogsArgs {
    /// The VSIs, as `NAME`, `vsi/NAME` or `vsi NAME`.
    #[arg(
        required_unless_present_any = ["labels", "field_selector", "all"],
        conflicts_with_all = ["labels", "field_selector", "all"],
        value_name = "NAME"
    )]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// All VSIs of the namespace.
    #[arg(long)]
    pub(crate) all: bool,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Follow the console, until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Print only the last lines of each.
    #[arg(long, value_name = "LINES")]
    pub(crate) tail: Option<usize>,
    /// Print the VSI's name before each line.
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Print only what was written within this time, such as `10m`, as far as the lines tell their
    /// time.
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) since: Option<std::time::Duration>,
    /// Print only lines that match this regular expression.
    #[arg(long, value_name = "REGEX", value_parser = compile)]
    pub(crate) grep: Option<LinePattern>,
    /// Print the stored console of the newest failed boot, also of a deleted VSI.
    #[arg(long, conflicts_with_all = ["follow", "prefix", "since", "grep"])]
    pub(crate) failed: bool,
    /// With --failed: print the domain's definition instead of the console.
    #[arg(long, requires = "failed", conflicts_with = "tail")]
    pub(crate) definition: bool,
}

impl LogsArgs {
    /// Whether lines are processed one by one; otherwise the bytes are printed unchanged.
    pub(crate) fn is_by_line(&self) -> bool {
        self.prefix || self.since.is_some() || self.grep.is_some()
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ConsoleArgs {
    #[command(flatten)]
    pub(crate) target: TargetArg,
    /// Take over the console from whoever has it open.
    #[arg(long)]
    pub(crate) force: bool,
    /// Send standard input, which is no terminal, to the console, and exit at its end.
    #[arg(long)]
    pub(crate) stdin: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct VncArgs {
    #[command(flatten)]
    pub(crate) target: TargetArg,
    /// The port of 127.0.0.1 on this machine; a free one where absent.
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 0,
        hide_default_value = true
    )]
    pub(crate) port: u16,
    /// Start no viewer.
    #[arg(long)]
    pub(crate) listen_only: bool,
}

impl GetArgs {
    /// The kinds, and the names of the objects to show; without names all are shown.
    pub(crate) fn kinds_and_names(&self) -> (Vec<ObjectKind>, Vec<String>) {
        let (first, rest) = self.words.split_first().unzip();
        let parts = first.map_or("", String::as_str).split(',');
        let kinds: Option<Vec<_>> = parts.map(ObjectKind::named).collect();
        match kinds {
            Some(kinds) => {
                let mut all = Vec::new();
                for kind in kinds {
                    if !all.contains(&kind) {
                        all.push(kind);
                    }
                }
                (all, once(rest.unwrap_or_default().iter().cloned()))
            }
            None => {
                let (kind, names) = kind_and_names(&self.words);
                (vec![kind], names)
            }
        }
    }
}

/// How a history is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HistoryFormat {
    /// A table with more columns.
    Wide,
    /// One JSON object a line.
    Json,
}
