//! Prints what `get` found: as tables, names, or whole objects of one kind or of several.

use std::borrow::Cow;

use serde_json::Value;
use vsiflow_workflows::kinds::{NameScope, ObjectKind};

use super::rows::{TableRow, arranged, values};
use crate::{
    args::{GetArgs, ListFormat, OutputFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{
        self, jsonpath,
        table::{self, Table},
    },
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
                output::raw_in_pieces(jsonpath::evaluate(text).await?.as_bytes()).await?;
            }
            Some(ListFormat::Plain(format)) => {
                let text = move |_| Ok(output::printed(&listed.whole(&values), format));
                let text = jsonpath::evaluate(text).await??;
                output::raw_in_pieces(text.as_bytes()).await?;
            }
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
}

/// How a list names its objects.
#[derive(Clone, Copy)]
pub(super) struct Listed {
    /// The kind; none of a list of several.
    kind: Option<ObjectKind>,
    /// Whether one object was named: it is then printed without a list.
    single: bool,
}

impl Listed {
    /// Objects of several kinds.
    const OBJECTS: Self = Self {
        kind: None,
        single: false,
    };

    /// Objects of one kind. Where several may share a name, one name is a list, too.
    pub(super) fn of(kind: ObjectKind, names: &[String]) -> Self {
        Self {
            kind: Some(kind),
            single: names.len() == 1 && kind.names() != NameScope::Host,
        }
    }

    /// The kind, if its objects are named with it.
    fn kind_with_prefix(&self) -> Option<ObjectKind> {
        let has_prefix = |kind: &ObjectKind| kind.names() == NameScope::Namespace;
        self.kind.filter(has_prefix)
    }

    /// What the objects are called in a sentence.
    fn plural(&self) -> &'static str {
        self.kind_with_prefix()
            .map_or("objects", |kind| kind.words().plural)
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
pub(super) async fn print(
    query: &mut Query<'_>,
    listed: &Listed,
    rows: Vec<TableRow>,
) -> CommandOutcome {
    let args = query.args;
    let rows = arranged(args, rows).await?;
    match (&args.output, &mut query.several) {
        (Some(ListFormat::Plain(OutputFormat::Name)), several) => {
            let of_one_kind = || listed.kind_with_prefix();
            let kind = several.as_ref().map_or_else(of_one_kind, |_| listed.kind);
            let prefix = kind.map_or_else(String::new, |kind| format!("{}/", kind.word()));
            for row in &rows {
                output::line(&format!("{prefix}{}", row.object.identity().name));
            }
        }
        (None | Some(ListFormat::Plain(OutputFormat::Wide)), several) => {
            if several.as_mut().is_none_or(|several| several.begins(&rows)) {
                print_table(args, listed, rows).await?;
            }
        }
        (Some(_), Some(several)) => several.gathered.extend(values(rows).await?),
        (Some(_), None) => {
            let (values, listed) = (values(rows).await?, *listed);
            query.whole = Some(WholeOutput { values, listed });
        }
    }
    Ok(Exit::Done)
}

/// Prints the table, which is made off the runtime's threads.
async fn print_table(
    args: &GetArgs,
    listed: &Listed,
    rows: Vec<TableRow>,
) -> Result<(), ExitProblem> {
    let Some(kind) = listed.kind else {
        return Ok(());
    };
    let form = table::TableForm {
        wide: args.output.is_some(),
        namespaces: args.scope.all_namespaces,
        times: args.times.time,
    };
    let has_head = !args.no_headers;
    let text = move |_| {
        let objects = rows.iter().map(|row| row.object.as_ref());
        let table = table::objects(kind, objects, form);
        let render = if has_head {
            Table::render_what_is_known
        } else {
            Table::render_without_head
        };
        Ok((!table.is_empty()).then(|| render(&table)))
    };
    match jsonpath::evaluate(text).await? {
        Some(text) => output::line(text.trim_end()),
        None => output::note(&format!("No {} found.", listed.plural())),
    }
    Ok(())
}

impl Several {
    /// Whether a table of these objects is printed. Prints an empty line before a second one.
    fn begins(&mut self, rows: &[TableRow]) -> bool {
        if rows.is_empty() {
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
