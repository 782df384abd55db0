//! The turn to choose hosts: reads promises and admissions, evaluates the journals' reports, and
//! records the choice.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::MutexGuard;
use vsiflow_engine::model::{Failure, FailureClass, Precedence};

use super::{
    ChosenHost, ForDecision, JournalReport, OpenRecord, ReportQuestions, is_open, name_of,
    put_hosts,
};
use crate::{
    fleet::{
        ErrorKind, Fleet, FleetError, PlacementHandle,
        placement::{
            no_host,
            requests::{host_in_documents, request_with},
        },
        quota::over_journals::{AdmissionRecord, Admissions, admission_entity},
        store::DesiredUpdates,
        unreadable::DesiredReading,
    },
    placement::{
        Decision, PlacementBoard, PlacementHost, PlacementRequest, PromiseRecord, PromiseState,
        count,
    },
    record::{kind, promise_entity},
    spec::{DesiredVsi, Resolved},
};

impl<'f> PlacementHandle<'f> {
    /// Waits for and takes the turn to choose. Only one caller has it at a time.
    pub async fn turn(self) -> ChoiceTurn<'f> {
        ChoiceTurn {
            fleet: self.fleet,
            _alone: self.fleet.capacities.turn().await,
        }
    }
}

/// The turn of one choice. The caller first reads the open promises, then checks which of their
/// requests are still open, and only then asks the journals to report. With all of that it calls
/// [`Self::choose`].
pub struct ChoiceTurn<'f> {
    fleet: &'f Fleet,
    _alone: MutexGuard<'f, ()>,
}

impl ChoiceTurn<'_> {
    /// The open promises.
    ///
    /// # Errors
    /// When one of them cannot be read: the promises are unknown then.
    pub async fn promises(&self) -> Result<Vec<PromiseRecord>, FleetError> {
        self.open_records().await
    }

    /// The open admissions of quotas.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub async fn admissions(&self) -> Result<Vec<AdmissionRecord>, FleetError> {
        self.open_records().await
    }

    async fn open_records<R: OpenRecord>(&self) -> Result<Vec<R>, FleetError> {
        let (fleet, mut open) = (self.fleet, Vec::new());
        let all = fleet.entities_of(R::KIND);
        fleet.capacities.keep_ends(R::KIND, &all);
        for (entity, state) in all {
            let generation = state.desired.as_ref().map(|desired| desired.generation);
            let generation = generation.unwrap_or_default();
            if fleet.capacities.is_ended(&entity, generation) {
                continue;
            }
            let read: DesiredReading<R> = fleet.read_desired(&entity, &state).await?;
            match read {
                DesiredReading::Record(record) if record.state() == PromiseState::Open => {
                    open.push(record);
                }
                DesiredReading::Record(_) => fleet.capacities.note_end(entity, generation),
                DesiredReading::Nothing => {}
                DesiredReading::Lost(failure) => {
                    let failure = failure.of_object(entity.to_string());
                    return Err(FleetError::new(ErrorKind::Blocked, failure));
                }
            }
        }
        Ok(open)
    }

    /// The questions for the journals about these documents.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn questions(&self, resolved: &Resolved) -> Result<ReportQuestions, FleetError> {
        let mut questions = ReportQuestions {
            namespaces: self.fleet.limited(resolved).await?,
            ..ReportQuestions::default()
        };
        for vsi in resolved.vsis.iter().filter(|vsi| is_open(vsi)) {
            let its = &vsi.desired;
            let placement = its.placement.iter();
            questions
                .hosts
                .extend(placement.flat_map(|one| one.candidates.iter().cloned()));
            questions.archs.insert(its.machine.arch.clone());
            let vsi_name = name_of(kind::VSI, &its.namespace, &its.name);
            let disks = its.disks.iter();
            let disks = disks.map(|disk| name_of(kind::DISK, &its.namespace, &disk.name));
            questions.objects.extend(disks.chain([vsi_name]));
        }
        Ok(questions)
    }

    /// Chooses a host for each VSI that needs one, all of them or none, if quotas permit the documents,
    /// and records it. `over` names the objects whose requests had all ended before the journals were
    /// asked, and which the journals reported on. Without a decision in `of`, nothing is recorded.
    ///
    /// # Errors
    /// `VSI0737` when no host fits one of them; `VSI0768` when the promised host differs from the one
    /// that it is on; `VSI0738` and the like when a quota does not permit it.
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
            document_settings(host, resolved);
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

    /// The new admissions of quotas, and the admissions that ended.
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

/// How a promise or admission without open requests ended: [`PromiseState::Kept`] if the object exists,
/// and on that host, else [`PromiseState::Dropped`].
fn ended(report: &JournalReport, object: &str, host: Option<&String>) -> PromiseState {
    match report.objects.get(object) {
        Some(there) if host.is_none_or(|host| host == there) => PromiseState::Kept,
        _ => PromiseState::Dropped,
    }
}

/// Applies the labels and limits of a host's document, if it has any.
fn document_settings(host: &mut PlacementHost, resolved: &Resolved) {
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

/// The promise for a VSI: for the host that it has, the one promised before, or one chosen now.
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
        // An earlier promise stays, whatever the selectors match by now.
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
