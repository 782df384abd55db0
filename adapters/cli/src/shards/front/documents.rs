//! Commands on documents in a set: each journal does its part.

use std::collections::BTreeSet;

use vsiflow_workflows::{
    fleet::{NetworkName, is_open},
    spec::Resolved,
};

use crate::{
    args::{Cli, Common, Sources},
    compose::{database, journal_key},
    exit::{Exit, ExitProblem},
    output::{self, sink},
    shards::{
        DECIDES, SetPlace,
        ask::{self, CommandPart, forwarded},
        local_documents, networks, snapshots,
    },
    work,
};

/// Has every journal that the documents concern do its part.
pub(super) async fn documents(
    cli: &Cli,
    place: &SetPlace,
    sources: &Sources,
) -> Result<Exit, ExitProblem> {
    let sealer = journal_key::needed().await?;
    let documents = work::gather(&sources.files, sources.recursive).await?;
    let resolved = work::with_files(documents.clone(), read(&cli.common, sources));
    let resolved = Box::pin(resolved).await?;
    local_documents::refuse_shared(&resolved)?;
    let limited = place
        .set
        .limited_among(&local_documents::namespaces(&resolved))
        .await;
    let is_limited = !limited.map_err(database::problem)?.is_empty();
    let is_open = resolved.vsis.iter().any(is_open);
    let of_journal_0 = !resolved.quotas.is_empty() || local_documents::makes_members(&resolved);
    let is_decided = is_open || is_limited || of_journal_0;
    let mut journals = BTreeSet::new();
    for host in local_documents::hosts(&resolved) {
        let journal = place.set.assign(&host).await;
        journals.insert(journal.map_err(database::problem)?);
    }
    if !resolved.types.is_empty() {
        journals.insert(DECIDES);
    }
    let of_snapshots = snapshots::homes(&place.set, &resolved).await?;
    journals.extend(of_snapshots.into_iter().flatten());
    let described = local_documents::networks(&resolved);
    let of_networks = networks::journals_of(place, &cli.common, &described, false).await?;
    report_unused(&resolved, &described, &of_networks);
    journals.extend(of_networks.into_iter().flatten());
    if journals.is_empty() && !is_decided {
        output::note("nothing is recorded: the documents describe no VSI and no data disk");
    }
    let part = if is_decided {
        CommandPart::Decide
    } else {
        CommandPart::Own
    };
    let command = forwarded(cli, &documents.files, part);
    if is_decided {
        return ask::ask(&place.set, &sealer, DECIDES, &command, true).await;
    }
    let asking = journals
        .iter()
        .map(|journal| ask::ask(&place.set, &sealer, *journal, &command, true));
    Ok(output::worst(futures::future::join_all(asking).await))
}

/// Reports the networks that are not made yet because nothing in the documents uses them and no journal has
/// them.
fn report_unused(resolved: &Resolved, described: &[NetworkName], journals: &[BTreeSet<u16>]) {
    for network in resolved.unused_networks() {
        let (namespace, name) = (&network.namespace, &network.name);
        let its = |(at, _): &(&NetworkName, _)| (&at.0, &at.1) == (namespace, name);
        let mut all = described.iter().zip(journals);
        if all.find(its).is_none_or(|(_, found)| found.is_empty()) {
            work::report_not_made(namespace, name);
        }
    }
}

/// Reads and resolves documents. Warnings are suppressed here; the journals that apply the
/// documents report them.
pub(in crate::shards) async fn read(
    common: &Common,
    sources: &Sources,
) -> Result<Resolved, ExitProblem> {
    let silently = sink::with(std::sync::Arc::default(), work::documents(common, sources));
    match Box::pin(silently).await {
        Ok(resolved) => Ok(resolved),
        // Repeated with output, so that the user sees the warnings with the error.
        Err(_) => work::documents(common, sources).await,
    }
}
