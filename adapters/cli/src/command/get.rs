//! `get`: lists objects and shows them.

mod print;
mod rows;

use serde::Serialize;
use serde_json::{Value, json};
use vsiflow_workflows::fleet::{Fleets, Metadata};

use self::{
    print::{Listed, Query, Several, print},
    rows::{of_names, rows},
};
use crate::{
    args::{Common, GetArgs, ListFormat, ObjectKind, OutputFormat},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, table},
    work,
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
        if let Some(several) = &mut query.several {
            several.prefix = format!("{}/", kind.word());
        }
        Box::pin(of_kind(fleet, query, kind)).await?;
    }
    if let Some(whole) = query.whole.take() {
        whole.print(query.args).await?;
    }
    match query.several.take() {
        Some(several) => several.finish(query.args).await,
        None => Ok(Exit::Done),
    }
}

async fn of_kind(fleet: &Fleets, query: &mut Query<'_>, kind: ObjectKind) -> CommandOutcome {
    match kind {
        ObjectKind::Vsi if is_summary(query) => summaries(fleet, query).await,
        ObjectKind::Vsi => vsis(fleet, query).await,
        ObjectKind::Pool => Box::pin(pools(fleet, query)).await,
        ObjectKind::Group => Box::pin(groups(fleet, query)).await,
        ObjectKind::Disk => disks(fleet, query).await,
        ObjectKind::Snapshot => snapshots(fleet, query).await,
        ObjectKind::Quota => quotas(fleet, query).await,
        kind => others(fleet, query, kind).await,
    }
}

/// Whether the output needs only a few fields of each object.
fn is_summary(query: &Query<'_>) -> bool {
    let args = query.args;
    let printed = match &args.output {
        None => true,
        Some(format) => *format == ListFormat::Plain(OutputFormat::Name),
    };
    let arranged = args.sort_by.is_some() || args.selection.field_selector.is_some();
    printed && !arranged && query.several.is_none()
}

async fn summaries(fleet: &Fleets, query: &mut Query<'_>) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let mut all = fleet.vsi_summaries(args.deleted).await?;
    for name in choose(args, names, &mut all, |one| &one.metadata) {
        fleet.vsi(&args.scope.namespace, name).await?;
    }
    if args.output.is_some() {
        for one in &all {
            output::line(&format!("vsi/{}", one.metadata.name));
        }
        return Ok(Exit::Done);
    }
    let table = table::vsi_summaries(&all, form(args));
    if args.no_headers {
        output::table_rows(&table, "VSIs")
    } else {
        output::table_of_what_is_known(&table, "VSIs")
    }
    Ok(Exit::Done)
}

async fn vsis(fleet: &Fleets, query: &mut Query<'_>) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let mut objects = fleet.vsis(args.deleted).await?;
    for name in choose(args, names, &mut objects, |object| &object.metadata) {
        fleet.vsi(&args.scope.namespace, name).await?;
    }
    let listed = Listed::named("VSIs", "vsi/", names);
    print(query, &listed, rows(objects, named), |objects| {
        table::vsis(objects, form(args))
    })
}

async fn pools(fleet: &Fleets, query: &mut Query<'_>) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let mut objects = fleet.pools(args.deleted).await?;
    for name in choose(args, names, &mut objects, |object| &object.metadata) {
        fleet
            .decides()
            .pools()
            .find(&args.scope.namespace, name)
            .await?;
    }
    let listed = Listed::named("pools", "pool/", names);
    print(query, &listed, rows(objects, named), |objects| {
        table::pools(objects, form(args))
    })
}

async fn groups(fleet: &Fleets, query: &mut Query<'_>) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let mut objects = fleet.groups(args.deleted).await?;
    for name in choose(args, names, &mut objects, |object| &object.metadata) {
        fleet
            .decides()
            .groups()
            .find(&args.scope.namespace, name)
            .await?;
    }
    let listed = Listed::named("groups", "group/", names);
    print(query, &listed, rows(objects, named), |objects| {
        table::groups(objects, form(args))
    })
}

async fn disks(fleet: &Fleets, query: &mut Query<'_>) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let mut objects = fleet.disks(args.deleted).await?;
    for name in choose(args, names, &mut objects, |object| &object.metadata) {
        let (namespace, object) = (&args.scope.namespace, format!("disk/{name}"));
        let fleet = fleet.that_has(namespace, &object).await?;
        fleet.disks().find(namespace, name).await?;
    }
    let listed = Listed::named("data disks", "disk/", names);
    print(query, &listed, rows(objects, named), |objects| {
        table::disks(objects, form(args))
    })
}

async fn snapshots(fleet: &Fleets, query: &mut Query<'_>) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let mut objects = fleet.snapshots(args.deleted).await?;
    for name in choose(args, names, &mut objects, |object| &object.metadata) {
        let (namespace, object) = (&args.scope.namespace, format!("snapshot/{name}"));
        let fleet = fleet.that_has(namespace, &object).await?;
        fleet.snapshots().find(namespace, name).await?;
    }
    let listed = Listed::named("snapshots", "snapshot/", names);
    print(query, &listed, rows(objects, named), |objects| {
        table::snapshots(objects, form(args))
    })
}

async fn quotas(fleet: &Fleets, query: &mut Query<'_>) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    let mut objects = fleet.quotas().await?;
    if let Some(name) = choose(args, names, &mut objects, |object| &object.metadata)
        .into_iter()
        .next()
    {
        return Err(work::no_quota(name));
    }
    let listed = Listed::named("quotas", "quota/", names);
    print(query, &listed, rows(objects, named), |objects| {
        table::quotas(objects, form(args))
    })
}

fn form(args: &GetArgs) -> table::TableForm {
    table::TableForm {
        wide: args.output.is_some(),
        namespaces: args.scope.all_namespaces,
        times: args.times.time,
    }
}

/// Lists the kinds that have no namespace and no labels.
async fn others(fleet: &Fleets, query: &mut Query<'_>, kind: ObjectKind) -> CommandOutcome {
    let (args, names) = (query.args, query.names);
    if args.selection.labels.is_some() {
        let message = "only VSIs, pools, groups and data disks have labels";
        let remedy = "use --field-selector, or leave the selector out";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    match kind {
        ObjectKind::Network => {
            let networks = fleet.networks().await?;
            unnamed(query, &Listed::OBJECTS, networks, table::networks)
        }
        ObjectKind::Host => {
            let hosts = fleet.hosts().await?;
            let listed = Listed::named("objects", "", names);
            unnamed(query, &listed, hosts, |hosts| {
                table::hosts(hosts, form(args))
            })
        }
        ObjectKind::Type => {
            let types = fleet.server_types().await?;
            let listed = Listed::named("objects", "", names);
            unnamed(query, &listed, types, table::types)
        }
        ObjectKind::Run => {
            let listed = Listed::named("objects", "", names);
            unnamed(query, &listed, fleet.runs(), |runs| {
                table::runs(runs, form(args))
            })
        }
        _ => {
            let images = fleet.images().await?;
            unnamed(query, &Listed::OBJECTS, images, |images| {
                table::images(images, form(args))
            })
        }
    }
}

fn unnamed<T: Serialize>(
    query: &mut Query<'_>,
    listed: &Listed,
    objects: Vec<T>,
    table: impl Fn(&[T]) -> table::Table,
) -> CommandOutcome {
    let wrapped = |value: Value| json!({"metadata": {"name": name_of(&value)}, "status": value});
    let mut rows = rows(objects, wrapped);
    if !query.names.is_empty() {
        rows = of_names(rows, query.names)?;
    }
    print(query, listed, rows, table)
}

fn name_of(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or("")
}

/// An object that has its own metadata is printed unchanged.
fn named(value: Value) -> Value {
    value
}

/// Whether an object is in the namespace. If its namespace cannot be read, it is shown in every one.
fn is_here(args: &GetArgs, meta: &Metadata) -> bool {
    let anywhere = args.scope.all_namespaces || meta.namespace.is_empty();
    anywhere || meta.namespace == args.scope.namespace
}

/// Retains the requested objects, and returns the names that none of them has.
fn choose<'n, T>(
    args: &GetArgs,
    names: &'n [String],
    objects: &mut Vec<T>,
    meta: fn(&T) -> &Metadata,
) -> Vec<&'n String> {
    let labels = args.selection.labels.as_ref();
    let is_selected = |of: &Metadata| {
        let labels = labels.is_none_or(|labels| labels.matches(&of.labels));
        is_here(args, of) && labels
    };
    objects.retain(|object| {
        if names.is_empty() {
            is_selected(meta(object))
        } else {
            names.iter().any(|name| is_meant(args, meta(object), name))
        }
    });
    let missing = |name: &&String| !objects.iter().any(|o| is_meant(args, meta(o), name));
    names.iter().filter(missing).collect()
}

/// Whether the object has that name, or `NAMESPACE/NAME`.
fn is_meant(args: &GetArgs, meta: &Metadata, name: &str) -> bool {
    match name.split_once('/') {
        Some((namespace, name)) => {
            (meta.namespace.as_str(), meta.name.as_str()) == (namespace, name)
        }
        None => is_here(args, meta) && meta.name == name,
    }
}
