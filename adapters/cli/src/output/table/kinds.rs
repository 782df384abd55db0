//! The tables of the kinds of objects, from the columns that each kind declares.

use vsiflow_workflows::{
    fleet::TokenObject,
    kinds::{Cell, Head, ListedObject, NameScope, ObjectKind},
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

    fn head(self, head: Head) -> &'static str {
        match (head, self.times) {
            (Head::Word(word), _) => word,
            (Head::Since, Times::Relative) => "AGE",
            (Head::Since, Times::Absolute) => "CREATED",
        }
    }

    fn cell(self, cell: Cell) -> String {
        match cell {
            Cell::Text(text) => text,
            Cell::Optional(text) => or_none(text),
            Cell::Size(bytes) => mib(bytes),
            Cell::Digest(digits) if self.wide => digits,
            Cell::Digest(digits) => digits.chars().take(DIGEST_LEN).collect(),
            Cell::Time(moment) => self.times.shown(&moment),
            Cell::Never => "<never>".to_owned(),
            Cell::Absent => or_none(String::new()),
        }
    }
}

/// The table of the objects of a kind.
pub(crate) fn objects<'o>(
    kind: ObjectKind,
    objects: impl IntoIterator<Item = &'o dyn ListedObject>,
    form: TableForm,
) -> Table {
    let has_namespaces = form.namespaces && kind.names() == NameScope::Namespace;
    let namespace_head = has_namespaces.then_some("NAMESPACE");
    let heads = kind.heads(form.wide).into_iter();
    let heads = heads.map(|head| form.head(head));
    let head: Vec<_> = namespace_head.into_iter().chain(heads).collect();
    let mut table = Table::new(&head);
    table.rows.extend(objects.into_iter().map(|object| {
        let namespace = object.identity().namespace.unwrap_or_default();
        let namespace = has_namespaces.then(|| namespace.to_owned());
        let cells = object.cells(form.wide).into_iter();
        let cells = cells.map(|cell| form.cell(cell));
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
