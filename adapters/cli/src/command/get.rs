//! `get`: lists and shows.

use std::{borrow::Cow, cmp::Ordering};

use serde::Serialize;
use serde_json::{Value, json};
use vsiflow_workflows::{fleet::Metadata, spec::server_type::SERVER_TYPES};

use super::{CommandOutcome, watch};
use crate::{
    args::{Common, GetArgs, ListFormat, ObjectKind, OutputFormat},
    compose::App,
    exit::{Exit, ExitProblem},
    output::{self, jsonpath, table},
    work,
};

pub(super) async fn run(common: &Common, args: GetArgs) -> CommandOutcome {
    if args.watch {
        watch::run(common, args).await
    } else {
        list(common, args).await
    }
}

pub(super) async fn list(common: &Common, args: GetArgs) -> CommandOutcome {
    let (kind, names) = args.kind_and_names();
    if !names.is_empty() && (args.all || !args.selection.is_empty()) {
        return Err(work::names_and_selector());
    }
    let app = match args.refresh {
        true => App::open_to_record(common).await?,
        false => App::open(common).await?,
    };
    if args.refresh {
        super::scan::refresh(&app).await?;
    }
    if let Some(paused) = app.fleet.braked() {
        output::warning(&format!(
            "{}; `vsiflow unpause --all` ends it",
            paused.message
        ));
    }
    let printed = match kind {
        ObjectKind::Vsi => vsis(&app, &args, &names).await,
        ObjectKind::Disk => disks(&app, &args, &names).await,
        kind => others(&app, &args, kind, &names).await,
    };
    app.close().await;
    printed
}

async fn vsis(app: &App, args: &GetArgs, names: &[String]) -> CommandOutcome {
    let mut objects = app.fleet.vsis(args.deleted).await?;
    for name in choose(args, names, &mut objects, |object| &object.metadata) {
        app.fleet.get(&args.scope.namespace, name).await?;
    }
    let listed = Listed {
        what: "vsis",
        prefix: "vsi/",
        single: names.len() == 1,
    };
    let wide = args.output.is_some();
    print(args, &listed, objects, named, |objects| {
        table::vsis(objects, wide, args.scope.all_namespaces)
    })
}

async fn disks(app: &App, args: &GetArgs, names: &[String]) -> CommandOutcome {
    let mut objects = app.fleet.disks(args.deleted).await?;
    for name in choose(args, names, &mut objects, |object| &object.metadata) {
        app.fleet.disk(&args.scope.namespace, name).await?;
    }
    let listed = Listed {
        what: "data disks",
        prefix: "disk/",
        single: names.len() == 1,
    };
    let wide = args.output.is_some();
    print(args, &listed, objects, named, |objects| {
        table::disks(objects, wide, args.scope.all_namespaces)
    })
}

/// What has no namespace and no labels.
async fn others(app: &App, args: &GetArgs, kind: ObjectKind, names: &[String]) -> CommandOutcome {
    if args.selection.labels.is_some() {
        let message = "only VSIs and data disks have labels";
        let remedy = "use --field-selector, or leave the selector out";
        return Err(ExitProblem::new(Exit::Usage, "VSI0810", message, remedy));
    }
    match kind {
        ObjectKind::Network => unnamed(args, names, app.fleet.networks().await?, table::networks),
        ObjectKind::Host => unnamed(args, names, app.fleet.host_objects().await?, table::hosts),
        ObjectKind::Type => unnamed(args, names, SERVER_TYPES.to_vec(), table::types),
        ObjectKind::Run => unnamed(args, names, app.fleet.runs(), table::runs),
        _ => {
            let wide = args.output.is_some();
            let images = app.fleet.images().await?;
            unnamed(args, names, images, |images| table::images(images, wide))
        }
    }
}

fn unnamed<T: Serialize>(
    args: &GetArgs,
    names: &[String],
    objects: Vec<T>,
    table: impl Fn(&[T]) -> table::Table,
) -> CommandOutcome {
    let value = |object: T| Ok((serde_json::to_value(&object)?, object));
    let all: Result<Vec<_>, serde_json::Error> = objects.into_iter().map(value).collect();
    let all = all.map_err(ExitProblem::defect)?;
    let is_there = |wanted: &&String| all.iter().any(|(value, _)| name_of(value) == **wanted);
    if let Some(missing) = names.iter().find(|wanted| !is_there(wanted)) {
        let message = format!("{missing} is not known here");
        let remedy = "`vsiflow get` lists the names";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy));
    }
    let chosen = |value: &Value| names.is_empty() || names.contains(&name_of(value).to_owned());
    let chosen = all.into_iter().filter(|(value, _)| chosen(value));
    let objects = chosen.map(|(_, object)| object).collect();
    let listed = Listed {
        what: "objects",
        prefix: "",
        single: false,
    };
    let wrapped = |value: Value| json!({"metadata": {"name": name_of(&value)}, "status": value});
    print(args, &listed, objects, wrapped, table)
}

fn name_of(value: &Value) -> &str {
    value.get("name").and_then(Value::as_str).unwrap_or("")
}

/// One that bears its metadata is printed as it is.
fn named(value: Value) -> Value {
    value
}

/// How a list is spoken of.
struct Listed {
    what: &'static str,
    /// What stands before a name.
    prefix: &'static str,
    /// Whether one object was named: it is printed by itself.
    single: bool,
}

fn print<T: Serialize>(
    args: &GetArgs,
    listed: &Listed,
    objects: Vec<T>,
    shape: impl Fn(Value) -> Value,
    table: impl Fn(&[T]) -> table::Table,
) -> CommandOutcome {
    let objects = arrange(args, objects, &shape)?;
    let Some(ListFormat::JsonPath(_) | ListFormat::Columns(_)) = &args.output else {
        return print_plain(args, listed, objects, shape, table);
    };
    let values = values(objects, shape)?;
    match &args.output {
        Some(ListFormat::Columns(columns)) => {
            output::line(columns.render(&values, !args.no_headers).trim_end());
        }
        Some(ListFormat::JsonPath(template)) => {
            let whole = match (values.as_slice(), listed.single) {
                ([one], true) => Cow::Borrowed(one),
                (all, _) => Cow::Owned(output::list(all)),
            };
            output::raw(template.render(&whole).as_bytes())?;
        }
        _ => {}
    }
    Ok(Exit::Done)
}

fn print_plain<T: Serialize>(
    args: &GetArgs,
    listed: &Listed,
    objects: Vec<T>,
    shape: impl Fn(Value) -> Value,
    table: impl Fn(&[T]) -> table::Table,
) -> CommandOutcome {
    match &args.output {
        None | Some(ListFormat::Plain(OutputFormat::Wide)) => match args.no_headers {
            true => output::table_rows(&table(&objects), listed.what),
            false => output::table(&table(&objects), listed.what),
        },
        Some(ListFormat::Plain(OutputFormat::Name)) => {
            for value in values(objects, shape)? {
                let name = value.pointer("/metadata/name").and_then(Value::as_str);
                output::line(&format!("{}{}", listed.prefix, name.unwrap_or("")));
            }
        }
        Some(ListFormat::Plain(format)) => match values(objects, shape)?.as_slice() {
            [one] if listed.single => output::print(one, *format)?,
            all => output::print(&output::list(all), *format)?,
        },
        Some(ListFormat::JsonPath(_) | ListFormat::Columns(_)) => {}
    }
    Ok(Exit::Done)
}

fn values<T: Serialize>(
    objects: Vec<T>,
    shape: impl Fn(Value) -> Value,
) -> Result<Vec<Value>, ExitProblem> {
    let values = objects.iter().map(serde_json::to_value);
    let values: Result<Vec<_>, _> = values.map(|value| value.map(&shape)).collect();
    values.map_err(ExitProblem::defect)
}

/// Keeps what the field selector matches, in the order that is asked for.
fn arrange<T: Serialize>(
    args: &GetArgs,
    objects: Vec<T>,
    shape: impl Fn(Value) -> Value,
) -> Result<Vec<T>, ExitProblem> {
    let fields = &args.selection.field_selector;
    if fields.is_none() && args.sort_by.is_none() {
        return Ok(objects);
    }
    let value = |object: T| Ok((shape(serde_json::to_value(&object)?), object));
    let all: Result<Vec<_>, serde_json::Error> = objects.into_iter().map(value).collect();
    let mut all = all.map_err(ExitProblem::defect)?;
    all.retain(|(value, _)| fields.as_ref().is_none_or(|fields| fields.matches(value)));
    if let Some(path) = &args.sort_by {
        all.sort_by(|(one, _), (other, _)| by_path(path, one, other));
    }
    Ok(all.into_iter().map(|(_, object)| object).collect())
}

/// Numbers by their size, all else by its text; what has nothing there comes first.
fn by_path(path: &str, one: &Value, other: &Value) -> Ordering {
    let at = |value| {
        jsonpath::found(value, path)
            .first()
            .map(|found| (*found).clone())
    };
    match (at(one), at(other)) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => {
            let numbers = (one.as_f64(), other.as_f64());
            numbers.0.partial_cmp(&numbers.1).unwrap_or(Ordering::Equal)
        }
        (one, other) => {
            let text = |value: Option<Value>| value.as_ref().map(jsonpath::text_of);
            text(one).cmp(&text(other))
        }
    }
}

/// One whose namespace nobody can read is shown in each.
fn is_here(args: &GetArgs, meta: &Metadata) -> bool {
    let anywhere = args.scope.all_namespaces || meta.namespace.is_empty();
    anywhere || meta.namespace == args.scope.namespace
}

/// Keeps what is asked for, and gives the names that nothing here bears.
fn choose<'n, T>(
    args: &GetArgs,
    names: &'n [String],
    objects: &mut Vec<T>,
    meta: fn(&T) -> &Metadata,
) -> Vec<&'n String> {
    let labels = args.selection.labels.as_ref();
    let is_selected = |meta: &Metadata| {
        let labels = labels.is_none_or(|labels| labels.matches(&meta.labels));
        is_here(args, meta) && labels
    };
    objects.retain(|object| match names.is_empty() {
        true => is_selected(meta(object)),
        false => names.iter().any(|name| is_meant(args, meta(object), name)),
    });
    let missing = |name: &&String| !objects.iter().any(|o| is_meant(args, meta(o), name));
    names.iter().filter(missing).collect()
}

/// Whether it is the one of that name, or `NAMESPACE/NAME`.
fn is_meant(args: &GetArgs, meta: &Metadata, name: &str) -> bool {
    match name.split_once('/') {
        Some((namespace, name)) => {
            (meta.namespace.as_str(), meta.name.as_str()) == (namespace, name)
        }
        None => is_here(args, meta) && meta.name == name,
    }
}
