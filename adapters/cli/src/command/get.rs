//! `get`: lists objects and shows them.

mod print;
mod rows;
pub(super) mod watch;

use vsiflow_api::{AsOf, ListedObjects, RefreshRequest, TableRequest};
use vsiflow_workflows::kinds::{NameScope, ObjectRow, TableQuery};

use self::print::{ListedRows, print};
use crate::{
    args::{Common, GetArgs, ListFormat, ObjectKind, OutputFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::{self, ServiceSession},
    work,
};

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
    let has_labels = |kind: &ObjectKind| kind.names() == NameScope::Namespace;
    if args.selection.labels.is_some() && !kinds.iter().all(has_labels) {
        let message = "only VSIs, pools, groups and data disks have labels";
        let remedy = "use --field-selector, or leave the selector out";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    Ok(())
}

/// The objects of each kind that the command line names, with the labels that it selects.
async fn lists(common: &Common, args: &GetArgs) -> Result<Vec<ListedObjects>, ExitProblem> {
    let (kinds, names) = args.kinds_and_names();
    let query = TableQuery {
        namespace: (!args.scope.all_namespaces).then(|| args.scope.namespace.clone()),
        names,
        deleted: args.deleted,
        wide: args.output == Some(ListFormat::Plain(OutputFormat::Wide)),
        objects: needs_objects(args),
    };
    let requests = kinds.into_iter().map(|kind| TableRequest {
        kind,
        query: query.clone(),
        at: args.at,
    });
    let requests: Vec<_> = requests.collect();
    let refreshes = args.refresh;
    // In one session: what a scan finds is not all recorded.
    let answered = service::in_session(common, refreshes, |session| {
        let requests = requests.clone();
        async move {
            if refreshes {
                refresh(&session).await?;
            }
            session.call_all(requests).await
        }
    });
    let mut lists = answered.await?;
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
