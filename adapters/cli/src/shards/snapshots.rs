//! Snapshots in a set: their names, and the journals that have them.
//!
//! A snapshot is in the journal of its VSI. Names given by commands are claimed like those of VSIs
//! ([`super::claims`]). Names given by schedules are not: they contain the name of a VSI and a time, or a
//! UID, and a VSI belongs to one journal. So a snapshot is in the journal that its name is claimed for, or
//! else in any one. A name of the form that schedules use is looked for in all journals before it is claimed.

use std::collections::BTreeSet;

use vsiflow_engine::executor::By;
use vsiflow_postgres::shards::{ShardError, ShardSet};
use vsiflow_workflows::{
    fleet::{ErrorKind, Fleet, SnapshotRequest, TakenSnapshot, may_be_scheduled},
    phase::Phase,
    spec::{Resolved, snapshot::DesiredSnapshot},
};

use super::{
    SetPlace,
    claims::{self, Claimed, SNAPSHOT, VSI, is_there},
    problem,
    read_journals::ReadJournals,
};
use crate::{
    args::Common,
    compose::{App, database},
    exit::ExitProblem,
};

/// How many names of other journals are skipped if the user chose no name.
const PASSED_OVER: usize = 16;
/// The error code for a name that another journal has.
const ELSEWHERE: &str = "VSI0765";

/// Takes a snapshot of a VSI; in a set, claims its name first.
///
/// # Errors
/// As for [`take`](vsiflow_workflows::fleet::SnapshotHandle::take), and VSI0765.
pub(crate) async fn take(
    app: &App,
    common: &Common,
    (namespace, vsi): (&str, &str),
    request: SnapshotRequest,
    by: By,
) -> Result<TakenSnapshot, ExitProblem> {
    let snapshots = app.fleet.snapshots();
    let Some(shard) = app.shard() else {
        return Ok(snapshots.take(namespace, vsi, request, by).await?);
    };
    let claimed = Claimed::none(shard)?;
    // One at a time, so that two requests for one name run one after the other.
    let _turn = shard.turn.lock().await;
    let taken = async {
        let name = claim(&claimed, app, common, (namespace, vsi), &request).await?;
        let request = SnapshotRequest {
            name: Some(name),
            ..request
        };
        Ok(snapshots.take(namespace, vsi, request, by).await?)
    };
    let taken = Box::pin(taken).await;
    claimed.settle().await;
    taken
}

/// Claims the chosen name, or the first one that no other journal has.
async fn claim(
    claimed: &Claimed<'_>,
    app: &App,
    common: &Common,
    (namespace, vsi): (&str, &str),
    request: &SnapshotRequest,
) -> Result<String, ExitProblem> {
    let mut others = BTreeSet::new();
    loop {
        let snapshots = app.fleet.snapshots();
        let named = snapshots.name_of(namespace, vsi, request, &others).await?;
        let (own_namespace, name) = named;
        match claim_one(claimed, common, (&own_namespace, &name)).await {
            Err(problem)
                if request.name.is_none()
                    && problem.code == ELSEWHERE
                    && others.len() < PASSED_OVER =>
            {
                others.insert(name);
            }
            done => return done.map(|()| name),
        }
    }
}

/// Claims the names of the snapshots in documents.
///
/// # Errors
/// VSI0765 if another journal has one of the names.
pub(super) async fn claim_all(
    claimed: &Claimed<'_>,
    common: &Common,
    resolved: &Resolved,
) -> Result<(), ExitProblem> {
    for snapshot in &resolved.snapshots {
        let named = (snapshot.namespace.as_str(), snapshot.name.as_str());
        Box::pin(claim_one(claimed, common, named)).await?;
    }
    Ok(())
}

/// The journal of the VSI of each snapshot in documents, found by the VSI's host in the documents, or else by
/// its name. Snapshots of VSIs that have no host yet are left out.
///
/// # Errors
/// VSI0703 if no journal has the VSI.
pub(super) async fn homes(
    set: &ShardSet,
    resolved: &Resolved,
) -> Result<Vec<Option<u16>>, ExitProblem> {
    let mut all = Vec::new();
    for snapshot in &resolved.snapshots {
        let is_its = |namespace: &str, name: &str| {
            (namespace, name) == (&*snapshot.namespace, &*snapshot.spec.virtual_server)
        };
        let mut vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
        let home = match vsis.find(|vsi| is_its(&vsi.namespace, &vsi.name)) {
            Some(vsi) if vsi.host.is_empty() => None,
            Some(vsi) => Some(set.assign(&vsi.host).await.map_err(database::problem)?),
            None => Some(home_of(set, snapshot).await?),
        };
        all.push(home);
    }
    Ok(all)
}

async fn home_of(set: &ShardSet, snapshot: &DesiredSnapshot) -> Result<u16, ExitProblem> {
    let (namespace, vsi) = (&snapshot.namespace, &snapshot.spec.virtual_server);
    let object = claims::object(VSI, namespace, vsi);
    let found = set.journal_of_name(&object).await;
    let found = found.map_err(database::problem)?;
    found.ok_or_else(|| claims::unknown(vsi))
}

async fn claim_one(
    claimed: &Claimed<'_>,
    common: &Common,
    named: (&str, &str),
) -> Result<(), ExitProblem> {
    claimed.take(common, SNAPSHOT, named).await?;
    if may_be_scheduled(named.1) {
        refuse_scheduled(claimed, common, named).await?;
    }
    Ok(())
}

/// Refuses a name that a schedule gave to a snapshot in another journal.
async fn refuse_scheduled(
    claimed: &Claimed<'_>,
    common: &Common,
    (namespace, name): (&str, &str),
) -> Result<(), ExitProblem> {
    let shard = claimed.shard;
    let mut journals = ReadJournals::none(&shard.place, common);
    let all = 0..shard.set().journals();
    let others: Vec<_> = all.filter(|number| *number != shard.number).collect();
    let found = async {
        journals.open(&others).await?;
        for (number, app) in &journals.open {
            if is_there(&app.fleet, SNAPSHOT, namespace, name).await? {
                return Err(problem(&ShardError::Elsewhere {
                    what: claims::object(SNAPSHOT, namespace, name),
                    journal: *number,
                }));
            }
        }
        Ok(())
    };
    let found = Box::pin(found).await;
    journals.close().await;
    found
}

/// The journals of snapshots with these namespaces and names; `None` if no journal has one. With `gone`, a
/// deleted snapshot counts if no existing one has that name.
pub(super) async fn journals_of(
    place: &SetPlace,
    common: &Common,
    names: &[(String, String)],
    gone: bool,
) -> Result<Vec<Option<u16>>, ExitProblem> {
    let mut journals = ReadJournals::none(place, common);
    let found = async {
        let mut found = Vec::new();
        for (namespace, name) in names {
            found.push(journals.journal_of((namespace, name), gone).await?);
        }
        Ok(found)
    };
    let found = Box::pin(found).await;
    journals.close().await;
    found
}

impl ReadJournals<'_> {
    /// The journal that the name is claimed for, if it has the snapshot; otherwise any journal that
    /// has it.
    async fn journal_of(
        &mut self,
        (namespace, name): (&str, &str),
        gone: bool,
    ) -> Result<Option<u16>, ExitProblem> {
        let set = &self.place.set;
        let object = claims::object(SNAPSHOT, namespace, name);
        let claimed = set.journal_of_name(&object).await;
        if let Some(journal) = claimed.map_err(database::problem)? {
            self.open(&[journal]).await?;
            let app = self.open.get(&journal);
            if let Some(app) = app
                && is_there(&app.fleet, SNAPSHOT, namespace, name).await?
            {
                return Ok(Some(journal));
            }
        }
        self.open_all().await?;
        let mut once = None;
        for (journal, app) in &self.open {
            match presence(&app.fleet, namespace, name).await? {
                Presence::There => return Ok(Some(*journal)),
                Presence::Gone => once = once.or(Some(*journal)),
                Presence::Unknown => {}
            }
        }
        Ok(once.filter(|_| gone))
    }
}

/// Whether a journal has a snapshot.
enum Presence {
    There,
    /// It was deleted.
    Gone,
    Unknown,
}

async fn presence(fleet: &Fleet, namespace: &str, name: &str) -> Result<Presence, ExitProblem> {
    match fleet.snapshots().get(namespace, name).await {
        Ok(found) if found.status.phase == Phase::Deleted.as_str() => Ok(Presence::Gone),
        Ok(_) => Ok(Presence::There),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Presence::Unknown),
        Err(error) => Err(error.into()),
    }
}
