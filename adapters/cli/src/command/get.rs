//! `get`: lists objects and shows them.

mod print;
mod rows;
pub(super) mod watch;

use std::collections::HashSet;

use vsiflow_api::{AsOf, ListedObjects, RefreshRequest, ServiceRequest as _, TableRequest};
use vsiflow_workflows::kinds::{NameScope, ObjectRow, TableQuery};

use self::print::{ListedRows, print};
use crate::{
    args::{Common, GetArgs, ListFormat, ObjectKind, OutputFormat, Selection},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::{self, ServiceSession},
    work,
};

/// How many bytes of names one request has: a body has at most 64 KiB.
const NAMES_LEN: usize = 32 * 1024;

pub(super) async fn run(common: &Common, args: GetArgs) -> CommandOutcome {
    check(&args)?;
    let (kinds, _) = args.kinds_and_names();
    let lists = lists(common, &args).await?;
    let paused = lists.iter().find_map(|listed| listed.paused.as_ref());
    if let Some(why) = paused {
        output::warning(&format!("{why}; `vsiflow unpause --all` ends it"));
    }
    if let Some(as_of) = lists.iter().find_map(|listed| listed.as_of.as_ref()) {
        note_moment(as_of);
    }
    let listed = kinds.into_iter().zip(lists);
    let listed = listed.map(|(kind, listed)| ListedRows::of(kind, listed.table));
    print(&args, listed.collect()).await
}

/// Checks that the objects that are selected by labels have some.
pub(super) fn check_labels(kinds: &[ObjectKind], selection: &Selection) -> Result<(), ExitProblem> {
    let has_labels = |kind: &ObjectKind| kind.names() == NameScope::Namespace;
    if selection.labels.is_some() && !kinds.iter().all(has_labels) {
        let message = "only VSIs, pools, groups and data disks have labels";
        let remedy = "use --field-selector, or leave the selector out";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    Ok(())
}

/// Checks what the command line says of kinds, names and selections.
fn check(args: &GetArgs) -> Result<(), ExitProblem> {
    let (kinds, names) = args.kinds_and_names();
    if kinds.len() > 1 && !names.is_empty() {
        let message = "names are those of one kind";
        let remedy = "list several kinds without names, or ask for one kind after another";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    if !names.is_empty() && (args.all || !args.selection.is_empty()) {
        return Err(work::names_and_selector());
    }
    check_labels(&kinds, &args.selection)
}

/// The objects of each kind that the command line names, with the labels that it selects.
async fn lists(common: &Common, args: &GetArgs) -> Result<Vec<ListedObjects>, ExitProblem> {
    let (kinds, names) = args.kinds_and_names();
    let query = TableQuery {
        namespace: (!args.scope.all_namespaces).then(|| args.scope.namespace.clone()),
        names: Vec::new(),
        deleted: args.deleted,
        wide: args.output == Some(ListFormat::Plain(OutputFormat::Wide)),
        objects: needs_objects(args),
    };
    // Names are those of one kind, and as many in a request as its body may have.
    let pieces = pieces_of(names);
    let requests = kinds.iter().flat_map(|kind| {
        pieces.iter().map(|piece| TableRequest {
            kind: *kind,
            query: TableQuery {
                names: piece.clone(),
                ..query.clone()
            },
            at: args.at,
        })
    });
    let requests: Vec<_> = requests.collect();
    let refreshes = args.refresh;
    // In one session: what a scan finds is not all recorded.
    let usage = if refreshes {
        RefreshRequest::USE
    } else {
        TableRequest::USE
    };
    let answered = service::in_session(common, usage, |session| {
        let requests = requests.clone();
        async move {
            if refreshes {
                refresh(&session).await?;
            }
            session.call_all(requests).await
        }
    });
    let mut lists = answered.await?;
    if pieces.len() > 1 {
        lists = together(lists).into_iter().collect();
    }
    if let Some(selector) = &args.selection.labels {
        let has_labels = |row: &ObjectRow| {
            let labels = row.labels.as_ref();
            labels.is_none_or(|labels| selector.matches(labels))
        };
        for listed in &mut lists {
            listed.table.rows.retain(has_labels);
        }
    }
    Ok(lists)
}

/// Names in pieces of at most [`NAMES_LEN`] bytes; one empty piece if there are none.
fn pieces_of(names: Vec<String>) -> Vec<Vec<String>> {
    let (mut pieces, mut length) = (vec![Vec::new()], 0_usize);
    for name in names {
        length = length.saturating_add(name.len().saturating_add(3));
        if length > NAMES_LEN {
            length = name.len();
            pieces.push(Vec::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(name);
        }
    }
    pieces
}

/// One list of the rows of all, in which an object that was named twice is once.
fn together(lists: Vec<ListedObjects>) -> Option<ListedObjects> {
    let mut seen = HashSet::new();
    lists.into_iter().reduce(|mut all, listed| {
        if seen.is_empty() {
            seen.extend(all.table.rows.iter().map(key_of));
        }
        let rows = listed.table.rows.into_iter();
        all.table
            .rows
            .extend(rows.filter(|row| seen.insert(key_of(row))));
        all
    })
}

fn key_of(row: &ObjectRow) -> (Option<String>, String, Option<String>) {
    (row.namespace.clone(), row.name.clone(), row.uid.clone())
}

/// Has the hosts scanned.
async fn refresh(session: &ServiceSession) -> Result<(), ExitProblem> {
    let refreshed = session.call(RefreshRequest {}).await?;
    for host in refreshed.unreachable {
        output::warning(&format!("host {}: {}", host.host, host.reason));
    }
    Ok(())
}

/// Whether the output needs more of each object than its cells.
fn needs_objects(args: &GetArgs) -> bool {
    let is_of_cells = match &args.output {
        None => true,
        Some(ListFormat::Plain(format)) => {
            matches!(format, OutputFormat::Wide | OutputFormat::Name)
        }
        Some(ListFormat::JsonPath(_) | ListFormat::Columns(_)) => false,
    };
    !is_of_cells || args.sort_by.is_some() || args.selection.field_selector.is_some()
}

/// Prints of which moment of the past the output is.
pub(super) fn note_moment(as_of: &AsOf) {
    let AsOf {
        offset,
        time,
        journals,
    } = as_of;
    match offset {
        Some(offset) => output::note(&format!("as of offset {offset}, {time}")),
        None => output::note(&format!("as of {time} in {journals} journals")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sent_in_pieces_that_fit_and_none_is_left_out() {
        assert_eq!(pieces_of(Vec::new()), [Vec::<String>::new()]);
        let names: Vec<_> = (0..5_000).map(|number| format!("{number:026}")).collect();
        let pieces = pieces_of(names.clone());
        let fits = |piece: &Vec<String>| serde_json::to_vec(piece).unwrap().len() <= NAMES_LEN + 64;
        assert!(pieces.len() > 1 && pieces.iter().all(fits));
        assert_eq!(pieces.concat(), names);
    }
}
