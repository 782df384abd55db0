//! Prints what `get` found: as tables, names, or whole objects of one kind or of several.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;

use super::rows::{TableRow, arrange, values};
use crate::{
    args::{GetArgs, ListFormat, OutputFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, jsonpath, table},
};

/// A `get` command, while its kinds are printed one after another.
pub(super) struct Query<'a> {
    pub(super) args: &'a GetArgs,
    pub(super) names: &'a [String],
    /// Collects the output if several kinds are requested.
    pub(super) several: Option<Several>,
    /// What is left to print in a format of the caller's.
    pub(super) whole: Option<WholeOutput>,
}

/// Objects that are printed in a format of the caller's.
pub(super) struct WholeOutput {
    values: Vec<Value>,
    listed: Listed,
}

impl WholeOutput {
    /// Evaluates the format, and prints the result.
    pub(super) async fn print(self, args: &GetArgs) -> Result<(), ExitProblem> {
        let Self { values, listed } = self;
        let head = !args.no_headers;
        match args.output.clone() {
            Some(ListFormat::Columns(columns)) => {
                let rows = move |into| columns.render(&values, head, into);
                output::line(jsonpath::evaluate(rows).await?.trim_end());
            }
            Some(ListFormat::JsonPath(template)) => {
                let text = move |into| template.render(&listed.whole(&values), into);
                output::raw(jsonpath::evaluate(text).await?.as_bytes())?;
            }
            Some(ListFormat::Plain(format)) => output::print(&listed.whole(&values), format)?,
            None => {}
        }
        Ok(())
    }
}

/// What was found so far of several kinds.
#[derive(Default)]
pub(super) struct Several {
    /// The objects of a list.
    gathered: Vec<Value>,
    /// How many tables were printed.
    tables: usize,
    /// The prefix that shows the kind before a name.
    pub(super) prefix: String,
}

/// How a list names its objects.
#[derive(Clone, Copy)]
pub(super) struct Listed {
    what: &'static str,
    /// The prefix of a name.
    prefix: &'static str,
    /// Whether one object was named: it is then printed without a list.
    single: bool,
}

impl Listed {
    /// Objects that may share a name, each on its own host.
    pub(super) const OBJECTS: Self = Self {
        what: "objects",
        prefix: "",
        single: false,
    };

    /// Objects of one kind with unique names.
    pub(super) fn named(what: &'static str, prefix: &'static str, names: &[String]) -> Self {
        let single = names.len() == 1;
        Self {
            what,
            prefix,
            single,
        }
    }

    /// The named object, or the list.
    fn whole<'v>(&self, values: &'v [Value]) -> Cow<'v, Value> {
        match values {
            [one] if self.single => Cow::Borrowed(one),
            all => Cow::Owned(output::list(all)),
        }
    }
}

/// Prints what was found of one kind, or collects it if several kinds are printed as one list.
pub(super) fn print<T: Serialize>(
    query: &mut Query<'_>,
    listed: &Listed,
    rows: Vec<TableRow<T>>,
    table: impl Fn(&[T]) -> table::Table,
) -> CommandOutcome {
    let args = query.args;
    let rows = arrange(args, rows)?;
    let prefix = match &query.several {
        Some(several) => several.prefix.clone(),
        None => listed.prefix.to_owned(),
    };
    match (&args.output, &mut query.several) {
        (Some(ListFormat::Plain(OutputFormat::Name)), _) => {
            for row in &rows {
                output::line(&format!("{prefix}{}", row.name()?));
            }
        }
        (None | Some(ListFormat::Plain(OutputFormat::Wide)), several) => {
            let objects: Vec<T> = rows.into_iter().map(|row| row.object).collect();
            if several
                .as_mut()
                .is_none_or(|several| several.begins(&objects))
            {
                print_table(args, listed, &table(&objects));
            }
        }
        (Some(_), Some(several)) => several.gathered.extend(values(&rows)?),
        (Some(_), None) => {
            let (values, listed) = (values(&rows)?, *listed);
            query.whole = Some(WholeOutput { values, listed });
        }
    }
    Ok(Exit::Done)
}

fn print_table(args: &GetArgs, listed: &Listed, table: &table::Table) {
    if args.no_headers {
        output::table_rows(table, listed.what)
    } else {
        output::table_of_what_is_known(table, listed.what)
    }
}

impl Several {
    /// Whether a table of these objects is printed. Prints an empty line before it if it is not the first.
    fn begins<T>(&mut self, objects: &[T]) -> bool {
        if objects.is_empty() {
            return false;
        }
        if self.tables > 0 {
            output::line("");
        }
        self.tables = self.tables.saturating_add(1);
        true
    }

    /// Prints the collected list, if the format needs one.
    pub(super) async fn finish(self, args: &GetArgs) -> CommandOutcome {
        match &args.output {
            None | Some(ListFormat::Plain(OutputFormat::Wide)) if self.tables == 0 => {
                output::note("No objects found.");
            }
            None | Some(ListFormat::Plain(OutputFormat::Wide | OutputFormat::Name)) => {}
            Some(_) => {
                let (values, listed) = (self.gathered, Listed::OBJECTS);
                WholeOutput { values, listed }.print(args).await?;
            }
        }
        Ok(Exit::Done)
    }
}
