//! Claims on names: a name belongs to one journal, and no other journal records anything under it.
//!
//! A journal claims a name before it records something under it; the name is busy until that is recorded. It
//! stays claimed afterwards. Another journal takes it over once the first one reports that the object is
//! deleted.

use vsiflow_postgres::{
    Held,
    shards::{ShardError, ShardSet, owners::Claim},
};
use vsiflow_workflows::{
    fleet::{ErrorKind, Fleet},
    kinds::ObjectKind,
    spec::Resolved,
};

use super::{Membership, ask, problem};
use crate::{
    args::Common,
    compose::{App, database},
    exit::{Exit, ExitProblem},
};

/// The kind of VSIs in the database.
pub(super) const VSI: &str = "vsi";
/// The kind of data disks.
pub(super) const DISK: &str = "disk";
/// The kind of snapshots.
pub(super) const SNAPSHOT: &str = "snapshot";

/// Names that are claimed while something is recorded under them.
pub(super) struct Claimed<'a> {
    pub(super) shard: &'a Membership,
    held: &'a Held,
    /// Distinguishes this claim from all others.
    by: String,
}

impl<'a> Claimed<'a> {
    /// Starts with no names, for a journal that this process holds.
    pub(super) fn none(shard: &'a Membership) -> Result<Self, ExitProblem> {
        let Some(held) = &shard.held else {
            return Err(ExitProblem::defect(
                "a journal is changed without its right",
            ));
        };
        let by = ask::id();
        Ok(Self { shard, held, by })
    }

    /// Claims the names in documents for this journal, except those of snapshots: schedules may have used
    /// them ([`super::snapshots`]).
    ///
    /// # Errors
    /// VSI0765 if another journal has one of the names.
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
        // A recorded object may be deleted later; one that is being recorded right now may be seen
        // too late.
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

    /// Whether another journal reports that the object with this name is deleted.
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

    /// Marks the names as no longer busy, so that other journals may take them over once their objects are
    /// deleted. If this fails, the next claim of these names does it, or the next holder of the journal.
    pub(super) async fn settle(&self) {
        let shard = self.shard;
        let settled = shard.set().settle_names(shard.number, &self.by).await;
        if let Err(error) = settled {
            tracing::warn!(%error, "claims on names are settled later");
        }
    }
}

/// The key of an object in the database.
pub(super) fn object(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

/// The journal that a name is claimed for.
pub(super) async fn journal_of(
    set: &ShardSet,
    kind: ObjectKind,
    namespace: &str,
    name: &str,
) -> Result<Option<u16>, ExitProblem> {
    let object = object(kind.word(), namespace, name);
    let journal = set.journal_of_name(&object).await;
    journal.map_err(database::problem)
}

/// Whether a journal has an object with this name that is not deleted.
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

/// No object with this name exists.
pub(super) fn unknown(name: &str) -> ExitProblem {
    let message = format!("{name} is not known here");
    let remedy = "`vsiflow get -A` lists the VSIs of the set; here VSIs and data disks (disk/NAME) have names";
    ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy)
}
