//! Chooses hosts for VSIs that have none yet (see [`crate::placement`]): asks the candidate hosts for
//! their capacity, counts what is promised on them, and puts each choice into the documents to record.

pub(in crate::fleet) mod over_journals;
mod promised;
mod requests;
mod survey;
mod survey_task;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use tokio::sync::MutexGuard;
use vsiflow_engine::model::{Failure, FailureClass, Precedence};
use vsiflow_steps::ports::Hosts as _;

pub(super) use self::promised::Footprints;
pub(in crate::fleet) use self::promised::host_promises;
pub(in crate::fleet) use self::requests::templates;
pub(super) use self::survey::Capacities;
pub(in crate::fleet) use self::survey::HostSurvey;
use crate::{
    fleet::{
        ErrorKind, Fleet, FleetError, apply::matching, host::ownership, index::Known,
        network::room::NetworkRooms, store::DesiredUpdates,
    },
    hosts::HostOffer,
    network::NetworkRecord,
    placement::{Decision, PlacementBoard, PlacementHost, PlacementRequest, Unplaced},
    record::{capacity_entity, kind},
    spec::{DesiredVsi, Resolved},
};

/// The code for: no host fits.
const NO_HOST: &str = "VSI0737";

/// The hosts whose capacities a choice depends on, the architectures that they should have, and the networks for which
/// hosts should have room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::fleet) struct HostsInQuestion {
    pub(in crate::fleet) hosts: BTreeSet<String>,
    pub(in crate::fleet) archs: BTreeSet<String>,
    pub(in crate::fleet) networks: Vec<NetworkRecord>,
}

impl fmt::Display for HostsInQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hosts,
            archs,
            networks,
        } = self;
        write!(f, "{hosts:?} {archs:?} {networks:?}")
    }
}

impl HostsInQuestion {
    /// Adds the hosts among which a member of this template is placed.
    pub(in crate::fleet) fn add_of(&mut self, template: &DesiredVsi) {
        if let (Some(placement), true) = (&template.placement, template.host.is_empty()) {
            self.hosts.extend(placement.candidates.iter().cloned());
            self.archs.insert(template.machine.arch.clone());
        }
    }

    pub(in crate::fleet) fn of_requests<'a>(
        requests: impl IntoIterator<Item = &'a PlacementRequest>,
    ) -> Self {
        let mut all = Self::default();
        for request in requests {
            all.hosts.extend(request.candidates.iter().cloned());
            all.archs.insert(request.arch.clone());
        }
        all
    }
}

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
}

/// What a placement that records nothing found.
pub(in crate::fleet) struct PlacedDry {
    /// The hosts that members of pools would get.
    pub(in crate::fleet) members: MemberHosts,
    /// What hosts said about networks.
    pub(in crate::fleet) rooms: NetworkRooms,
}

/// The hosts that were chosen for members that pools are going to make.
#[derive(Default)]
pub(in crate::fleet) struct MemberHosts(BTreeMap<(String, String), BTreeSet<String>>);

impl MemberHosts {
    /// All hosts among which one is chosen for each member.
    fn candidates(members: &[PlacementRequest]) -> Self {
        let mut all = BTreeMap::<_, BTreeSet<_>>::new();
        for request in members {
            let pool = request.vsi.pool.clone().unwrap_or_default();
            let hosts = all.entry((request.vsi.namespace.clone(), pool));
            hosts
                .or_default()
                .extend(request.candidates.iter().cloned());
        }
        Self(all)
    }

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

impl Fleet {
    /// The lock for choosing hosts, if these documents may need a choice. It is held until the choice
    /// is recorded, because two concurrent choices would not see each other's promises. No host is asked
    /// under it: one that answers late would hold up the choices of others.
    pub(in crate::fleet) async fn may_choose(
        &self,
        resolved: &Resolved,
    ) -> Option<MutexGuard<'_, ()>> {
        if may_need_choice(resolved) {
            Some(self.capacities.choosing().await)
        } else {
            None
        }
    }

    /// The hosts among which [`Fleet::place`] has to choose for these documents.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(in crate::fleet) async fn hosts_to_choose_from(
        &self,
        resolved: &Resolved,
    ) -> Result<HostsInQuestion, FleetError> {
        if !may_need_choice(resolved) && !has_networks(resolved) {
            return Ok(HostsInQuestion::default());
        }
        let (known, mut resolved) = (self.concerned(resolved).await?, resolved.clone());
        stay(&mut resolved, &known);
        let open = Box::pin(self.open_requests(&resolved)).await?;
        let members = MemberHosts::candidates(&open.members);
        Ok(HostsInQuestion {
            networks: self.networks_in_question(&resolved, &members).await?,
            ..HostsInQuestion::of_requests(open.requests())
        })
    }

    /// The capacities of these hosts, and their room for networks. Asks those that have not answered recently; with
    /// `now`, all of them.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub(in crate::fleet) async fn survey_for(
        &self,
        resolved: &Resolved,
        now: bool,
    ) -> Result<HostSurvey, FleetError> {
        let question = self.hosts_to_choose_from(resolved).await?;
        let of_networks = question.networks.iter().map(|network| &network.host);
        let asked = question.hosts.iter().chain(of_networks).cloned().collect();
        let _offer = self.offer(resolved, &asked);
        self.survey_question(question, now).await
    }

    /// The same for a question that was made of documents.
    async fn survey_question(
        &self,
        question: HostsInQuestion,
        now: bool,
    ) -> Result<HostSurvey, FleetError> {
        let (survey, networks) = tokio::try_join!(
            self.survey(&question.hosts, &question.archs, now),
            self.ask_for_rooms(question.networks),
        )?;
        Ok(HostSurvey { networks, ..survey })
    }

    /// Sets the host of each VSI that needs a placement: its recorded host, or one that is chosen now by
    /// the survey. Measured capacities go into `updates`; without `updates` nothing is recorded. Returns
    /// the hosts that members of pools would get, and the offer to hold until all is recorded.
    ///
    /// # Errors
    /// `VSI0737`, when no host fits for one of them or for a member of one of the pools.
    pub(in crate::fleet) async fn place(
        &self,
        resolved: &mut Resolved,
        known: &[Known],
        survey: HostSurvey,
        updates: Option<&mut DesiredUpdates>,
    ) -> Result<(MemberHosts, HostOffer<'_>), FleetError> {
        stay(resolved, known);
        let open = Box::pin(self.open_requests(resolved)).await?;
        let candidates = HostsInQuestion::of_requests(open.requests()).hosts;
        let offer = self.offer(resolved, &candidates);
        if open.is_empty() {
            return Ok((MemberHosts::default(), offer));
        }
        let decisions = self.choose_by(&open, &candidates, &survey).await?;
        let decisions = decisions.map_err(|(name, unplaced)| no_host(&name, &unplaced))?;
        if let Some(updates) = updates {
            survey.record(updates)?;
        }
        let of_members = decisions.iter().skip(open.vsis.len());
        let members = MemberHosts::new(&open.members, of_members);
        for ((index, _), decision) in open.vsis.iter().zip(decisions) {
            settle(resolved, *index, decision);
        }
        Ok((members, offer))
    }

    /// Places documents without recording anything. If no host fits by answers that were given earlier,
    /// the hosts are asked again.
    ///
    /// # Errors
    /// As for [`Fleet::place`].
    pub(in crate::fleet) async fn place_dry(
        &self,
        resolved: &mut Resolved,
        known: &[Known],
    ) -> Result<PlacedDry, FleetError> {
        let survey = Box::pin(self.survey_for(resolved, false)).await?;
        let (is_stale, rooms) = (survey.is_stale, survey.networks.clone());
        let mut placed = resolved.clone();
        let mut members = Box::pin(self.place(&mut placed, known, survey, None)).await;
        if is_stale && matches!(&members, Err(error) if is_no_host(&error.failure)) {
            let renewed = Box::pin(self.survey_for(resolved, true)).await?;
            placed = resolved.clone();
            members = Box::pin(self.place(&mut placed, known, renewed, None)).await;
        }
        let (members, _) = members?;
        *resolved = placed;
        Ok(PlacedDry { members, rooms })
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
            let decisions = Box::pin(self.choose(&open)).await?;
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
    ) -> HostOffer<'_> {
        let mut offer = self.directory.new_offer();
        for id in candidates {
            let Some(host) = resolved.hosts.get(id) else {
                continue;
            };
            let known = self.directory.get(id);
            let same =
                known.is_some_and(|known| known.same_as(host) && known.limits == host.limits);
            // Another offer of the same settings may end before this one.
            let is_recorded = same && !self.directory.is_offered(id);
            if !is_recorded && ownership::others(&self.directory, host).is_none() {
                offer.add(host.clone());
            }
        }
        offer
    }

    /// Chooses a host for each request, by recent measurements; if that fails, by new ones.
    async fn choose(&self, open: &OpenPlacements) -> Result<Vec<Decision>, FleetError> {
        let HostsInQuestion { hosts, archs, .. } = HostsInQuestion::of_requests(open.requests());
        let mut survey = self.survey(&hosts, &archs, false).await?;
        let mut chosen = self.choose_by(open, &hosts, &survey).await?;
        if chosen.is_err() && survey.is_stale {
            survey = self.survey(&hosts, &archs, true).await?;
            chosen = self.choose_by(open, &hosts, &survey).await?;
        }
        chosen.map_err(|(name, unplaced)| no_host(&name, &unplaced))
    }

    /// Chooses a host for each of these by the survey, one after another; if none fits one request, the
    /// others still get theirs.
    pub(in crate::fleet) async fn choose_each(
        &self,
        requests: &[PlacementRequest],
        survey: &HostSurvey,
    ) -> Result<Vec<Result<Decision, Failure>>, FleetError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let candidates = HostsInQuestion::of_requests(requests).hosts;
        let mut board = self.board(&candidates, survey).await?;
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
                unreachable: survey.why_unreachable(id),
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

/// Whether documents have VSIs or templates on networks that vsiflow makes.
fn has_networks(resolved: &Resolved) -> bool {
    let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
    let mut all = vsis.chain(requests::templates(resolved));
    all.any(|vsi| !vsi.made_networks.is_empty())
}

/// Whether documents have VSIs or templates for which a host may have to be chosen.
fn may_need_choice(resolved: &Resolved) -> bool {
    let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
    let mut all = vsis.chain(requests::templates(resolved));
    all.any(|vsi| vsi.placement.is_some())
}

/// Whether a choice failed because no host fits.
pub(in crate::fleet) fn is_no_host(failure: &Failure) -> bool {
    failure.code.as_str() == NO_HOST
}

fn no_host(name: &str, unplaced: &Unplaced) -> FleetError {
    let failure = Failure::new(
        FailureClass::Blocked,
        NO_HOST,
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
