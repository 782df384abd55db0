//! Finds the journals of the objects that a command concerns, and reduces a command to one journal's part.
//!
//! VSIs and data disks are found by the claims on their names, whether they exist or are deleted. Snapshots
//! are looked up in the journals.

use std::collections::BTreeMap;

use vsiflow_api::JournalUse;
use vsiflow_workflows::fleet::NetworkName;

use super::{
    hosts,
    routing::{Objects, is_network, makes_members},
};
use crate::{
    args::{CliCommand, Common, ObjectKind, Selection, without_kind},
    compose::database,
    exit::{Exit, ExitProblem},
    service::ServiceSession,
    shards::{DECIDES, SetPlace, claims, networks, snapshots},
    work::{self, DISK, HOST, QUOTA, SNAPSHOT, SelectedObject, SelectedObjects, TYPE},
};

/// Which of the objects that a command names count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::shards) enum ObjectCounts {
    /// Existing and deleted ones: the command only reads them.
    GoneToo,
    /// Existing ones; a name without an object is refused.
    There,
}

/// The objects that a command concerns, by journal.
pub(super) async fn concerned(
    place: &SetPlace,
    common: &Common,
    objects: &Objects<'_>,
    counts: ObjectCounts,
) -> Result<BTreeMap<u16, Vec<String>>, ExitProblem> {
    match objects {
        Objects::Named(namespace, names) => {
            by_journal(place, common, (namespace, names), counts).await
        }
        Objects::Selected(selection) => {
            let selected = Box::pin(selected(place, common, selection)).await?;
            let names: Vec<_> = selected.iter().map(SelectedObject::qualified).collect();
            by_journal(place, common, (selection.namespace, &names), counts).await
        }
    }
}

/// The named objects, by journal.
pub(in crate::shards) async fn by_journal<'n>(
    place: &SetPlace,
    common: &Common,
    (namespace, names): (&str, impl IntoIterator<Item = &'n String>),
    counts: ObjectCounts,
) -> Result<BTreeMap<u16, Vec<String>>, ExitProblem> {
    let names = names.into_iter();
    let (taken, others): (Vec<_>, Vec<_>) = names.partition(|name| name.starts_with(SNAPSHOT));
    let mut found = snapshots_by_journal(place, common, (namespace, taken), counts).await?;
    let (networks, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|n| is_network(n));
    for (journal, its) in networks_by_journal(place, common, (namespace, networks), counts).await? {
        found.entry(journal).or_default().extend(its);
    }
    for name in others {
        if name.starts_with(QUOTA) || name.starts_with(TYPE) || makes_members(name) {
            found.entry(DECIDES).or_default().push(name.clone());
            continue;
        }
        if let Some(host) = name.strip_prefix(HOST) {
            let journal = place.set.journal_of(host).await;
            let journal = journal.map_err(database::problem)?;
            let journal = journal.ok_or_else(|| hosts::no_host(Some(host)))?;
            found.entry(journal).or_default().push(name.clone());
            continue;
        }
        let (kind, rest) = match name.strip_prefix(DISK) {
            Some(rest) => (claims::DISK, rest),
            None => (claims::VSI, without_kind(name)),
        };
        let (namespace, rest) = rest.split_once('/').unwrap_or((namespace, rest));
        let object = claims::object(kind, namespace, rest);
        let journal = place.set.journal_of_name(&object).await;
        match journal.map_err(database::problem)? {
            Some(journal) => found.entry(journal).or_default().push(name.clone()),
            None => return Err(claims::unknown(name)),
        }
    }
    Ok(found)
}

/// The named snapshots, by journal.
async fn snapshots_by_journal(
    place: &SetPlace,
    common: &Common,
    (namespace, names): (&str, Vec<&String>),
    counts: ObjectCounts,
) -> Result<BTreeMap<u16, Vec<String>>, ExitProblem> {
    let keys = names.iter().map(|name| {
        let rest = name.strip_prefix(SNAPSHOT).unwrap_or(name);
        let (namespace, rest) = rest.split_once('/').unwrap_or((namespace, rest));
        (namespace.to_owned(), rest.to_owned())
    });
    let keys: Vec<_> = keys.collect();
    let gone = counts == ObjectCounts::GoneToo;
    let journals = Box::pin(snapshots::journals_of(place, common, &keys, gone)).await?;
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for (name, journal) in names.into_iter().zip(journals) {
        match journal {
            Some(journal) => found.entry(journal).or_default().push(name.clone()),
            None => return Err(unknown_snapshot(name)),
        }
    }
    Ok(found)
}

/// The named networks, by journal. A network may be in several journals.
async fn networks_by_journal(
    place: &SetPlace,
    common: &Common,
    (namespace, names): (&str, Vec<&String>),
    counts: ObjectCounts,
) -> Result<BTreeMap<u16, Vec<String>>, ExitProblem> {
    let keys = names.iter().map(|name| network_named(namespace, name));
    let keys: Vec<_> = keys.collect();
    let gone = counts == ObjectCounts::GoneToo;
    let journals = networks::journals_of(place, common, &keys, gone).await?;
    let mut found: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for (name, its) in names.into_iter().zip(journals) {
        if its.is_empty() {
            return Err(unknown_network(name));
        }
        for journal in its {
            found.entry(journal).or_default().push(name.clone());
        }
    }
    Ok(found)
}

/// The namespace and the name of `network/NAME`.
pub(super) fn network_named(namespace: &str, name: &str) -> NetworkName {
    let rest = name.split_once('/').map_or(name, |(_, rest)| rest);
    let (namespace, rest) = rest.split_once('/').unwrap_or((namespace, rest));
    (namespace.to_owned(), rest.to_owned())
}

fn unknown_network(name: &str) -> ExitProblem {
    let message = format!("{name} is not known here");
    let remedy = "`vsiflow get networks -A` lists the networks of the set";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}

fn unknown_snapshot(name: &str) -> ExitProblem {
    let message = format!("{name} is not known here");
    let remedy = "`vsiflow get snapshots -A` lists the snapshots of the set";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}

/// The objects that a selection finds in all journals.
async fn selected(
    place: &SetPlace,
    common: &Common,
    wanted: &SelectedObjects<'_>,
) -> Result<Vec<SelectedObject>, ExitProblem> {
    let of_set = Common {
        set: Some(place.clone()),
        ..common.clone()
    };
    let session = Box::pin(ServiceSession::open(&of_set, JournalUse::Read)).await?;
    let objects = work::select(&session, wanted).await;
    session.close().await;
    objects
}

/// Reduces a command to these objects: removes its selections, documents and other names.
pub(in crate::shards) fn leave(command: &mut CliCommand, names: Vec<String>) {
    let names: Vec<_> = names.into_iter().map(|name| word(&name)).collect();
    match command {
        CliCommand::Logs(args) => {
            (args.words, args.selection, args.all) = (names, Selection::default(), false);
        }
        CliCommand::Describe(args) => args.leave(names),
        CliCommand::History(args) => args.leave(names),
        // The other commands name one object.
        _ => {}
    }
}

/// A name that cannot be mistaken for the name of a kind.
fn word(name: &str) -> String {
    match ObjectKind::named(name) {
        Some(_) => format!("vsi/{name}"),
        None => name.to_owned(),
    }
}
