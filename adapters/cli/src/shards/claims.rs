//! Claims on names: what is recorded under a name is one journal's, and nobody records anything under a name that another one has.
//!
//! A name is claimed before something is recorded under it, and is busy until that is done. It stays claimed afterwards; another
//! journal takes it over once that one says that what had it is gone.

use vsiflow_postgres::{
    Held,
    shards::{ShardError, owners::Claim},
};
use vsiflow_workflows::{
    fleet::{ErrorKind, Fleet},
    spec::Resolved,
};

use super::{Membership, ask, problem};
use crate::{
    args::Common,
    compose::{App, database},
    exit::ExitProblem,
};

/// A VSI, as the database names kinds.
pub(super) const VSI: &str = "vsi";
/// A data disk.
pub(super) const DISK: &str = "disk";
/// A snapshot.
pub(super) const SNAPSHOT: &str = "snapshot";

/// Names that are claimed while something is recorded under them.
pub(super) struct Claimed<'a> {
    pub(super) shard: &'a Membership,
    held: &'a Held,
    /// Tells this claim from every other.
    by: String,
}

impl<'a> Claimed<'a> {
    /// None yet, of a journal that this process has.
    pub(super) fn none(shard: &'a Membership) -> Result<Self, ExitProblem> {
        let Some(held) = &shard.held else {
            return Err(ExitProblem::defect(
                "a journal is changed without its right",
            ));
        };
        let by = ask::id();
        Ok(Self { shard, held, by })
    }

    /// Claims the names in documents for this journal, but those of snapshots, which schedules may have given
    /// ([`super::snapshots`]).
    ///
    /// # Errors
    /// VSI0765 where another journal has one.
    pub(super) async fn all_of(
        &self,
        common: &Common,
        resolved: &Resolved,
    ) -> Result<(), ExitProblem> {
        for vsi in &resolved.vsis {
            let its = &vsi.desired;
            self.take(common, VSI, (&its.namespace, &its.name)).await?;
        }
        for disk in &resolved.data_disks {
            self.take(common, DISK, (&disk.namespace, &disk.name))
                .await?;
        }
        Ok(())
    }

    /// Claims a name.
    ///
    /// # Errors
    /// As for [`Claimed::all_of`].
    pub(super) async fn take(
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
        } = claim.map_err(database::problem)?
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
            if taken.map_err(database::problem)? {
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
        let app = Box::pin(App::open_to_read_at(&other)).await?;
        let there = is_there(&app.fleet, kind, namespace, name).await;
        app.close().await;
        Ok(!there?)
    }

    /// The names are free for others once what has them is gone. Where this fails, the next claim of them, or the
    /// next holder of the journal, does it.
    pub(super) async fn settle(&self) {
        let shard = self.shard;
        let settled = shard.set().settle_names(shard.number, &self.by).await;
        if let Err(error) = settled {
            tracing::warn!(%error, "claims on names are settled later");
        }
    }
}

/// As the database names an object.
pub(super) fn object(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

/// Whether a journal has something of that name that is not gone.
pub(super) async fn is_there(
    fleet: &Fleet,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<bool, ExitProblem> {
    let found = match kind {
        DISK => fleet.disks().find(namespace, name).await,
        SNAPSHOT => fleet.snapshots().find(namespace, name).await,
        _ => fleet.vsis().find(namespace, name).await,
    };
    match found {
        Ok(_) => Ok(true),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
