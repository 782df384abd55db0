//! Prints what `get` found: as tables, names, or whole objects of one kind or of several.

use std::borrow::Cow;

use serde_json::Value;
use vsiflow_workflows::kinds::{Head, NameScope, ObjectKind, ObjectRow, ObjectTable};

use super::rows::arranged;
use crate::{
    args::{GetArgs, ListFormat, OutputFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{
        self,
        table::{self, Table, TableForm},
    },
};

/// The rows of a kind.
pub(super) struct ListedRows {
    pub(super) kind: ObjectKind,
    columns: Vec<Head>,
    pub(super) rows: Vec<ObjectRow>,
}

impl ListedRows {
    pub(super) fn of(kind: ObjectKind, table: ObjectTable) -> Self {
        let ObjectTable { columns, rows } = table;
        Self {
            kind,
            columns,
            rows,
        }
    }

    /// The rows that the command line selects, in the order that it says.
    pub(super) fn arranged(self, args: &GetArgs) -> Result<Self, ExitProblem> {
        let rows = arranged(args, self.rows)?;
        Ok(Self { rows, ..self })
    }

    /// The table for people.
    pub(super) fn table(&self, args: &GetArgs) -> Table {
        let form = TableForm {
            wide: args.output.is_some(),
            namespaces: args.scope.all_namespaces && self.has_namespaces(),
            times: args.times.time,
        };
        table::objects(&self.columns, &self.rows, form)
    }

    /// The names as lines; with the kind, if its names have one or other kinds are listed, too.
    pub(super) fn names(&self, with_kind: bool) -> impl Iterator<Item = String> {
        let prefix = if with_kind || self.has_namespaces() {
            format!("{}/", self.kind.word())
        } else {
            String::new()
        };
        let rows = self.rows.iter();
        rows.map(move |row| format!("{prefix}{}", row.name))
    }

    fn has_namespaces(&self) -> bool {
        self.kind.names() == NameScope::Namespace
    }

    /// What the objects are called in a sentence.
    fn plural(&self) -> &'static str {
        if self.has_namespaces() {
            self.kind.words().plural
        } else {
            "objects"
        }
    }
}

/// Prints the lists of one kind or of several.
pub(super) async fn print(args: &GetArgs, lists: Vec<ListedRows>) -> CommandOutcome {
    let mut arranged = Vec::new();
    for listed in lists {
        arranged.push(listed.arranged(args)?);
    }
    match &args.output {
        None | Some(ListFormat::Plain(OutputFormat::Wide)) => print_tables(args, &arranged),
        Some(ListFormat::Plain(OutputFormat::Name)) => {
            for listed in &arranged {
                let names = listed.names(arranged.len() > 1);
                names.for_each(|name| output::line(&name));
            }
        }
        Some(format) => {
            let text = WholeObjects::of(args, arranged).text(args, format)?;
            output::raw_in_pieces(text.as_bytes()).await?;
        }
    }
    Ok(Exit::Done)
}

/// Prints a table of each kind that has objects, with empty lines between them.
fn print_tables(args: &GetArgs, lists: &[ListedRows]) {
    let with_objects: Vec<_> = lists
        .iter()
        .filter(|listed| !listed.rows.is_empty())
        .collect();
    let render = if args.no_headers {
        Table::render_without_head
    } else {
        Table::render_what_is_known
    };
    for (number, listed) in with_objects.iter().enumerate() {
        if number > 0 {
            output::line("");
        }
        output::line(render(&listed.table(args)).trim_end());
    }
    match lists {
        _ if !with_objects.is_empty() => {}
        [listed] => output::note(&format!("No {} found.", listed.plural())),
        _ => output::note("No objects found."),
    }
}

/// Objects that are printed in a format of the caller's.
pub(super) struct WholeObjects {
    values: Vec<Value>,
    /// Whether one object was named: it is then printed without a list.
    is_single: bool,
}

impl WholeObjects {
    pub(super) fn of(args: &GetArgs, lists: Vec<ListedRows>) -> Self {
        let (_, names) = args.kinds_and_names();
        // Where several objects may share a name, one name is a list, too.
        let is_single = matches!(
            (lists.as_slice(), names.as_slice()),
            ([listed], [_]) if listed.kind.names() != NameScope::Host
        );
        let rows = lists.into_iter().flat_map(|listed| listed.rows);
        Self {
            values: rows.filter_map(|row| row.object).collect(),
            is_single,
        }
    }

    /// The text in a format.
    ///
    /// # Errors
    /// A defect, if an object cannot be written so.
    pub(super) fn text(&self, args: &GetArgs, format: &ListFormat) -> Result<String, ExitProblem> {
        match format {
            ListFormat::Columns(columns) => Ok(columns.render(&self.values, !args.no_headers)),
            ListFormat::JsonPath(template) => Ok(template.render(&self.whole())),
            ListFormat::Plain(format) => output::printed(&self.whole(), *format),
        }
    }

    /// The named object, or the list.
    fn whole(&self) -> Cow<'_, Value> {
        match self.values.as_slice() {
            [value] if self.is_single => Cow::Borrowed(value),
            values => Cow::Owned(output::list(values)),
        }
    }
}
