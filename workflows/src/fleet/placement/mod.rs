//! Chooses hosts for VSIs that have none yet (see [`crate::placement`]): asks the candidate hosts for
//! their capacity, counts what is promised on them, and puts each choice into the documents to record.

pub(in crate::fleet) mod over_journals;
mod promised;
mod requests;
mod survey;

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::MutexGuard;
use vsiflow_engine::model::{Failure, FailureClass, Precedence};
use vsiflow_steps::ports::Hosts as _;

pub(super) use self::promised::Footprints;
pub(in crate::fleet) use self::promised::host_promises;
pub(in crate::fleet) use self::requests::{pools, templates};
pub(super) use self::survey::Capacities;
use self::survey::HostSurvey;
use crate::{
    fleet::{
        ErrorKind, Fleet, FleetError, apply::matching, host::ownership, index::Known,
        store::DesiredUpdates,
    },
    placement::{Decision, PlacementBoard, PlacementHost, PlacementRequest, Unplaced},
    record::{capacity_entity, kind},
    spec::{HostSettings, Resolved},
};

/// What one apply has to place.
#[derive(Default)]
struct OpenPlacements {
    /// VSIs, with their indexes among the documents.
    vsis: Vec<(usize, PlacementRequest)>,
    /// Members that pools will make; there must be room for them as well.
    members: Vec<PlacementRequest>,
}

impl OpenPlacements {
    fn is_empty(&self) -> bool {
        self.vsis.is_empty() && self.members.is_empty()
    }

    fn requests(&self) -> impl Iterator<Item = &PlacementRequest> {
        let vsis = self.vsis.iter().map(|(_, request)| request);
        vsis.chain(&self.members)
    }

    fn candidates(&self) -> BTreeSet<String> {
        let all = self.requests().flat_map(|request| &request.candidates);
        all.cloned().collect()
    }

    fn archs(&self) -> BTreeSet<String> {
        self.requests()
            .map(|request| request.arch.clone())
            .collect()
    }
}

/// The hosts that were chosen for members that pools are going to make.
#[derive(Default)]
pub(in crate::fleet) struct MemberHosts(BTreeMap<(String, String), BTreeSet<String>>);

impl MemberHosts {
    fn new<'a>(
        members: &[PlacementRequest],
        decisions: impl Iterator<Item = &'a Decision>,
    ) -> Self {
        let mut all = BTreeMap::<_, BTreeSet<_>>::new();
        for (request, decision) in members.iter().zip(decisions) {
            let pool = request.vsi.pool.clone().unwrap_or_default();
            let hosts = all.entry((request.vsi.namespace.clone(), pool));
            hosts.or_default().insert(decision.host.clone());
        }
        Self(all)
    }

    /// The hosts for one pool.
    pub(in crate::fleet) fn of(
        &self,
        namespace: &str,
        pool: &str,
    ) -> impl Iterator<Item = &String> {
        let place = (namespace.to_owned(), pool.to_owned());
        self.0.get(&place).into_iter().flatten()
    }
}

/// Host settings from before some were replaced by [`Fleet::offer`], by host.
pub(in crate::fleet) type PreviousSettings = Vec<(String, Option<HostSettings>)>;

impl Fleet {
    /// The lock for choosing hosts, if these documents may need a choice. It is held until the choice
    /// is recorded, because two concurrent choices would not see each other's promises.
    pub(in crate::fleet) async fn may_choose(
        &self,
        resolved: &Resolved,
    ) -> Option<MutexGuard<'_, ()>> {
        let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
        let mut all = vsis.chain(requests::templates(resolved));
        if all.any(|vsi| vsi.placement.is_some()) {
            Some(self.capacities.choosing().await)
        } else {
            None
        }
    }

    /// Sets the host of each VSI that needs a placement: its recorded host, or one that is chosen now.
    /// Measured capacities go into `updates`; without `updates` nothing is recorded. Returns the hosts
    /// that members of pools would get.
    ///
    /// # Errors
    /// `VSI0737`, when no host fits for one of them or for a member of one of the pools.
    pub(in crate::fleet) async fn place(
        &self,
        resolved: &mut Resolved,
        known: &[Known],
        updates: Option<&mut DesiredUpdates>,
    ) -> Result<MemberHosts, FleetError> {
        stay(resolved, known);
        let open = Box::pin(self.open_requests(resolved)).await?;
        if open.is_empty() {
            return Ok(MemberHosts::default());
        }
        let before = self.offer(resolved, &open.candidates());
        let chosen = Box::pin(self.choose(&open, updates.is_some())).await;
        if chosen.is_err() || updates.is_none() {
            for (id, settings) in before {
                self.directory.withdraw(&id, settings);
            }
        }
        let (decisions, survey) = chosen?;
        if let Some(updates) = updates {
            survey.record(updates)?;
        }
        let of_members = decisions.iter().skip(open.vsis.len());
        let members = MemberHosts::new(&open.members, of_members);
        for ((index, _), decision) in open.vsis.iter().zip(decisions) {
            settle(resolved, *index, decision);
        }
        Ok(members)
    }

    /// Refuses a number of members that do not fit on any host, and members whose networks have no room
    /// on a host.
    ///
    /// # Errors
    /// `VSI0737`; for a network, the same errors as when its document is applied.
    pub(in crate::fleet) async fn refuse_unplaceable(
        &self,
        pool: &crate::pool::PoolRecord,
        numbers: std::ops::Range<u32>,
    ) -> Result<(), FleetError> {
        if self.pools.is_of_set() {
            // Members may also be on hosts of other journals.
            return Ok(());
        }
        let members = Box::pin(self.members_of_record(pool, numbers)).await?;
        let open = OpenPlacements {
            members,
            ..OpenPlacements::default()
        };
        let template = &pool.template.vsi;
        let hosts = if open.is_empty() {
            BTreeSet::from([template.host.clone()])
        } else {
            let (decisions, _) = Box::pin(self.choose(&open, false)).await?;
            decisions.into_iter().map(|one| one.host).collect()
        };
        Box::pin(self.refuse_networks_of(template, hosts)).await
    }

    async fn open_requests(&self, resolved: &Resolved) -> Result<OpenPlacements, FleetError> {
        let mut open = OpenPlacements::default();
        for (index, vsi) in resolved.vsis.iter().enumerate() {
            let waits = !vsi.unresolved_refs.is_empty() || !vsi.desired.host.is_empty();
            if let (Some(_), false) = (&vsi.desired.placement, waits) {
                let request = self.request(&vsi.desired, &resolved.data_disks).await?;
                open.vsis.push((index, request));
            }
        }
        open.members = Box::pin(self.members_of_documents(resolved)).await?;
        Ok(open)
    }

    /// Adds the hosts that are about to be asked to the directory, unless another namespace owns them.
    pub(in crate::fleet) fn offer(
        &self,
        resolved: &Resolved,
        candidates: &BTreeSet<String>,
    ) -> PreviousSettings {
        let mut before = Vec::new();
        for id in candidates {
            let Some(host) = resolved.hosts.get(id) else {
                continue;
            };
            let known = self.directory.get(id);
            let same =
                known.is_some_and(|known| known.same_as(host) && known.limits == host.limits);
            if !same && ownership::others(&self.directory, host).is_none() {
                before.push((id.clone(), self.directory.offer(host.clone())));
            }
        }
        before
    }

    /// Chooses a host for each request, by recent measurements; if that fails, by new ones.
    async fn choose(
        &self,
        open: &OpenPlacements,
        record: bool,
    ) -> Result<(Vec<Decision>, HostSurvey), FleetError> {
        let (candidates, archs) = (open.candidates(), open.archs());
        let mut survey = self.survey(&candidates, &archs, false).await?;
        let mut chosen = self.choose_by(open, &candidates, &survey).await?;
        if chosen.is_err() && survey.is_stale {
            survey = self.survey(&candidates, &archs, true).await?;
            chosen = self.choose_by(open, &candidates, &survey).await?;
        }
        if !record {
            survey.news.clear();
        }
        let decisions = chosen.map_err(|(name, unplaced)| no_host(&name, &unplaced))?;
        Ok((decisions, survey))
    }

    /// Chooses a host for each of these, one after another; if none fits one request, the others still
    /// get theirs.
    pub(in crate::fleet) async fn choose_each(
        &self,
        requests: &[PlacementRequest],
    ) -> Result<Vec<Result<Decision, Failure>>, FleetError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = requests.iter().flat_map(|request| &request.candidates);
        let candidates: BTreeSet<_> = candidates.cloned().collect();
        let archs = requests.iter().map(|request| request.arch.clone());
        let archs: BTreeSet<_> = archs.collect();
        let mut survey = self.survey(&candidates, &archs, false).await?;
        let mut chosen = self.each_by(requests, &candidates, &survey).await?;
        if survey.is_stale && chosen.iter().any(Result::is_err) {
            survey = self.survey(&candidates, &archs, true).await?;
            chosen = self.each_by(requests, &candidates, &survey).await?;
        }
        Ok(chosen)
    }

    async fn each_by(
        &self,
        requests: &[PlacementRequest],
        candidates: &BTreeSet<String>,
        survey: &HostSurvey,
    ) -> Result<Vec<Result<Decision, Failure>>, FleetError> {
        let mut board = self.board(candidates, survey).await?;
        let chosen = requests.iter().map(|request| {
            let name = format!("{}/{}", request.vsi.namespace, request.vsi.name);
            let chosen = board.choose(request);
            chosen.map_err(|unplaced| *no_host(&name, &unplaced).failure)
        });
        Ok(chosen.collect())
    }

    async fn choose_by(
        &self,
        open: &OpenPlacements,
        candidates: &BTreeSet<String>,
        survey: &HostSurvey,
    ) -> Result<Result<Vec<Decision>, (String, Unplaced)>, FleetError> {
        let mut board = self.board(candidates, survey).await?;
        let chosen = open.requests().map(|request| {
            let vsi = &request.vsi;
            let name = || format!("{}/{}", vsi.namespace, vsi.name);
            board.choose(request).map_err(|unplaced| (name(), unplaced))
        });
        Ok(chosen.collect())
    }

    /// The candidates, with their capacity and promises.
    async fn board(
        &self,
        candidates: &BTreeSet<String>,
        survey: &HostSurvey,
    ) -> Result<PlacementBoard, FleetError> {
        let hosts = self.placement_hosts(candidates, survey).await?;
        Ok(PlacementBoard::new(hosts))
    }

    /// Hosts with their capacity and promises.
    async fn placement_hosts(
        &self,
        candidates: &BTreeSet<String>,
        survey: &HostSurvey,
    ) -> Result<Vec<PlacementHost>, FleetError> {
        let mut promises = self.promises(candidates).await?;
        let hosts = candidates.iter().filter_map(|id| {
            let settings = self.directory.get(id)?;
            let promised = promises.remove(id).unwrap_or_default();
            Some(PlacementHost {
                id: id.clone(),
                labels: settings.labels,
                cordoned: self.reach.cordoned(id),
                unreachable: survey.unreachable.get(id).cloned(),
                capacity: survey.found.get(id).cloned().unwrap_or_default(),
                limits: settings.limits.unwrap_or_default(),
                promised: promised.sum,
                vsis: promised.vsis,
            })
        });
        Ok(hosts.collect())
    }
}

/// Keeps placed VSIs on their hosts, whatever their selectors match by now.
fn stay(resolved: &mut Resolved, known: &[Known]) {
    let mut stays = BTreeMap::new();
    for vsi in &mut resolved.vsis {
        if vsi.desired.placement.is_none() || !vsi.desired.host.is_empty() {
            continue;
        }
        let Some(known) = matching(vsi, known) else {
            continue;
        };
        let host = &known.record.vsi.host;
        if !host.is_empty() {
            vsi.desired.host.clone_from(host);
            vsi.unresolved_refs
                .retain(|lack| lack.field != "targetSelector");
            let disks = vsi.desired.disks.iter();
            let namespace = &vsi.desired.namespace;
            let disks = disks.map(|disk| ((namespace.clone(), disk.name.clone()), host.clone()));
            stays.extend(disks);
        }
    }
    for disk in &mut resolved.data_disks {
        let place = (disk.namespace.clone(), disk.name.clone());
        if let (true, Some(host)) = (disk.host.is_empty(), stays.get(&place)) {
            disk.host.clone_from(host);
        }
    }
}

/// Stores a choice in the VSI, and in the data disks that are made for it.
fn settle(resolved: &mut Resolved, index: usize, decision: Decision) {
    let Some(vsi) = resolved.vsis.get_mut(index) else {
        return;
    };
    vsi.desired.host.clone_from(&decision.host);
    let names: BTreeSet<_> = vsi.desired.disks.iter().map(|disk| &disk.name).collect();
    for disk in &mut resolved.data_disks {
        let is_its = disk.namespace == vsi.desired.namespace && names.contains(&disk.name);
        if is_its && disk.host.is_empty() {
            disk.host.clone_from(&decision.host);
        }
    }
    vsi.placed = Some(decision);
}

fn no_host(name: &str, unplaced: &Unplaced) -> FleetError {
    let failure = Failure::new(
        FailureClass::Blocked,
        "VSI0737",
        format!("no host fits: {unplaced}"),
    )
    .of_object(format!("vsi/{name}"))
    .with_remedy(
        "make room, add a host that targetSelector matches, or ask for less; `vsiflow get host -o wide` shows the capacity",
    );
    FleetError::new(ErrorKind::Blocked, failure)
}

impl HostSurvey {
    /// Records new capacities together with the choice that is based on them.
    fn record(self, updates: &mut DesiredUpdates) -> Result<(), FleetError> {
        for news in self.news {
            let entity = capacity_entity(&news.host);
            let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
            updates.add(entity, kind::CAPACITY, Precedence::Record, &news, None)?;
        }
        Ok(())
    }
}
