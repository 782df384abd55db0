//! Chooses hosts where hosts and what stands on them are in several journals
//! (docs/adr/0014-choices-over-journals.md).
//!
//! A journal with hosts says what it has to say ([`PlacementHandle::report`]). The one journal that chooses takes its
//! turn ([`PlacementHandle::turn`]), asks the others, and records its choices as promises before anything follows from
//! them ([`ChoiceTurn::choose`]). What is asked of whom, and by what, is not known here.
//!
//! Guarantees, as long as whoever uses it keeps the order that [`ChoiceTurn`] asks for:
//! - What is promised to a VSI counts on its host until the VSI itself does, or until nothing is under way any more
//!   that could make it.
//! - A VSI that is there, or that a host is promised to, is given no other one.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::MutexGuard;
use vsiflow_engine::{
    executor::By,
    model::{Failure, FailureClass, Precedence},
};

use super::{
    no_host,
    requests::{host_in_documents, request_with},
    survey::HostSurvey,
};
use crate::{
    fleet::{
        ErrorKind, Fleet, FleetError, PlacementHandle,
        quota::over_journals::{AdmissionRecord, Admissions, TakenUsage, admission_entity},
        store::DesiredUpdates,
        unreadable::WantedReading,
    },
    placement::{
        Decision, OpenRequest, PlacementBoard, PlacementHost, PlacementRequest, PromiseRecord,
        PromiseState, count,
    },
    record::{host_entity, kind, promise_entity},
    spec::{DesiredVsi, Resolved, ResolvedVsi},
};

/// What a journal is asked to say.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReportQuestions {
    /// Hosts of its own.
    pub hosts: BTreeSet<String>,
    /// The architectures of guests that they may have to run.
    pub archs: BTreeSet<String>,
    /// Names such as `vsi/default/web` and `disk/default/data`.
    pub objects: BTreeSet<String>,
    /// Namespaces of which is to be said what is taken in them.
    pub namespaces: BTreeSet<String>,
    /// Whether hosts are asked again that were asked a moment ago.
    pub now: bool,
    /// Why hosts are not asked; none where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_alone: Option<String>,
}

/// What a journal says, or several of them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct JournalReport {
    /// The hosts.
    pub hosts: Vec<PlacementHost>,
    /// Which of the objects are there and not gone, and on which hosts.
    pub objects: BTreeMap<String, String>,
    /// What is taken in the namespaces.
    pub taken: Vec<TakenUsage>,
    /// Whether hosts were not asked again that were asked a moment ago.
    pub is_stale: bool,
}

impl JournalReport {
    /// And what another one says.
    pub fn add(&mut self, other: Self) {
        self.hosts.extend(other.hosts);
        self.objects.extend(other.objects);
        self.taken.extend(other.taken);
        self.is_stale |= other.is_stale;
    }
}

/// Where a VSI of documents is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChosenHost {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The host's id.
    pub host: String,
    /// Why; none of one that was there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// What is decided, and by what it is handed over to the journal of a host.
pub struct ForDecision<'a> {
    /// The request that asks for it.
    pub decision: &'a str,
    /// The request by which a host's journal is told.
    pub hand_over: &'a (dyn Fn(&str) -> String + Sync),
    /// Who asks.
    pub by: By,
}

impl ForDecision<'_> {
    /// Adds what is handed over to the journal of a host to the requests that are under way.
    pub(in crate::fleet) fn add_to(&self, requests: &mut Vec<OpenRequest>, host: &str) {
        let request = OpenRequest {
            decision: self.decision.to_owned(),
            hand_over: (self.hand_over)(host),
        };
        if !requests.contains(&request) {
            requests.push(request);
        }
    }
}

/// What counts as long as something is under way.
pub trait OpenRecord: DeserializeOwned {
    /// The kind of its entities.
    const KIND: &'static str;

    /// How it stands.
    fn state(&self) -> PromiseState;

    /// What is under way for it.
    fn requests(&self) -> &[OpenRequest];

    /// The name of the object that it is for.
    fn object(&self) -> String;

    /// The host of that.
    fn host(&self) -> &str;
}

impl OpenRecord for PromiseRecord {
    const KIND: &'static str = kind::PROMISE;

    fn state(&self) -> PromiseState {
        self.state
    }

    fn requests(&self) -> &[OpenRequest] {
        &self.requests
    }

    fn object(&self) -> String {
        name_of(kind::VSI, &self.vsi.namespace, &self.vsi.name)
    }

    fn host(&self) -> &str {
        &self.host
    }
}

/// Whether a host is to be chosen for a VSI.
pub fn is_open(vsi: &ResolvedVsi) -> bool {
    vsi.desired.placement.is_some() && vsi.desired.host.is_empty() && vsi.unresolved_refs.is_empty()
}

/// Puts hosts that were chosen elsewhere into documents: into the VSIs, and into the data disks that are made for them.
pub fn put_hosts(resolved: &mut Resolved, chosen: &[ChosenHost]) {
    for index in 0..resolved.vsis.len() {
        let Some(vsi) = resolved.vsis.get(index).filter(|vsi| is_open(vsi)) else {
            continue;
        };
        let its = &vsi.desired;
        let mut all = chosen.iter();
        let found = all.find(|one| one.namespace == its.namespace && one.name == its.name);
        if let Some(found) = found {
            let decision = Decision {
                host: found.host.clone(),
                ..found.decision.clone().unwrap_or_default()
            };
            super::settle(resolved, index, decision);
            if let (Some(vsi), None) = (resolved.vsis.get_mut(index), &found.decision) {
                vsi.placed = None;
            }
        }
    }
}

fn name_of(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

impl<'f> PlacementHandle<'f> {
    /// Whether a report would have to look at recorded hosts by other settings than those that are recorded: nothing
    /// may be recorded of them meanwhile.
    pub fn replaces_settings(self, resolved: &Resolved, hosts: &BTreeSet<String>) -> bool {
        let mut given = hosts.iter().filter_map(|id| resolved.hosts.get(id));
        given.any(|host| {
            let id = host.id();
            let known = self.fleet.directory.get(&id);
            self.fleet.is_recorded_host(&id) && known.is_some_and(|known| !known.same_as(host))
        })
    }

    /// What this journal has to say of its hosts and objects. Of hosts it records what is news.
    ///
    /// # Errors
    /// When something of it cannot be read: unknown is not absent.
    pub async fn report(
        self,
        resolved: &Resolved,
        asked: &ReportQuestions,
    ) -> Result<JournalReport, FleetError> {
        let fleet = self.fleet;
        let _alone = fleet.capacities.looking().await;
        // Settings that are not recorded may stay: nothing else is known of those hosts.
        let mut before = fleet.offer(resolved, &asked.hosts);
        before.retain(|(id, _)| fleet.is_recorded_host(id));
        let looked = async {
            let survey = match &asked.left_alone {
                Some(why) => HostSurvey::of_none(&asked.hosts, why),
                None => fleet.survey(&asked.hosts, &asked.archs, asked.now).await?,
            };
            let hosts = fleet.placement_hosts(&asked.hosts, &survey).await?;
            Ok::<_, FleetError>((hosts, survey))
        };
        let looked = Box::pin(looked).await;
        for (id, settings) in before {
            fleet.directory.withdraw(&id, settings);
        }
        let (hosts, survey) = looked?;
        let mut report = JournalReport {
            hosts,
            objects: BTreeMap::new(),
            taken: Box::pin(fleet.taken_in(&asked.namespaces)).await?,
            is_stale: survey.is_stale,
        };
        fleet.note_news(survey.news).await?;
        for object in &asked.objects {
            if let Some(host) = Box::pin(fleet.host_of_object(object)).await? {
                report.objects.insert(object.clone(), host);
            }
        }
        Ok(report)
    }

    /// The turn to choose. Others wait for it.
    pub async fn turn(self) -> ChoiceTurn<'f> {
        ChoiceTurn {
            fleet: self.fleet,
            _alone: self.fleet.capacities.turn().await,
        }
    }
}

impl Fleet {
    fn is_recorded_host(&self, id: &str) -> bool {
        host_entity(id).is_ok_and(|entity| self.engine.entity(&entity).is_some())
    }

    /// Where an object is; none where the journal has none of that name.
    async fn host_of_object(&self, object: &str) -> Result<Option<String>, FleetError> {
        let mut parts = object.splitn(3, '/');
        let (Some(kind), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(FleetError::defect(format!(
                "{object} is no name of an object"
            )));
        };
        let found = match kind {
            kind::DISK => {
                let found = self.find_disk(namespace, name, false).await;
                found.map(|known| known.wanted.disk.host)
            }
            _ => {
                let found = self.find(namespace, name, false).await;
                found.map(|known| known.wanted.vsi.host.clone())
            }
        };
        match found {
            Ok(host) => Ok(Some(host)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The turn of one choice. First it is asked for the open promises; then it is looked which of their requests are still
/// open; only then the journals are asked to report; with all of that it chooses.
pub struct ChoiceTurn<'f> {
    fleet: &'f Fleet,
    _alone: MutexGuard<'f, ()>,
}

impl ChoiceTurn<'_> {
    /// The promises that count.
    ///
    /// # Errors
    /// When one of them cannot be read: then nobody knows what is promised.
    pub async fn promises(&self) -> Result<Vec<PromiseRecord>, FleetError> {
        self.open_records().await
    }

    /// What was admitted by quotas and counts.
    ///
    /// # Errors
    /// When some of it cannot be read.
    pub async fn admissions(&self) -> Result<Vec<AdmissionRecord>, FleetError> {
        self.open_records().await
    }

    async fn open_records<R: OpenRecord>(&self) -> Result<Vec<R>, FleetError> {
        let (fleet, mut open) = (self.fleet, Vec::new());
        for (entity, state) in fleet.entities_of(R::KIND) {
            let generation = state.desired.as_ref().map(|desired| desired.generation);
            let generation = generation.unwrap_or_default();
            if fleet.capacities.is_ended(&entity, generation) {
                continue;
            }
            let read: WantedReading<R> = fleet.read_wanted(&entity, &state).await?;
            match read {
                WantedReading::Wanted(record) if record.state() == PromiseState::Open => {
                    open.push(record);
                }
                WantedReading::Wanted(_) => fleet.capacities.note_end(entity, generation),
                WantedReading::Nothing => {}
                WantedReading::Lost(failure) => {
                    let failure = failure.of_object(entity.to_string());
                    return Err(FleetError::new(ErrorKind::Blocked, failure));
                }
            }
        }
        Ok(open)
    }

    /// What the journals are to be asked about documents.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn questions(&self, resolved: &Resolved) -> Result<ReportQuestions, FleetError> {
        let mut asked = ReportQuestions {
            namespaces: self.fleet.limited(resolved).await?,
            ..ReportQuestions::default()
        };
        for vsi in resolved.vsis.iter().filter(|vsi| is_open(vsi)) {
            let its = &vsi.desired;
            let placement = its.placement.iter();
            asked
                .hosts
                .extend(placement.flat_map(|one| one.candidates.iter().cloned()));
            asked.archs.insert(its.machine.arch.clone());
            let vsi = name_of(kind::VSI, &its.namespace, &its.name);
            let disks = its.disks.iter();
            let disks = disks.map(|disk| name_of(kind::DISK, &its.namespace, &disk.name));
            asked.objects.extend(disks.chain([vsi]));
        }
        Ok(asked)
    }

    /// Gives a host to each VSI that asks for one to be chosen, all of them or none, where quotas permit what documents
    /// ask for, and records it. `over` are the names of objects for which nothing was under way any more before the
    /// journals were asked, and which these answered for. Without a decision nothing is recorded.
    ///
    /// # Errors
    /// `VSI0737` when no host fits for one of them; `VSI0768` when another one is promised to it than it is on;
    /// `VSI0738` and the like where a quota does not permit it.
    pub async fn choose(
        &self,
        resolved: &Resolved,
        report: &JournalReport,
        over: &BTreeSet<String>,
        of: Option<ForDecision<'_>>,
    ) -> Result<Vec<ChosenHost>, FleetError> {
        let mut changed = BTreeMap::new();
        let mut promises = BTreeMap::new();
        for mut promise in self.promises().await? {
            if over.contains(&promise.object()) {
                promise.state = ended(report, &promise.object(), Some(&promise.host));
                promise.requests.clear();
                changed.insert(promise.object(), promise);
            } else {
                promises.insert(promise.object(), promise);
            }
        }
        let mut hosts = report.hosts.clone();
        for host in &mut hosts {
            as_documents_say(host, resolved);
        }
        count(&mut hosts, promises.values());
        let mut board = PlacementBoard::new(hosts);
        let mut all = Vec::new();
        for vsi in resolved.vsis.iter().filter(|vsi| is_open(vsi)) {
            let request = request(&vsi.desired, resolved, report);
            let object = name_of(kind::VSI, &request.vsi.namespace, &request.vsi.name);
            let promised = promises.remove(&object);
            let mut promise = promised_to(request, promised, report, &mut board)?;
            all.push(ChosenHost {
                namespace: promise.vsi.namespace.clone(),
                name: promise.vsi.name.clone(),
                host: promise.host.clone(),
                decision: promise.decision.clone(),
            });
            if let Some(of) = &of {
                of.add_to(&mut promise.requests, &promise.host);
            }
            changed.insert(object, promise);
        }
        let admitted = self.admitted(resolved, report, over, (&all, of.as_ref()));
        let admitted = Box::pin(admitted).await?;
        let Some(of) = of else {
            return Ok(all);
        };
        let mut updates = DesiredUpdates::default();
        for promise in changed.into_values() {
            let entity = promise_entity(&promise.vsi.namespace, &promise.vsi.name);
            let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
            updates.add(entity, kind::PROMISE, Precedence::Record, &promise, None)?;
        }
        for (object, admission) in admitted {
            let entity = admission_entity(&object)?;
            updates.add(
                entity,
                kind::ADMISSION,
                Precedence::Record,
                &admission,
                None,
            )?;
        }
        self.fleet.record(updates, of.by).await?;
        Ok(all)
    }

    /// What quotas admit, and the admissions that ended.
    async fn admitted(
        &self,
        resolved: &Resolved,
        report: &JournalReport,
        over: &BTreeSet<String>,
        (chosen, of): (&[ChosenHost], Option<&ForDecision<'_>>),
    ) -> Result<Admissions, FleetError> {
        let (mut open, mut all) = (Vec::new(), Admissions::new());
        for mut admission in self.admissions().await? {
            if over.contains(&admission.object()) {
                admission.state = ended(report, &admission.object(), None);
                admission.requests.clear();
                all.insert(admission.object(), admission);
            } else {
                open.push(admission);
            }
        }
        let mut resolved = resolved.clone();
        put_hosts(&mut resolved, chosen);
        let admitted = self.fleet.admit(&resolved, &report.taken, open, of);
        all.extend(Box::pin(admitted).await?);
        Ok(all)
    }
}

/// What became of an object that nothing can make any more that has not.
fn ended(report: &JournalReport, object: &str, host: Option<&String>) -> PromiseState {
    match report.objects.get(object) {
        Some(there) if host.is_none_or(|host| host == there) => PromiseState::Kept,
        _ => PromiseState::Dropped,
    }
}

/// What documents say of a host's labels and limits, where they do.
fn as_documents_say(host: &mut PlacementHost, resolved: &Resolved) {
    let Some(settings) = resolved.hosts.get(&host.id) else {
        return;
    };
    if !settings.labels.is_empty() {
        host.labels.clone_from(&settings.labels);
    }
    if let Some(limits) = &settings.limits {
        host.limits.clone_from(limits);
    }
}

fn request(vsi: &DesiredVsi, resolved: &Resolved, report: &JournalReport) -> PlacementRequest {
    let hosts = vsi.disks.iter().filter_map(|disk| {
        let there = name_of(kind::DISK, &vsi.namespace, &disk.name);
        let there = report.objects.get(&there).cloned();
        let host = there.or_else(|| host_in_documents(vsi, disk, &resolved.data_disks))?;
        (!host.is_empty()).then(|| (disk.name.clone(), host))
    });
    request_with(vsi, &hosts.collect())
}

/// What a VSI has, what is promised to it, or what is chosen for it now.
fn promised_to(
    request: PlacementRequest,
    promised: Option<PromiseRecord>,
    report: &JournalReport,
    board: &mut PlacementBoard,
) -> Result<PromiseRecord, FleetError> {
    let name = format!("{}/{}", request.vsi.namespace, request.vsi.name);
    let there = name_of(kind::VSI, &request.vsi.namespace, &request.vsi.name);
    let there = report.objects.get(&there);
    match (there, promised) {
        (Some(host), Some(promise)) if *host != promise.host => {
            Err(promised_elsewhere(&name, &promise.host, host))
        }
        // What was promised stays, whatever documents match by now.
        (_, Some(promise)) => Ok(PromiseRecord {
            needs: promise.needs.clone().max(&request.needs),
            vsi: request.vsi,
            ..promise
        }),
        (Some(host), None) => Ok(new_promise(request, host.clone(), None)),
        (None, None) => {
            let chosen = board.choose(&request);
            let chosen = chosen.map_err(|unplaced| no_host(&name, &unplaced))?;
            Ok(new_promise(request, chosen.host.clone(), Some(chosen)))
        }
    }
}

fn new_promise(
    request: PlacementRequest,
    host: String,
    decision: Option<Decision>,
) -> PromiseRecord {
    PromiseRecord {
        host,
        vsi: request.vsi,
        needs: request.needs,
        decision,
        requests: Vec::new(),
        state: PromiseState::Open,
    }
}

fn promised_elsewhere(name: &str, promised: &str, there: &str) -> FleetError {
    let message = format!(
        "host {promised} is promised to it by a command that is under way, and it is on {there}"
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0768", message)
        .of_object(format!("vsi/{name}"))
        .with_remedy("apply again when the other command is done");
    FleetError::new(ErrorKind::Blocked, failure)
}
