//! Commands on hosts in a set: the journal of each host runs them.

use std::collections::BTreeSet;

use vsiflow_api::SentDocuments;
use vsiflow_workflows::spec::LabelSelector;

use super::routing::NamedHost;
use crate::{
    args::{Cli, Common},
    compose::{App, database, journal_key},
    exit::{Exit, ExitProblem},
    output,
    shards::{
        SetPlace,
        ask::{self, CommandPart, forwarded},
    },
    work,
};

/// Has the journal of a host run a command. A host that belongs to no journal yet is assigned to
/// one.
pub(super) async fn of_host(
    cli: &Cli,
    host: NamedHost<'_>,
    repeatable: bool,
    place: &SetPlace,
) -> Result<Exit, ExitProblem> {
    let sealer = journal_key::needed().await?;
    let (documents, journal) = if host.files.is_empty() && cli.common.host.is_none() {
        let journal = known(&cli.common, place, host.name).await?;
        (SentDocuments::default(), journal)
    } else {
        let documents = work::gather(host.files, false).await?;
        let settings = work::one_host(&cli.common, host.files);
        let settings = work::with_files(documents.clone(), settings).await?;
        let journal = place.set.assign(&settings.id()).await;
        (documents, journal.map_err(database::problem)?)
    };
    let command = forwarded(cli, documents.files, CommandPart::Own);
    ask::ask(&place.set, &sealer, journal, &command, repeatable).await
}

/// Has the journals that have hosts with these labels run a command.
pub(super) async fn of_hosts(
    cli: &Cli,
    labels: &LabelSelector,
    place: &SetPlace,
) -> Result<Exit, ExitProblem> {
    let sealer = journal_key::needed().await?;
    let apps = place.open_all_to_read(&cli.common).await?;
    let found = labelled(&apps, labels).await;
    App::end(apps, ()).await;
    let found = found?;
    if found.is_empty() {
        let message = format!("no host is known with the labels {labels}");
        let remedy = "`vsiflow get host` lists the labels";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy));
    }
    let command = forwarded(cli, Vec::new(), CommandPart::Own);
    let asking = found
        .iter()
        .map(|journal| ask::ask(&place.set, &sealer, *journal, &command, true));
    Ok(output::worst(futures::future::join_all(asking).await))
}

async fn labelled(apps: &[App], labels: &LabelSelector) -> Result<BTreeSet<u16>, ExitProblem> {
    let mut found = BTreeSet::new();
    for (journal, app) in (0..).zip(apps) {
        let hosts = app.fleet.hosts().list().await?;
        if hosts.iter().any(|host| labels.matches(&host.labels)) {
            found.insert(journal);
        }
    }
    Ok(found)
}

/// The journal of a host that the set knows by its name, or of its only host.
async fn known(common: &Common, place: &SetPlace, name: Option<&str>) -> Result<u16, ExitProblem> {
    let apps = place.open_all_to_read(common).await?;
    let found = Box::pin(journal(&apps, name)).await;
    App::end(apps, ()).await;
    found
}

async fn journal(apps: &[App], name: Option<&str>) -> Result<u16, ExitProblem> {
    let mut found = Vec::new();
    for (journal, app) in (0..).zip(apps) {
        let hosts = app.fleet.hosts();
        let names: Vec<_> = match name {
            Some(name) => {
                let known = hosts.settings(name).into_iter();
                known.map(|host| host.id()).collect()
            }
            None => {
                let known = hosts.list().await?.into_iter();
                known.map(|host| host.name).collect()
            }
        };
        found.extend(names.into_iter().map(|host| (host, journal)));
    }
    match found.as_slice() {
        [(_, journal)] => Ok(*journal),
        [] => Err(no_host(name)),
        several => {
            let names: Vec<_> = several.iter().map(|(host, _)| host.as_str()).collect();
            let message = format!("it may be on several hosts: {}", names.join(", "));
            let remedy = "name one of them with --on";
            Err(ExitProblem::new(Exit::Usage, "VSI0607", message, remedy))
        }
    }
}

pub(super) fn no_host(name: Option<&str>) -> ExitProblem {
    let meant = name.map_or_else(String::new, |name| format!(" by the name {name}"));
    let message = format!("no host is known{meant}");
    let remedy = "`vsiflow get host` lists the hosts of the set; a new one is made known by a document that names it";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}
