//! What of documents belongs to a journal, and the claims on names.

use std::{collections::BTreeSet, future::Future};

use vsiflow_postgres::{
    Held,
    shards::{ShardError, owners::Claim},
};
use vsiflow_workflows::{
    fleet::{Applied, ChosenHost, ErrorKind, Fleet, is_open, put_hosts},
    spec::{DesiredDataDisk, Resolved, ResolvedPool, group::ResolvedGroup},
};

use super::{DECIDES, Membership, problem};
use crate::{
    args::Common,
    compose::{App, elsewhere},
    exit::{Exit, ExitProblem},
};

tokio::task_local! {
    static HANDED_OVER: Vec<ChosenHost>;
}

/// Does some work with hosts that journal 0 chose.
pub(super) async fn with_chosen<T>(chosen: Vec<ChosenHost>, work: impl Future<Output = T>) -> T {
    HANDED_OVER.scope(chosen, work).await
}

/// Refuses what a set of journals does not have. Hosts may be chosen later.
///
/// # Errors
/// VSI0763.
pub(super) fn refuse_shared(resolved: &Resolved) -> Result<(), ExitProblem> {
    let open = || resolved.vsis.iter().filter(|vsi| is_open(vsi));
    let nowhere = resolved.vsis.iter();
    let nowhere = nowhere
        .filter(|vsi| vsi.desired.host.is_empty() && !is_open(vsi))
        .map(|vsi| format!("the host of vsi/{} is not known", vsi.desired.name));
    let goes_along = |disk: &DesiredDataDisk| {
        let mut vsis = open().map(|vsi| &vsi.desired);
        vsis.any(|vsi| {
            let mut disks = vsi.disks.iter();
            vsi.namespace == disk.namespace && disks.any(|its| its.name == disk.name)
        })
    };
    let lost = resolved.data_disks.iter();
    let lost = lost
        .filter(|disk| disk.host.is_empty() && !goes_along(disk))
        .map(|disk| format!("the host of disk/{} is not known", disk.name));
    let networked = pools(resolved).find(|pool| !pool.template.desired.made_networks.is_empty());
    let networked = networked.map(|pool| {
        let name = &pool.desired.name;
        format!("the template of pool/{name} is on a VirtualServerNetwork")
    });
    let homeless = pools(resolved).find(|pool| {
        let template = &pool.template.desired;
        template.host.is_empty() && template.placement.is_none()
    });
    let homeless = homeless.map(|pool| {
        format!(
            "the host of the members of pool/{} is not known",
            pool.desired.name
        )
    });
    let kinds = [
        (resolved.types.is_empty(), "a VirtualServerType"),
        (resolved.snapshots.is_empty(), "a VirtualServerSnapshot"),
    ];
    let kinds = kinds.into_iter().filter(|(absent, _)| !absent);
    let kinds = kinds.map(|(_, kind)| format!("the documents hold {kind}"));
    let of_pools = networked.into_iter().chain(homeless);
    match kinds.chain(of_pools).chain(nowhere).chain(lost).next() {
        Some(why) => Err(not_in_a_set(&why)),
        None => Ok(()),
    }
}

fn not_in_a_set(why: &str) -> ExitProblem {
    let message = format!("{why}, which a set of journals does not have");
    let remedy = "describe each VSI, with its host or a placement, or use one journal without `serve --shards`";
    ExitProblem::new(Exit::Usage, "VSI0763", message, remedy)
}

/// The pools, those that groups make included.
fn pools(resolved: &Resolved) -> impl Iterator<Item = &ResolvedPool> {
    let items = resolved.groups.iter().flat_map(ResolvedGroup::items);
    resolved.pools.iter().chain(items.map(|item| &item.pool))
}

/// Whether something of them is recorded in journal 0, which then makes members everywhere.
pub(super) fn makes_members(resolved: &Resolved) -> bool {
    pools(resolved).next().is_some()
}

/// The hosts that documents put something on, and those that members of pools may be on.
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

/// The namespaces of what documents put somewhere.
pub(super) fn namespaces(resolved: &Resolved) -> BTreeSet<String> {
    let vsis = resolved.vsis.iter();
    let vsis = vsis.map(|vsi| vsi.desired.namespace.clone());
    let disks = resolved.data_disks.iter();
    vsis.chain(disks.map(|disk| disk.namespace.clone()))
        .collect()
}

/// Leaves of documents what is of this journal's hosts.
///
/// # Errors
/// VSI0763 as above, and when the database does not answer.
pub(crate) async fn keep(shard: &Membership, resolved: &mut Resolved) -> Result<(), ExitProblem> {
    refuse_shared(resolved)?;
    match HANDED_OVER.try_with(Clone::clone) {
        Ok(chosen) => put_hosts(resolved, &chosen),
        Err(_) => refuse_undecided(shard, resolved).await?,
    }
    if let Some(vsi) = resolved.vsis.iter().find(|vsi| is_open(vsi)) {
        let why = format!("nobody chose a host for vsi/{}", vsi.desired.name);
        return Err(not_in_a_set(&why));
    }
    let mut own = BTreeSet::new();
    for host in hosts(resolved) {
        let journal = shard.set().assign(&host).await;
        if journal.map_err(elsewhere::problem)? == shard.number {
            own.insert(host);
        }
    }
    resolved.vsis.retain(|vsi| own.contains(&vsi.desired.host));
    resolved.data_disks.retain(|disk| own.contains(&disk.host));
    resolved.hosts.retain(|id, _| own.contains(id));
    if shard.number != DECIDES {
        resolved.quotas.clear();
        resolved.pools.clear();
        resolved.groups.clear();
    }
    // What is not in the documents of a directory is not looked for in a set.
    resolved.directory = None;
    Ok(())
}

/// Refuses what would take something of a quota past journal 0, which admits it for documents alone.
///
/// # Errors
/// VSI0764 where a namespace has a quota.
pub(crate) async fn refuse_limited(
    app: &App,
    resolved: &Resolved,
    remedy: &str,
) -> Result<(), ExitProblem> {
    let Some(shard) = app.shard() else {
        return Ok(());
    };
    let limited = shard.set().limited_among(&namespaces(resolved)).await;
    let limited = limited.map_err(elsewhere::problem)?;
    let Some(namespace) = limited.first() else {
        return Ok(());
    };
    let message = format!(
        "namespace {namespace} has a quota, which journal 0 holds to for documents alone; nothing was done"
    );
    Err(ExitProblem::new(Exit::Usage, "VSI0764", message, remedy))
}

/// Refuses what journal 0 has to decide before: that somebody asked here says that nothing had to be decided then.
async fn refuse_undecided(shard: &Membership, resolved: &Resolved) -> Result<(), ExitProblem> {
    let limited = shard.set().limited_among(&namespaces(resolved)).await;
    let limited = limited.map_err(elsewhere::problem)?;
    let Some(namespace) = limited.first() else {
        return Ok(());
    };
    let message = format!("namespace {namespace} has had a quota for a moment; nothing was done");
    let remedy = "apply again";
    Err(ExitProblem::new(Exit::Failed, "VSI0766", message, remedy))
}

/// Names that are claimed while something is recorded under them.
struct Claimed<'a> {
    shard: &'a Membership,
    held: &'a Held,
    /// Tells this claim from every other.
    by: String,
}

impl Claimed<'_> {
    /// Claims the names in documents for this journal.
    ///
    /// # Errors
    /// VSI0765 where another journal has one.
    async fn all_of(&self, common: &Common, resolved: &Resolved) -> Result<(), ExitProblem> {
        for vsi in &resolved.vsis {
            let its = &vsi.desired;
            self.take(common, "vsi", (&its.namespace, &its.name))
                .await?;
        }
        for disk in &resolved.data_disks {
            self.take(common, "disk", (&disk.namespace, &disk.name))
                .await?;
        }
        Ok(())
    }

    async fn take(
        &self,
        common: &Common,
        kind: &str,
        (namespace, name): (&str, &str),
    ) -> Result<(), ExitProblem> {
        let (set, own) = (self.shard.set(), self.shard.number);
        let object = object(kind, namespace, name);
        let claim = set.claim_name(self.held, &object, own, &self.by).await;
        let Claim::Other {
            journal,
            busy,
            claims,
        } = claim.map_err(elsewhere::problem)?
        else {
            return Ok(());
        };
        // What is there may be deleted later; what is recorded at this moment may be seen too late.
        if !busy
            && self
                .is_gone_in(common, journal, kind, (namespace, name))
                .await?
        {
            let (from, to) = ((journal, claims), (own, self.by.as_str()));
            let taken = set.take_name(self.held, &object, from, to).await;
            if taken.map_err(elsewhere::problem)? {
                return Ok(());
            }
        }
        Err(problem(&ShardError::Elsewhere {
            what: object,
            journal,
        }))
    }

    /// Whether another journal says that what had the name is gone.
    async fn is_gone_in(
        &self,
        common: &Common,
        journal: u16,
        kind: &str,
        (namespace, name): (&str, &str),
    ) -> Result<bool, ExitProblem> {
        let other = self.shard.place.member(common, journal, None);
        let app = Box::pin(App::look_at(&other)).await?;
        let there = is_there(&app.fleet, kind, namespace, name).await;
        app.close().await;
        Ok(!there?)
    }
}

/// As the database names an object.
pub(super) fn object(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

async fn is_there(
    fleet: &Fleet,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<bool, ExitProblem> {
    let found = match kind {
        "disk" => fleet.disks().find(namespace, name).await,
        _ => fleet.vsis().find(namespace, name).await,
    };
    match found {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Applies what documents ask for, under claims where the journal is one of a set.
///
/// # Errors
/// As for [`Fleet::apply`], and VSI0763 and VSI0765.
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

/// The same in a journal of a set, unless `check` finds something against it once the names are claimed.
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
    let held = app
        .shard()
        .and_then(|shard| Some((shard, shard.held.as_ref()?)));
    let Some((shard, held)) = held else {
        return Err(ExitProblem::defect(
            "a journal is changed without its right",
        ));
    };
    let claimed = Claimed {
        shard,
        held,
        by: super::ask::id(),
    };
    // One at a time: two that want the same name are one after the other.
    let _turn = shard.turn.lock().await;
    let applied = async {
        Box::pin(claimed.all_of(common, &resolved)).await?;
        check.await?;
        Ok(Box::pin(app.fleet.apply(resolved, by)).await?)
    };
    let applied = applied.await;
    settle(&claimed).await;
    applied
}

/// The names are free for others once what has them is gone. Where this fails, the next claim of them, or the
/// next holder of the journal, does it.
async fn settle(claimed: &Claimed<'_>) {
    let shard = claimed.shard;
    let settled = shard.set().settle_names(shard.number, &claimed.by).await;
    if let Err(error) = settled {
        tracing::warn!(%error, "claims on names are settled later");
    }
}
