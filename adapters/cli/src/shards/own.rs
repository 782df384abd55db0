//! What of documents belongs to a journal, and the claims on names.

use std::collections::BTreeSet;

use vsiflow_postgres::shards::owners::Claim;
use vsiflow_workflows::{
    fleet::{Applied, ErrorKind, Fleet},
    spec::Resolved,
};

use super::{Membership, problem};
use crate::{
    args::Common,
    compose::{App, elsewhere},
    exit::{Exit, ExitProblem},
};

/// Refuses what needs several journals at once.
///
/// # Errors
/// VSI0763.
pub(super) fn refuse_shared(resolved: &Resolved) -> Result<(), ExitProblem> {
    let chosen = resolved
        .vsis
        .iter()
        .find(|vsi| vsi.desired.placement.is_some());
    let chosen = chosen.map(|vsi| format!("vsi/{} has a placement", vsi.desired.name));
    let nowhere = resolved.vsis.iter().find(|vsi| vsi.desired.host.is_empty());
    let nowhere = nowhere.map(|vsi| format!("the host of vsi/{} is not known", vsi.desired.name));
    let lost = resolved.data_disks.iter().find(|disk| disk.host.is_empty());
    let lost = lost.map(|disk| format!("the host of disk/{} is not known", disk.name));
    let kinds = [
        (resolved.pools.is_empty(), "a VirtualServerPool"),
        (resolved.groups.is_empty(), "a VirtualServerGroup"),
        (resolved.quotas.is_empty(), "a VirtualServerQuota"),
        (resolved.types.is_empty(), "a VirtualServerType"),
        (resolved.snapshots.is_empty(), "a VirtualServerSnapshot"),
    ];
    let kind = kinds.into_iter().find(|(absent, _)| !absent);
    let kind = kind.map(|(_, kind)| format!("the documents hold {kind}"));
    let Some(why) = kind.or(chosen).or(nowhere).or(lost) else {
        return Ok(());
    };
    let message = format!("{why}, which a set of journals does not have");
    let remedy = "describe each VSI and name its host, or use one journal without `serve --shards`";
    Err(ExitProblem::new(Exit::Usage, "VSI0763", message, remedy))
}

/// The hosts that documents put something on.
pub(super) fn hosts(resolved: &Resolved) -> BTreeSet<String> {
    let vsis = resolved.vsis.iter().map(|vsi| vsi.desired.host.clone());
    let disks = resolved.data_disks.iter().map(|disk| disk.host.clone());
    vsis.chain(disks).collect()
}

/// Leaves of documents what is of this journal's hosts.
///
/// # Errors
/// VSI0763 as above, and when the database does not answer.
pub(crate) async fn keep(shard: &Membership, resolved: &mut Resolved) -> Result<(), ExitProblem> {
    refuse_shared(resolved)?;
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
    // What is not in the documents of a directory is not looked for in a set.
    resolved.directory = None;
    Ok(())
}

/// Names that are claimed while something is recorded under them.
pub(crate) struct Claimed {
    shard: Membership,
    /// Kind, namespace, name.
    names: Vec<(&'static str, String, String)>,
}

impl Claimed {
    /// Claims the names in documents for this journal.
    ///
    /// # Errors
    /// VSI0765 where another journal has one; what was claimed by then is let go.
    pub(crate) async fn of(
        app: &App,
        common: &Common,
        shard: &Membership,
        resolved: &Resolved,
    ) -> Result<Self, ExitProblem> {
        let vsis = resolved.vsis.iter().map(|vsi| {
            let its = &vsi.desired;
            ("vsi", its.namespace.clone(), its.name.clone())
        });
        let disks = resolved.data_disks.iter();
        let disks = disks.map(|disk| ("disk", disk.namespace.clone(), disk.name.clone()));
        let mut claimed = Self {
            shard: shard.clone(),
            names: Vec::new(),
        };
        let wanted: Vec<_> = vsis.chain(disks).collect();
        for name in wanted {
            let taken = claimed.take(common, &name).await;
            if let Err(problem) = taken {
                claimed.settle(app).await?;
                return Err(problem);
            }
            claimed.names.push(name);
        }
        Ok(claimed)
    }

    async fn take(
        &self,
        common: &Common,
        (kind, namespace, name): &(&'static str, String, String),
    ) -> Result<(), ExitProblem> {
        let (set, own) = (self.shard.set(), self.shard.number);
        let object = object(kind, namespace, name);
        let claim = set.claim_name(&object, own).await;
        let Claim::Other { journal, busy } = claim.map_err(elsewhere::problem)? else {
            return Ok(());
        };
        let gone = !busy
            && self
                .is_gone_in(common, journal, kind, (namespace, name))
                .await?;
        if gone {
            let taken = set.take_name(&object, journal, own).await;
            if taken.map_err(elsewhere::problem)? {
                return Ok(());
            }
        }
        Err(problem(&vsiflow_postgres::shards::ShardError::Elsewhere {
            what: format!("{kind}/{namespace}/{name}"),
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
        let other = self.shard.place.member(common, journal, false);
        let app = Box::pin(App::look_at(&other)).await?;
        let there = is_there(&app.fleet, kind, namespace, name).await;
        app.close().await;
        Ok(!there?)
    }

    /// Lets go what this journal knows nothing of; the rest is nobody's to take while it is there.
    ///
    /// # Errors
    /// When the journal or the database cannot be read.
    pub(crate) async fn settle(self, app: &App) -> Result<(), ExitProblem> {
        let (mut known, mut unknown) = (Vec::new(), Vec::new());
        for (kind, namespace, name) in &self.names {
            let object = object(kind, namespace, name);
            if is_there(&app.fleet, kind, namespace, name).await? {
                known.push(object);
            } else {
                unknown.push(object);
            }
        }
        let (set, own) = (self.shard.set(), self.shard.number);
        let settled = set.settle_names(own, &known, &unknown).await;
        settled.map_err(elsewhere::problem)
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
        "disk" => fleet.disk(namespace, name).await,
        _ => fleet.vsi(namespace, name).await,
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
    let Some(shard) = app.shard() else {
        return Ok(app.fleet.apply(resolved, by).await?);
    };
    // One at a time: the end of one says nothing about names that another is at.
    let _turn = shard.turn.lock().await;
    let claimed = Claimed::of(app, common, shard, &resolved).await?;
    let applied = app.fleet.apply(resolved, by).await;
    claimed.settle(app).await?;
    Ok(applied?)
}
