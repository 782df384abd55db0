//! Drains a host by moving what may move: members of pools are made on other hosts, everything else stays.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass},
};

use crate::{
    fleet::{
        ErrorKind, Fleet, FleetError, HostHandle,
        index::Known,
        known::KnownPool,
        placement::{HostSurvey, HostsInQuestion},
        pool::{apply::record_pool, evict, members::PoolMembers},
        store::DesiredUpdates,
    },
    placement::{Decision, PlacementRequest},
    pool::{Eviction, KeepReason, PoolRecord},
    record::pool_entity,
};

/// What a drain does about one VSI of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrainedVsi {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID.
    pub uid: String,
    /// The pool whose member it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Whether it is made on another host; else it stays.
    pub moves: bool,
    /// The other host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why it moves there, or why it stays.
    pub reason: String,
    /// The code of what keeps it, where that is no property of the VSI.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The disks whose content is lost because it moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
}

/// A VSI of the host, and what the drain does about it.
struct DrainChoice {
    known: Known,
    pool: Option<Uuid>,
    outcome: DrainOutcome,
    /// The disks that are deleted if it moves.
    loses: Vec<String>,
}

enum DrainOutcome {
    Moves(u32, Decision),
    Stays(String, Option<String>),
}

/// The VSIs of a host and their pools, before other hosts are chosen.
struct OpenDrain {
    looks: Vec<DrainChoice>,
    pools: Pools,
    /// The members that need another host, by their index in `looks`, with their numbers.
    open: Vec<(usize, u32)>,
    /// What each of them needs.
    requests: Vec<PlacementRequest>,
}

/// The pools that have members on the host.
type Pools = BTreeMap<Uuid, (KnownPool, PoolMembers)>;

impl HostHandle<'_> {
    /// What [`HostHandle::drain_moving`] would do about each VSI of a host, by namespace and name. Records
    /// nothing.
    ///
    /// # Errors
    /// When the journal does not know the host, or cannot be read.
    pub async fn plan_drain(self, host: &str) -> Result<Vec<DrainedVsi>, FleetError> {
        let survey = Box::pin(self.fleet.survey_for_drain(host)).await?;
        let _chooses = self.fleet.capacities.choosing().await;
        let (looks, _) = Box::pin(self.fleet.check_drain(host, &survey)).await?;
        Ok(looks.iter().map(DrainedVsi::of).collect())
    }

    /// Cordons a host and records that members of pools leave it, each with the host where it is made
    /// again. Their pools replace them, at most `maxUnavailable` at a time. Returns what is done about each
    /// VSI, and the pools that work on it. [`HostHandle::uncordon`] stops the evictions that have not
    /// begun. With `agreed`, these UIDs alone may move.
    ///
    /// # Errors
    /// As for [`HostHandle::cordon`]; `VSI0811` if another member would move. The host is cordoned then, and nothing
    /// leaves it.
    pub async fn drain_moving(
        self,
        host: &str,
        agreed: Option<&BTreeSet<String>>,
        by: By,
    ) -> Result<(Vec<DrainedVsi>, Vec<EntityId>), FleetError> {
        self.cordon(host, by.clone()).await?;
        let survey = Box::pin(self.fleet.survey_for_drain(host)).await?;
        let mut entities = Vec::new();
        let looks = {
            let _one_look = self.fleet.pools.looking.lock().await;
            let _chooses = self.fleet.capacities.choosing().await;
            let (looks, pools) = Box::pin(self.fleet.check_drain(host, &survey)).await?;
            refuse_others(host, &looks, agreed)?;
            let mut updates = DesiredUpdates::default();
            for (uid, (pool, found)) in &pools {
                let mut record = pool.record.clone();
                for look in looks.iter().filter(|look| look.pool == Some(*uid)) {
                    let DrainOutcome::Moves(number, to) = &look.outcome else {
                        continue;
                    };
                    let eviction = Eviction {
                        number: *number,
                        from: host.to_owned(),
                        to: Some(to.clone()),
                        disks: evict::disks_of(*number, &found.disks),
                    };
                    record.evicting.retain(|_, other| other.number != *number);
                    record.evicting.insert(look.known.record.uid, eviction);
                }
                if record.evicting.values().any(|one| one.from == host) {
                    let entity = pool_entity(*uid);
                    entities.push(entity.map_err(|error| FleetError::defect(error.to_string()))?);
                }
                if record != pool.record {
                    record_pool(pool, &record, &mut updates)?;
                }
            }
            self.fleet.record(updates, by).await?;
            looks
        };
        self.fleet.work_on_pools(entities.clone());
        Ok((looks.iter().map(DrainedVsi::of).collect(), entities))
    }
}

/// Refuses to move members to whose move nobody agreed.
fn refuse_others(
    host: &str,
    looks: &[DrainChoice],
    agreed: Option<&BTreeSet<String>>,
) -> Result<(), FleetError> {
    let Some(agreed) = agreed else {
        return Ok(());
    };
    let is_other = |look: &&DrainChoice| {
        let is_moving = matches!(look.outcome, DrainOutcome::Moves(..));
        is_moving && !agreed.contains(&look.known.record.uid.to_string())
    };
    let Some(other) = looks.iter().find(is_other) else {
        return Ok(());
    };
    let message = "it would move, and is none of those that were shown; nothing was moved";
    let failure = Failure::new(FailureClass::Blocked, "VSI0811", message)
        .of_object(format!("vsi/{}", other.known.record.vsi.full_name()))
        .on_host(host)
        .with_remedy("repeat the command, and see what moves now");
    Err(FleetError::new(ErrorKind::Blocked, failure))
}

impl Fleet {
    /// The capacities of the hosts among which a drain has to choose. They are asked before its locks are
    /// taken, under which a host that answers late would hold up the pools of others.
    async fn survey_for_drain(&self, host: &str) -> Result<HostSurvey, FleetError> {
        let open = Box::pin(self.open_drain(host)).await?;
        let HostsInQuestion { hosts, archs, .. } = HostsInQuestion::of_requests(&open.requests);
        let survey = self.survey(&hosts, &archs, false).await?;
        if survey.is_stale {
            let chosen = self.choose_each(&open.requests, &survey).await?;
            if chosen.iter().any(Result::is_err) {
                return self.survey(&hosts, &archs, true).await;
            }
        }
        Ok(survey)
    }

    async fn check_drain(
        &self,
        host: &str,
        survey: &HostSurvey,
    ) -> Result<(Vec<DrainChoice>, Pools), FleetError> {
        let OpenDrain {
            mut looks,
            pools,
            open,
            requests,
        } = Box::pin(self.open_drain(host)).await?;
        let chosen = self.choose_each(&requests, survey).await?;
        for ((index, number), decision) in open.into_iter().zip(chosen) {
            if let Some(look) = looks.get_mut(index) {
                look.outcome = match decision {
                    Ok(decision) => DrainOutcome::Moves(number, decision),
                    Err(failure) => DrainOutcome::Stays(
                        failure.message.to_string(),
                        Some(failure.code.to_string()),
                    ),
                };
            }
        }
        Ok((looks, pools))
    }

    async fn open_drain(&self, host: &str) -> Result<OpenDrain, FleetError> {
        self.hosts().settings(host)?;
        let mut pools = Pools::new();
        let (mut looks, mut open, mut requests) = (Vec::new(), Vec::new(), Vec::new());
        for known in self.on_host(host).await? {
            let pool = Box::pin(self.pool_of_member(&known, &mut pools)).await?;
            let number = known.record.vsi.member_of.as_ref().map(|of| of.number);
            let found = pool.and_then(|uid| pools.get(&uid));
            let mut outcome = DrainOutcome::stays(&KeepReason::NoMember);
            let mut loses = Vec::new();
            if let (Some((own_pool, found)), Some(number)) = (found, number) {
                let reason = evict::keeps(own_pool, &known, found);
                loses = evict::losses_of(&known, number, &found.disks);
                let decided = self.decided_eviction(own_pool, &known, &found.disks);
                match (reason, decided) {
                    (Some(reason), _) => outcome = DrainOutcome::stays(&reason),
                    // An earlier decision stays.
                    (None, Some(to)) => outcome = DrainOutcome::Moves(number, to.clone()),
                    (None, None) => {
                        requests.push(
                            self.eviction_request(&own_pool.record, number, host)
                                .await?,
                        );
                        open.push((looks.len(), number));
                    }
                }
            }
            looks.push(DrainChoice {
                known,
                pool,
                outcome,
                loses,
            });
        }
        Ok(OpenDrain {
            looks,
            pools,
            open,
            requests,
        })
    }

    /// The pool that a VSI is a member of, if that pool exists.
    async fn pool_of_member(
        &self,
        known: &Known,
        pools: &mut Pools,
    ) -> Result<Option<Uuid>, FleetError> {
        let Some(of) = &known.record.vsi.member_of else {
            return Ok(None);
        };
        if pools.contains_key(&of.uid) {
            return Ok(Some(of.uid));
        }
        let entity = pool_entity(of.uid).map_err(|error| FleetError::defect(error.to_string()))?;
        let pool = self.known_record::<PoolRecord>(&entity).await?;
        let Some(pool) = pool.filter(|pool| !pool.is_deleted()) else {
            return Ok(None);
        };
        let mut found = Box::pin(self.members(&pool)).await?;
        found.policies = self.newest_policies(&pool.record).await;
        pools.insert(of.uid, (pool, found));
        Ok(Some(of.uid))
    }
}

impl DrainOutcome {
    fn stays(reason: &KeepReason) -> Self {
        Self::Stays(reason.to_string(), None)
    }
}

impl DrainedVsi {
    fn of(look: &DrainChoice) -> Self {
        let vsi = &look.known.record.vsi;
        let (to, reason, code) = match &look.outcome {
            DrainOutcome::Moves(_, to) => (Some(to.host.clone()), to.why.clone(), None),
            DrainOutcome::Stays(reason, code) => (None, reason.clone(), code.clone()),
        };
        Self {
            namespace: vsi.namespace.clone(),
            name: vsi.name.clone(),
            uid: look.known.record.uid.to_string(),
            pool: vsi.member_of.as_ref().map(|of| of.pool.clone()),
            moves: to.is_some(),
            loses: match to {
                Some(_) => look.loses.clone(),
                None => Vec::new(),
            },
            to,
            reason,
            code,
        }
    }
}
