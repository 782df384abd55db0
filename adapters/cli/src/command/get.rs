//! `get`: lists and shows.

use serde_json::{Value, json};
use vsiflow_workflows::fleet::Metadata;

use super::{CommandOutcome, watch};
use crate::{
    args::{Common, GetArgs, ObjectKind, OutputFormat},
    compose::App,
    exit::{Exit, ExitProblem},
    output::{self, table},
};

pub(super) async fn run(common: &Common, args: GetArgs) -> CommandOutcome {
    if args.watch {
        watch::run(common, args).await
    } else {
        list(common, args).await
    }
}

pub(super) async fn list(common: &Common, args: GetArgs) -> CommandOutcome {
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
    let printed = match args.kind_and_names().0 {
        ObjectKind::Vsi => vsis(&app, &args).await,
        ObjectKind::Image => {
            let images = app.fleet.images().await?;
            let wide = args.output.is_some();
            print(&args, images, |images| table::images(images, wide))
        }
        ObjectKind::Disk => disks(&app, &args).await,
        ObjectKind::Network => {
            let networks = app.fleet.networks().await?;
            print(&args, networks, table::networks)
        }
        ObjectKind::Host => {
            let hosts = app.fleet.host_objects().await?;
            print(&args, hosts, table::hosts)
        }
        ObjectKind::Run => {
            let runs = app.fleet.runs();
            print(&args, runs, table::runs)
        }
    };
    app.close().await;
    printed
}

async fn vsis(app: &App, args: &GetArgs) -> CommandOutcome {
    let names: Vec<_> = args.kind_and_names().1;
    let mut objects = app.fleet.vsis(args.deleted).await?;
    for name in choose(args, &names, &mut objects, |object| &object.metadata) {
        app.fleet.get(&args.scope.namespace, name).await?;
    }
    match args.output {
        None | Some(OutputFormat::Wide) => {
            let wide = args.output.is_some();
            output::table(
                &table::vsis(&objects, wide, args.scope.all_namespaces),
                "vsis",
            );
        }
        Some(OutputFormat::Name) => {
            objects
                .iter()
                .for_each(|object| output::line(&format!("vsi/{}", object.metadata.name)));
        }
        Some(format) => match (objects.as_slice(), names.len()) {
            ([one], 1) => output::print(one, format)?,
            (all, _) => output::print(&output::list(all), format)?,
        },
    }
    Ok(Exit::Done)
}

async fn disks(app: &App, args: &GetArgs) -> CommandOutcome {
    let names = args.kind_and_names().1;
    let mut objects = app.fleet.disks(args.deleted).await?;
    for name in choose(args, &names, &mut objects, |object| &object.metadata) {
        app.fleet.disk(&args.scope.namespace, name).await?;
    }
    match args.output {
        None | Some(OutputFormat::Wide) => {
            let wide = args.output.is_some();
            let table = table::disks(&objects, wide, args.scope.all_namespaces);
            output::table(&table, "data disks");
        }
        Some(OutputFormat::Name) => {
            let names = objects.iter().map(|object| &object.metadata.name);
            names.for_each(|name| output::line(&format!("disk/{name}")));
        }
        Some(format) => match (objects.as_slice(), names.len()) {
            ([one], 1) => output::print(one, format)?,
            (all, _) => output::print(&output::list(all), format)?,
        },
    }
    Ok(Exit::Done)
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
    objects.retain(|object| match names.is_empty() {
        true => is_here(args, meta(object)),
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

fn print<T: serde::Serialize>(
    args: &GetArgs,
    objects: Vec<T>,
    table: impl Fn(&[T]) -> table::Table,
) -> CommandOutcome {
    let value = |object: T| Ok((serde_json::to_value(&object)?, object));
    let all: Result<Vec<_>, serde_json::Error> = objects.into_iter().map(value).collect();
    let all = all.map_err(ExitProblem::defect)?;
    let name = |value: &Value| {
        value
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let names = args.kind_and_names().1;
    if let Some(missing) = names
        .iter()
        .find(|n| !all.iter().any(|(v, _)| name(v) == **n))
    {
        let message = format!("{missing} is not known here");
        return Err(ExitProblem::new(
            Exit::NotFound,
            "VSI0703",
            message,
            "`vsiflow get` lists the names",
        ));
    }
    let chosen = |(value, _): &(Value, T)| names.is_empty() || names.contains(&name(value));
    let (chosen, objects): (Vec<_>, Vec<_>) = all.into_iter().filter(chosen).unzip();
    match args.output {
        None | Some(OutputFormat::Wide) => output::table(&table(&objects), "objects"),
        Some(OutputFormat::Name) => chosen.iter().for_each(|value| output::line(&name(value))),
        Some(format) => {
            let items = chosen
                .iter()
                .map(|value| json!({"metadata": {"name": name(value)}, "status": value}));
            output::print(&output::list(&items.collect::<Vec<_>>()), format)?;
        }
    }
    Ok(Exit::Done)
}
