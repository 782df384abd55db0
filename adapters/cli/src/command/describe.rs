//! `describe`: shows everything known about a VSI, a pool, a group, a data disk, a snapshot, a network or a
//! host.

use serde::Serialize;
use vsiflow_workflows::fleet::{
    ErrorKind, Fleet, Fleets, HistoryLine, NetworkObject, OtherJournal, QuotaObject,
};

use crate::{
    args::{Common, DescribeArgs, OutputFormat},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    membership::SetPlace,
    output,
    work::{self, DISK, GROUP, HOST, NETWORK, POOL, QUOTA, SNAPSHOT, TYPE},
};

pub(super) async fn run(common: &Common, args: DescribeArgs) -> CommandOutcome {
    if let Some(place) = &common.set {
        return of_set(common, place, &args).await;
    }
    let app = App::open(common).await?;
    let fleet = app.fleet_at(args.at).await?;
    let described = all(&fleet, &args).await;
    app.close().await;
    described.map(|()| Exit::Done)
}

/// Describes objects that span the journals of a set: pools and groups, whose members are in all journals;
/// quotas, which all journals use; and networks, which are on hosts of any journal.
async fn of_set(common: &Common, place: &SetPlace, args: &DescribeArgs) -> CommandOutcome {
    let unheld = super::get::unheld(common).await?;
    let apps = place.open_all_to_read(common).await?;
    let described = async {
        let fleets = App::fleets_at(&apps, args.at).await?;
        let fleets = fleets.with_unheld(unheld);
        let (first, others) = (fleets.decides(), fleets.others());
        for (number, name) in args.names().iter().enumerate() {
            separate(args, number);
            if let Some(group) = name.strip_prefix(GROUP) {
                Box::pin(describe_group((first, &others), args, group)).await?;
            } else if let Some(quota) = name.strip_prefix(QUOTA) {
                describe_quota(&fleets.quotas().await?, args, quota)?;
            } else if let Some(network) = name.strip_prefix(NETWORK) {
                describe_network(&fleets, args, network).await?;
            } else {
                let name = name.strip_prefix(POOL).unwrap_or(name);
                Box::pin(describe_pool((first, &others), args, name)).await?;
            }
        }
        Ok(())
    };
    let described = Box::pin(described).await;
    App::end(apps, ()).await;
    described.map(|()| Exit::Done)
}

/// Prints a separator between two objects.
fn separate(args: &DescribeArgs, number: usize) {
    match args.output {
        _ if number == 0 => {}
        Some(OutputFormat::Yaml) => output::line("---"),
        Some(OutputFormat::Json | OutputFormat::Name) => {}
        None | Some(OutputFormat::Wide) => output::line(""),
    }
}

async fn all(fleet: &Fleet, args: &DescribeArgs) -> Result<(), ExitProblem> {
    for (number, name) in args.names().iter().enumerate() {
        separate(args, number);
        one(fleet, args, name).await?;
    }
    Ok(())
}

async fn one(fleet: &Fleet, args: &DescribeArgs, name: &str) -> Result<(), ExitProblem> {
    if let Some(group) = name.strip_prefix(GROUP) {
        return describe_group((fleet, &[]), args, group).await;
    }
    if let Some(snapshot) = name.strip_prefix(SNAPSHOT) {
        return describe_snapshot(fleet, args, snapshot).await;
    }
    if let Some(type_name) = name.strip_prefix(TYPE) {
        return describe_type(fleet, args, type_name).await;
    }
    if let Some(quota) = name.strip_prefix(QUOTA) {
        return describe_quota(&fleet.quotas().list().await?, args, quota);
    }
    if let Some(host) = name.strip_prefix(HOST) {
        return describe_host(fleet, args, host).await;
    }
    if let Some(network) = name.strip_prefix(NETWORK) {
        return describe_network(&Fleets::from(fleet.clone()), args, network).await;
    }
    match (name.strip_prefix(DISK), name.strip_prefix(POOL)) {
        (Some(disk), _) => describe_disk(fleet, args, disk).await,
        (_, Some(pool)) => describe_pool((fleet, &[]), args, pool).await,
        (None, None) => describe_vsi(fleet, args, name).await,
    }
}

async fn describe_host(fleet: &Fleet, args: &DescribeArgs, name: &str) -> Result<(), ExitProblem> {
    let hosts = fleet.hosts().list().await?;
    let Some(found) = hosts.iter().find(|found| found.name == name) else {
        let message = format!("{HOST}{name} is not known here");
        let remedy = "`vsiflow get host` lists the hosts";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy));
    };
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{HOST}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(found, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            let mut images = fleet.images().list().await?;
            images.retain(|image| image.host == name);
            let history = fleet.history().lines("", &format!("{HOST}{name}")).await?;
            output::describe::host(found, &images, &history, args.times.time);
        }
    }
    Ok(())
}

/// A type has no status: only its fields are shown.
async fn describe_type(fleet: &Fleet, args: &DescribeArgs, name: &str) -> Result<(), ExitProblem> {
    let types = fleet.server_types().list().await?;
    let Some(found) = types.iter().find(|found| found.name == name) else {
        let message = format!("{TYPE}{name} is not known here");
        let remedy = "`vsiflow get types` lists the types";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy));
    };
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{TYPE}{name}")),
        Some(OutputFormat::Json) => output::print(found, OutputFormat::Json)?,
        _ => output::print(found, OutputFormat::Yaml)?,
    }
    Ok(())
}

fn describe_quota(
    quotas: &[QuotaObject],
    args: &DescribeArgs,
    name: &str,
) -> Result<(), ExitProblem> {
    let (namespace, name) = name.split_once('/').unwrap_or((&args.namespace, name));
    let is_it = |found: &&QuotaObject| {
        let meta = &found.metadata;
        meta.name == name && meta.namespace == namespace
    };
    let Some(found) = quotas.iter().find(is_it) else {
        return Err(work::no_quota(name));
    };
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{QUOTA}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(found, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => output::describe::quota(found),
    }
    Ok(())
}

/// A network, found by the name of its document or by its name on hosts.
#[derive(Serialize)]
struct NetworkDescription<'a> {
    name: &'a str,
    /// Its state on each of its hosts.
    hosts: Vec<NetworkObject>,
}

async fn describe_network(
    fleets: &Fleets,
    args: &DescribeArgs,
    name: &str,
) -> Result<(), ExitProblem> {
    let (namespace, name) = name.split_once('/').unwrap_or((&args.namespace, name));
    let mut hosts = fleets.networks().await?;
    let has_document = |found: &NetworkObject| {
        let made = found.made.as_ref();
        made.is_some_and(|made| (made.namespace.as_str(), made.name.as_str()) == (namespace, name))
    };
    let is_made = hosts.iter().any(has_document);
    // Names on hosts are a prefix with the document's name, or an administrator's own.
    hosts.retain(|found| has_document(found) || !is_made && found.name == name);
    let history = network_history(fleets, (namespace, name), is_made).await?;
    if hosts.is_empty() {
        let message = format!("{NETWORK}{name} is not known here");
        let remedy = "`vsiflow get networks` lists those that are made, and those that VSIs are on";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy));
    }
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{NETWORK}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            let described = NetworkDescription { name, hosts };
            output::print(&described, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            output::describe::network(&hosts, &history, args.times.time);
        }
    }
    Ok(())
}

/// The history of a network that vsiflow made; nothing is recorded for other networks of hosts.
async fn network_history(
    fleets: &Fleets,
    (namespace, name): (&str, &str),
    is_made: bool,
) -> Result<Vec<HistoryLine>, ExitProblem> {
    let mut all = Vec::new();
    let name = format!("{NETWORK}{name}");
    for fleet in fleets.all().filter(|_| is_made) {
        match fleet.history().lines(namespace, &name).await {
            Err(unknown) if unknown.kind == ErrorKind::NotFound => {}
            lines => all.extend(lines?),
        }
    }
    Ok(all)
}

async fn describe_vsi(fleet: &Fleet, args: &DescribeArgs, name: &str) -> Result<(), ExitProblem> {
    let namespace = &args.namespace;
    let object = fleet.vsis().get(namespace, name).await?;
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("vsi/{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(&object, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            let history = fleet.history().lines(namespace, name).await?;
            output::describe::vsi(&object, &history, args.times.time);
        }
    }
    Ok(())
}

async fn describe_pool(
    (fleet, others): (&Fleet, &[OtherJournal<'_>]),
    args: &DescribeArgs,
    name: &str,
) -> Result<(), ExitProblem> {
    let namespace = &args.namespace;
    let object = fleet.pools().get_over(namespace, name, others).await?;
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{POOL}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(&object, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            let name = format!("{POOL}{name}");
            let history = fleet.history().lines(namespace, &name).await?;
            output::describe::pool(&object, &history, args.times.time);
        }
    }
    Ok(())
}

async fn describe_group(
    (fleet, others): (&Fleet, &[OtherJournal<'_>]),
    args: &DescribeArgs,
    name: &str,
) -> Result<(), ExitProblem> {
    let namespace = &args.namespace;
    let object = fleet.groups().get_over(namespace, name, others).await?;
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{GROUP}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(&object, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            let name = format!("{GROUP}{name}");
            let history = fleet.history().lines(namespace, &name).await?;
            output::describe::group(&object, &history, args.times.time);
        }
    }
    Ok(())
}

async fn describe_snapshot(
    fleet: &Fleet,
    args: &DescribeArgs,
    name: &str,
) -> Result<(), ExitProblem> {
    let namespace = &args.namespace;
    let object = fleet.snapshots().get(namespace, name).await?;
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{SNAPSHOT}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(&object, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            let name = format!("{SNAPSHOT}{name}");
            let history = fleet.history().lines(namespace, &name).await?;
            output::describe::snapshot(&object, &history, args.times.time);
        }
    }
    Ok(())
}

async fn describe_disk(fleet: &Fleet, args: &DescribeArgs, name: &str) -> Result<(), ExitProblem> {
    let namespace = &args.namespace;
    let object = fleet.disks().get(namespace, name).await?;
    match args.output {
        Some(OutputFormat::Name) => output::name(&format!("{DISK}{name}")),
        Some(OutputFormat::Json | OutputFormat::Yaml) => {
            output::print(&object, args.output.unwrap_or(OutputFormat::Json))?;
        }
        None | Some(OutputFormat::Wide) => {
            // A disk that VSIs only refer to has its history in theirs.
            let history = match object.metadata.uid.as_str() {
                "" => Vec::new(),
                _ => {
                    fleet
                        .history()
                        .lines(namespace, &format!("{DISK}{name}"))
                        .await?
                }
            };
            output::describe::disk(&object, &history, args.times.time);
        }
    }
    Ok(())
}
