//! The tables of the kinds of objects, from the columns that each kind declares.

use vsiflow_workflows::{
    fleet::TokenObject,
    kinds::{Cell, Head, ObjectRow},
};

use super::{
    Table,
    cells::{mib, or_none},
};
use crate::output::times::Times;

/// How many digits of a hash a narrow table shows.
const DIGEST_LEN: usize = 12;

/// Which columns a table has, and how its times are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TableForm {
    /// Whether it has additional columns.
    pub(crate) wide: bool,
    /// Whether it has a column of namespaces.
    pub(crate) namespaces: bool,
    /// How times are written.
    pub(crate) times: Times,
}

impl TableForm {
    /// A form with or without the additional columns.
    pub(crate) fn wide(wide: bool) -> Self {
        Self {
            wide,
            ..Self::default()
        }
    }

    fn head(self, head: &Head) -> String {
        let word = match (head, self.times) {
            (Head::Word(word), _) => word,
            (Head::Since, Times::Relative) => "AGE",
            (Head::Since, Times::Absolute) => "CREATED",
        };
        word.to_owned()
    }

    fn cell(self, cell: &Cell) -> String {
        match cell {
            Cell::Text(text) => text.clone(),
            Cell::Optional(text) => or_none(text.clone()),
            Cell::Size(bytes) => mib(*bytes),
            Cell::Digest(digits) if self.wide => digits.clone(),
            Cell::Digest(digits) => digits.chars().take(DIGEST_LEN).collect(),
            Cell::Time(moment) => self.times.shown(moment),
            Cell::Never => "<never>".to_owned(),
            Cell::Absent => or_none(String::new()),
        }
    }
}

/// The table of objects.
pub(crate) fn objects(columns: &[Head], rows: &[ObjectRow], form: TableForm) -> Table {
    let namespace_head = form.namespaces.then(|| "NAMESPACE".to_owned());
    let heads = columns.iter().map(|head| form.head(head));
    let mut table = Table::with_head(namespace_head.into_iter().chain(heads).collect());
    table.rows.extend(rows.iter().map(|row| {
        let namespace = row.namespace.clone().unwrap_or_default();
        let namespace = form.namespaces.then_some(namespace);
        let cells = row.cells.iter().map(|cell| form.cell(cell));
        namespace.into_iter().chain(cells).collect()
    }));
    table
}

/// The table of tokens.
pub(crate) fn tokens(objects: &[TokenObject]) -> Table {
    let mut table = Table::new(&["NAME", "ROLE", "STATUS", "AGE", "EXPIRES"]);
    for object in objects {
        table.rows.push(vec![
            object.name.clone(),
            object
                .role
                .map_or_else(|| "-".to_owned(), |role| role.to_string()),
            object.phase.to_owned(),
            Times::default().shown(&object.created),
            object.expires.clone(),
        ]);
    }
    table
}
