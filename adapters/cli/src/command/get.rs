//! `get`: lists objects and shows them.

mod print;
mod rows;

use vsiflow_workflows::{
    fleet::Fleets,
    kinds::{ListedObject, NameScope, ObjectIdentity},
};

use self::{
    print::{Listed, Query, Several, print},
    rows::TableRow,
};
use crate::{
    args::{Common, GetArgs, ListFormat, ObjectKind, OutputFormat},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, work,
};

pub(super) async fn run(common: &Common, args: GetArgs) -> CommandOutcome {
    let (kinds, names) = args.kinds_and_names();
    if kinds.len() > 1 && !names.is_empty() {
        let message = "names are those of one kind";
        let remedy = "list several kinds without names, or ask for one kind after another";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    if !names.is_empty() && (args.all || !args.selection.is_empty()) {
        return Err(work::names_and_selector());
    }
    let apps = opened(common, &args).await?;
    let fleets = App::fleets_at(&apps, args.at).await?;
    let fleet = fleets.with_unheld(unheld(common).await?);
    if let Some(paused) = fleet.global_pause() {
        output::warning(&format!(
            "{}; `vsiflow unpause --all` ends it",
            paused.message
        ));
    }
    let mut query = Query {
        args: &args,
        names: &names,
        several: (kinds.len() > 1).then(Several::default),
        whole: None,
    };
    let printed = Box::pin(all_of(&fleet, &mut query, kinds)).await;
    App::end(apps, fleet).await;
    printed
}

/// The journals of a set that no process works on.
pub(super) async fn unheld(common: &Common) -> Result<Vec<usize>, ExitProblem> {
    let Some(place) = &common.set else {
        return Ok(Vec::new());
    };
    let free = place.set.free().await;
    let free = free.map_err(crate::compose::database::problem)?;
    Ok(free.into_iter().map(usize::from).collect())
}

/// Opens the journal to read; in a set, all of them.
async fn opened(common: &Common, args: &GetArgs) -> Result<Vec<App>, ExitProblem> {
    if let Some(place) = &common.set {
        return place.open_all_to_read(common).await;
    }
    if args.refresh {
        let app = App::open_to_record(common).await?;
        super::scan::refresh(&app).await?;
        return Ok(vec![app]);
    }
    Ok(vec![App::open(common).await?])
}

async fn all_of(fleet: &Fleets, query: &mut Query<'_>, kinds: Vec<ObjectKind>) -> CommandOutcome {
    for kind in kinds {
        of_kind(fleet, query, kind).await?;
    }
    if let Some(whole) = query.whole.take() {
        whole.print(query.args).await?;
    }
    match query.several.take() {
        Some(several) => several.finish(query.args).await,
        None => Ok(Exit::Done),
    }
}

async fn of_kind(fleets: &Fleets, query: &mut Query<'_>, kind: ObjectKind) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let has_labels = kind.names() == NameScope::Namespace;
    if args.selection.labels.is_some() && !has_labels {
        let message = "only VSIs, pools, groups and data disks have labels";
        let remedy = "use --field-selector, or leave the selector out";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    let mut objects = if is_summary(query) {
        kind.list_summaries(fleets, args.deleted).await?
    } else {
        kind.list(fleets, args.deleted).await?
    };
    objects.retain(|object| is_chosen(args, names, &object.identity()));
    let is_missing = |name: &&String| {
        let mut identities = objects.iter().map(|object| object.identity());
        !identities.any(|identity| is_meant(args, &identity, name))
    };
    for name in names.iter().filter(is_missing) {
        kind.check_exists(fleets, &args.scope.namespace, name)
            .await?;
    }
    print(query, &Listed::of(kind, names), rows(objects))
}

fn rows(objects: Vec<Box<dyn ListedObject>>) -> Vec<TableRow> {
    objects.into_iter().map(TableRow::of).collect()
}

/// Whether the output needs only a few fields of each object.
fn is_summary(query: &Query<'_>) -> bool {
    let args = query.args;
    let printed = match &args.output {
        None => true,
        Some(format) => *format == ListFormat::Plain(OutputFormat::Name),
    };
    let arranged = args.sort_by.is_some() || args.selection.field_selector.is_some();
    printed && !arranged
}

/// Whether an object is in the namespace. If its namespace cannot be read, it is shown in every one.
fn is_here(args: &GetArgs, identity: &ObjectIdentity<'_>) -> bool {
    let is_own = |namespace: &str| namespace == args.scope.namespace;
    args.scope.all_namespaces || identity.namespace.is_none_or(is_own)
}

/// Whether the object was named or, without names, selected.
fn is_chosen(args: &GetArgs, names: &[String], identity: &ObjectIdentity<'_>) -> bool {
    if !names.is_empty() {
        return names.iter().any(|name| is_meant(args, identity, name));
    }
    let selector = args.selection.labels.as_ref();
    let is_selected = |labels| selector.is_none_or(|selector| selector.matches(labels));
    is_here(args, identity) && identity.labels.is_none_or(is_selected)
}

/// Whether the object has that name, or `NAMESPACE/NAME`.
fn is_meant(args: &GetArgs, identity: &ObjectIdentity<'_>, name: &str) -> bool {
    match (identity.namespace, name.split_once('/')) {
        (Some(own), Some((namespace, name))) => (own, identity.name) == (namespace, name),
        _ => is_here(args, identity) && identity.name == name,
    }
}
