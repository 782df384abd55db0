//! Reduces documents to the part that belongs to one journal, and applies it there.

use std::{collections::BTreeSet, future::Future};

use vsiflow_workflows::{
    fleet::{Applied, ChosenHost, NetworkName, is_open, put_hosts},
    spec::{DesiredDataDisk, Resolved, ResolvedPool, group::ResolvedGroup},
};

use super::{DECIDES, Membership, claims::Claimed, snapshots};
use crate::{
    args::Common,
    compose::{App, database},
    exit::{Exit, ExitProblem},
};

/// Refuses what a set of journals does not support. Hosts may be chosen later.
///
/// # Errors
/// VSI0763.
pub(super) fn refuse_shared(resolved: &Resolved) -> Result<(), ExitProblem> {
    let open = || resolved.vsis.iter().filter(|vsi| is_open(vsi));
    let without_host = resolved.vsis.iter();
    let without_host = without_host
        .filter(|vsi| vsi.desired.host.is_empty() && !is_open(vsi))
        .map(|vsi| format!("the host of vsi/{} is not known", vsi.desired.name));
    let follows_vsi = |disk: &DesiredDataDisk| {
        let mut vsis = open().map(|vsi| &vsi.desired);
        vsis.any(|vsi| {
            let mut disks = vsi.disks.iter();
            vsi.namespace == disk.namespace && disks.any(|its| its.name == disk.name)
        })
    };
    let lost = resolved.data_disks.iter();
    let lost = lost
        .filter(|disk| disk.host.is_empty() && !follows_vsi(disk))
        .map(|disk| format!("the host of disk/{} is not known", disk.name));
    let items = resolved.groups.iter().flat_map(ResolvedGroup::whole_items);
    let items = items.map(|item| &item.pool);
    let homeless = resolved.pools.iter().chain(items).find(|pool| {
        let template = &pool.template.desired;
        template.host.is_empty() && template.placement.is_none()
    });
    let homeless = homeless.map(|pool| {
        format!(
            "the host of the members of pool/{} is not known",
            pool.desired.name
        )
    });
    match homeless.into_iter().chain(without_host).chain(lost).next() {
        Some(why) => Err(not_in_a_set(&why)),
        None => Ok(()),
    }
}

fn not_in_a_set(why: &str) -> ExitProblem {
    let message = format!("{why}, which a set of journals does not have");
    let remedy = "describe each VSI, with its host or a placement, or use one journal without `serve --shards`";
    ExitProblem::new(Exit::Usage, "VSI0763", message, remedy)
}

/// All pools, including those that groups make.
fn pools(resolved: &Resolved) -> impl Iterator<Item = &ResolvedPool> {
    let items = resolved.groups.iter().flat_map(ResolvedGroup::items);
    resolved.pools.iter().chain(items.map(|item| &item.pool))
}

/// Whether documents record something in journal 0 that makes members in any journal.
pub(super) fn makes_members(resolved: &Resolved) -> bool {
    pools(resolved).next().is_some()
}

/// The hosts that documents name, and the candidates for members of pools.
pub(super) fn hosts(resolved: &Resolved) -> BTreeSet<String> {
    let vsis = resolved.vsis.iter().map(|vsi| vsi.desired.host.clone());
    let disks = resolved.data_disks.iter().map(|disk| disk.host.clone());
    let of_pools = pools(resolved).flat_map(|pool| {
        let template = &pool.template.desired;
        let placement = template.placement.iter();
        let candidates = placement.flat_map(|one| one.candidates.iter().cloned());
        candidates.chain([template.host.clone()])
    });
    let all = vsis.chain(disks).chain(of_pools);
    all.filter(|host| !host.is_empty()).collect()
}

/// The networks that documents describe.
pub(super) fn networks(resolved: &Resolved) -> Vec<NetworkName> {
    let all = resolved.networks.iter();
    all.map(|network| (network.namespace.clone(), network.name.clone()))
        .collect()
}

/// The namespaces of the VSIs and data disks in documents.
pub(crate) fn namespaces(resolved: &Resolved) -> BTreeSet<String> {
    let vsis = resolved.vsis.iter();
    let vsis = vsis.map(|vsi| vsi.desired.namespace.clone());
    let disks = resolved.data_disks.iter();
    vsis.chain(disks.map(|disk| disk.namespace.clone()))
        .collect()
}

/// Removes from documents everything that is not on this journal's hosts, with the hosts that journal 0 chose, if it was
/// asked.
///
/// # Errors
/// VSI0763 as above, and when the database does not answer.
pub(crate) async fn keep(
    shard: &Membership,
    resolved: &mut Resolved,
    chosen: Option<&[ChosenHost]>,
) -> Result<(), ExitProblem> {
    refuse_shared(resolved)?;
    match chosen {
        Some(chosen) => put_hosts(resolved, chosen),
        None => refuse_undecided(shard, resolved).await?,
    }
    if let Some(vsi) = resolved.vsis.iter().find(|vsi| is_open(vsi)) {
        let why = format!("no host was chosen for vsi/{}", vsi.desired.name);
        return Err(not_in_a_set(&why));
    }
    let of_snapshots = snapshots::homes(shard.set(), resolved).await?;
    let mut of_snapshots = of_snapshots.into_iter().flatten();
    (resolved.snapshots).retain(|_| of_snapshots.next() == Some(shard.number));
    let mut own = BTreeSet::new();
    for host in hosts(resolved) {
        let journal = shard.set().assign(&host).await;
        if journal.map_err(database::problem)? == shard.number {
            own.insert(host);
        }
    }
    resolved.vsis.retain(|vsi| own.contains(&vsi.desired.host));
    resolved.data_disks.retain(|disk| own.contains(&disk.host));
    resolved.hosts.retain(|id, _| own.contains(id));
    if shard.number != DECIDES {
        resolved.types.clear();
        resolved.quotas.clear();
        resolved.pools.clear();
        resolved.groups.clear();
    }
    // Pruning is not supported in a set.
    resolved.directory = None;
    Ok(())
}

/// Refuses a change that would use a quota without journal 0, which admits documents and resources only.
///
/// # Errors
/// VSI0764 if a namespace has a quota.
pub(crate) async fn refuse_limited(
    app: &App,
    namespaces: &BTreeSet<String>,
) -> Result<(), ExitProblem> {
    let Some(shard) = app.shard() else {
        return Ok(());
    };
    let limited = shard.set().limited_among(namespaces).await;
    let limited = limited.map_err(database::problem)?;
    let Some(namespace) = limited.first() else {
        return Ok(());
    };
    Err(limited_to_documents(namespace))
}

/// The error: only journal 0 admits new objects in a namespace with a quota.
pub(super) fn limited_to_documents(namespace: &str) -> ExitProblem {
    let message = format!(
        "namespace {namespace} has a quota, which journal 0 holds to for documents and resources alone; nothing was done"
    );
    let remedy = "apply a document that describes it";
    ExitProblem::new(Exit::Usage, "VSI0764", message, remedy)
}

/// Refuses what journal 0 has to decide first: that the request came here means that no namespace had a quota
/// then.
async fn refuse_undecided(shard: &Membership, resolved: &Resolved) -> Result<(), ExitProblem> {
    let limited = shard.set().limited_among(&namespaces(resolved)).await;
    let limited = limited.map_err(database::problem)?;
    let Some(namespace) = limited.first() else {
        return Ok(());
    };
    Err(limited_by_now(namespace))
}

/// The error: a namespace got a quota, and journal 0 has to be asked.
pub(super) fn limited_by_now(namespace: &str) -> ExitProblem {
    let message = format!("namespace {namespace} has had a quota for a moment; nothing was done");
    ExitProblem::new(Exit::Failed, "VSI0766", message, "apply again")
}

/// Applies documents; in a set, claims their names first.
///
/// # Errors
/// As for [`apply`](vsiflow_workflows::fleet::Fleet::apply), and VSI0763 and VSI0765.
pub(crate) async fn apply(
    app: &App,
    common: &Common,
    resolved: Resolved,
    by: vsiflow_engine::executor::By,
) -> Result<Vec<Applied>, ExitProblem> {
    if app.shard().is_none() {
        return Ok(app.fleet.apply(resolved, by).await?);
    }
    apply_if(app, common, resolved, by, async { Ok(()) }).await
}

/// Applies documents in a journal of a set, unless `check` fails once the names are claimed.
///
/// # Errors
/// As [`apply`], and those of `check`.
pub(super) async fn apply_if(
    app: &App,
    common: &Common,
    resolved: Resolved,
    by: vsiflow_engine::executor::By,
    check: impl Future<Output = Result<(), ExitProblem>>,
) -> Result<Vec<Applied>, ExitProblem> {
    let Some(shard) = app.shard() else {
        return Err(ExitProblem::defect("the journal is none of a set"));
    };
    let claimed = Claimed::none(shard)?;
    // One at a time, so that two requests for one name run one after the other.
    let _turn = shard.turn.lock().await;
    let applied = async {
        Box::pin(claimed.all_of(common, &resolved)).await?;
        snapshots::claim_all(&claimed, common, &resolved).await?;
        check.await?;
        Ok(Box::pin(app.fleet.apply(resolved, by)).await?)
    };
    let applied = applied.await;
    claimed.settle().await;
    applied
}
