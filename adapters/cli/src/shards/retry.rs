//! `retry` of pools and groups: these are in journal 0, and their stuck members may be in any journal.
//!
//! The members are looked up in all journals, and each journal that has some is asked to retry them by name.
//! Nothing is decided here, and repeating the request changes nothing more.

use std::collections::BTreeSet;

use vsiflow_workflows::fleet::{GroupObject, Metadata, PoolObject};

use super::{
    SetPlace,
    ask::{self, CommandPart, forwarded},
    claims::unknown,
    front::objects::{ObjectCounts, by_journal},
};
use crate::{
    args::{Cli, RetryArgs, names_of},
    compose::{App, journal_key},
    exit::{Exit, ExitProblem},
    output,
    work::{GROUP, POOL},
};

/// Retries the stuck members of pools and groups, and whatever else is named.
pub(super) async fn retry(
    cli: &Cli,
    args: &RetryArgs,
    place: &SetPlace,
) -> Result<Exit, ExitProblem> {
    let sealer = journal_key::needed().await?;
    let names = Box::pin(members(cli, args, place)).await?;
    if names.is_empty() {
        output::line("nothing to retry: there are no members");
        return Ok(Exit::Done);
    }
    let journals = by_journal(
        place,
        &cli.common,
        (&args.namespace, &names),
        ObjectCounts::There,
    )
    .await?;
    let asking = journals.into_iter().map(|(journal, own)| {
        let command = forwarded(cli, &[], CommandPart::Named(own));
        let sealer = &sealer;
        async move { ask::ask(&place.set, sealer, journal, &command, true).await }
    });
    Ok(output::worst(futures::future::join_all(asking).await))
}

/// The named objects, with pools and groups replaced by their members.
async fn members(
    cli: &Cli,
    args: &RetryArgs,
    place: &SetPlace,
) -> Result<BTreeSet<String>, ExitProblem> {
    let apps = place.open_all_to_read(&cli.common).await?;
    let fleets = App::all_fleets(&apps)?;
    let found = async {
        let (pools, groups) = (fleets.pools(false).await?, fleets.groups(false).await?);
        let mut found = BTreeSet::new();
        for name in names_of(&args.names) {
            let named = |rest: &str| match rest.split_once('/') {
                Some((namespace, rest)) => (namespace.to_owned(), rest.to_owned()),
                None => (args.namespace.clone(), rest.to_owned()),
            };
            let of = if let Some(pool) = name.strip_prefix(POOL) {
                of_pool(&pools, &named(pool))
            } else if let Some(group) = name.strip_prefix(GROUP) {
                of_group(&groups, &named(group))
            } else {
                Some(vec![name.clone()])
            };
            found.extend(of.ok_or_else(|| unknown(&name))?);
        }
        Ok(found)
    };
    let found = Box::pin(found).await;
    App::end(apps, fleets).await;
    found
}

fn is_it(metadata: &Metadata, (namespace, name): &(String, String)) -> bool {
    (&metadata.namespace, &metadata.name) == (namespace, name)
}

fn of_pool(pools: &[PoolObject], named: &(String, String)) -> Option<Vec<String>> {
    let pool = pools.iter().find(|pool| is_it(&pool.metadata, named))?;
    let members = pool.status.members.iter();
    Some(
        members
            .map(|member| format!("{}/{}", named.0, member.name))
            .collect(),
    )
}

fn of_group(groups: &[GroupObject], named: &(String, String)) -> Option<Vec<String>> {
    let group = groups.iter().find(|group| is_it(&group.metadata, named))?;
    let items = group.status.waves.iter().flat_map(|wave| &wave.items);
    let members = items.flat_map(|item| &item.members);
    Some(
        members
            .map(|member| format!("{}/{}", named.0, member.name))
            .collect(),
    )
}
