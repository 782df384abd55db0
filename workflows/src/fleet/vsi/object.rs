//! VSIs as Kubernetes-shaped objects. The names of their keys are stable.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use vsiflow_engine::{
    model::{EntityState, Failure, Name, NodeState, RunResult, RunState, Timestamp},
    step::Step as _,
};
use vsiflow_steps::{
    guest::GuestType,
    vsi::{AwaitReady, AwaitTurn, CheckContract, ReleaseSecrets},
};

pub use crate::fleet::object::Metadata;
pub(in crate::fleet) use crate::fleet::object::rfc3339;
use crate::fleet::{
    Condition, EvidencePlace, Fleet, FleetError, Proposal, SnapshotScheduleStatus, UploadProgress,
    VsiHandle, history::outputs::texts, index::Known, unreadable::LostEntity, vsi::conditions,
};
use crate::{
    phase::Phase,
    placement::Decision,
    pool,
    record::{VsiRecord, kind},
    spec::{MemberOf, documents},
};

/// A VSI.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VsiObject {
    /// The group and version of the kind.
    pub api_version: &'static str,
    /// The kind.
    pub kind: &'static str,
    /// Who it is.
    pub metadata: Metadata,
    /// Its desired state, without its contract.
    pub spec: Value,
    /// What is.
    pub status: VsiStatus,
}

/// What is.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VsiStatus {
    /// 1 ready, 2 error, 0 anything else.
    pub status: u8,
    /// The end of the console, or the error.
    pub description: String,
    /// The state's name.
    pub phase: Phase,
    /// The newest generation that was worked for.
    pub observed_generation: u64,
    /// The step that is running, or that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step: Option<String>,
    /// How many of the run's steps are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<VsiProgress>,
    /// The guest's addresses.
    pub ip_addresses: Vec<String>,
    /// The newest run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The change that waits for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proposal: Option<Proposal>,
    /// The host's id.
    pub host: String,
    /// Which host was chosen and why, where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Decision>,
    /// The jump hosts on the way to it, `USER@HOST:PORT`, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_jumps: Vec<String>,
    /// When something was last heard from the host, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_last_seen: Option<String>,
    /// What is doubtful about its contract, and what its guest warned of as it booted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Boots that failed since it was submitted, or since somebody asked to try again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failed_boots: u32,
    /// When the next boot is tried by itself, RFC 3339; absent where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<String>,
    /// Where consoles and definitions of failed boots are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidence: Vec<EvidencePlace>,
    /// How far its schedule of snapshots is, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<SnapshotScheduleStatus>,
    /// What holds and what does not.
    pub conditions: Vec<Condition>,
}

impl VsiStatus {
    /// The status of the `Ready` condition: `True`, `False` or `Unknown`.
    pub fn ready(&self) -> Cow<'static, str> {
        let mut conditions = self.conditions.iter();
        let ready = conditions.find(|condition| condition.name == "Ready");
        ready.map_or(Cow::Borrowed("Unknown"), |ready| ready.status.clone())
    }
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VsiProgress {
    /// Steps done.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// How far the upload of its image is, while it waits for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload: Option<UploadProgress>,
}

/// The longest description, in bytes.
const DESCRIPTION_MAX: usize = 16 * 1024;

impl VsiHandle<'_> {
    /// All VSIs by namespace and name; with `deleted`, also deleted ones.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self, deleted: bool) -> Result<Vec<VsiObject>, FleetError> {
        let mut objects = Vec::new();
        let (all, lost) = self.fleet.known_and_lost().await?;
        for known in all {
            if deleted || !known.is_deleted() {
                objects.push(self.fleet.object(&known).await?);
            }
        }
        let lost = self.fleet.named(lost).await;
        objects.extend(lost.into_iter().map(|lost| self.fleet.lost_object(lost)));
        Ok(objects)
    }

    /// One VSI that is not deleted.
    ///
    /// # Errors
    /// When there is no such VSI, or the journal cannot be read.
    pub async fn get(self, namespace: &str, name: &str) -> Result<VsiObject, FleetError> {
        match self.fleet.lost_one(kind::VSI, namespace, name).await? {
            Some(lost) => Ok(self.fleet.lost_object(lost)),
            None => {
                let known = self.fleet.find_any(namespace, name, false).await?;
                self.fleet.object(&known).await
            }
        }
    }

    /// The jump hosts on the way to a host, as far as its settings are known.
    pub fn jumps_to(self, host: &str) -> Vec<String> {
        let settings = self.fleet.directory.get(host);
        let jumps = settings.iter().flat_map(|setting| setting.record.jumps());
        jumps.map(ToString::to_string).collect()
    }
}

impl Fleet {
    /// A VSI whose desired state cannot be read.
    fn lost_object(&self, lost: LostEntity) -> VsiObject {
        let (metadata, changed) = self.lost_metadata(&lost);
        VsiObject {
            api_version: documents::API_VERSION,
            kind: documents::VSI,
            metadata,
            spec: json!({}),
            status: unreadable(&lost.failure, &lost.state, changed),
        }
    }

    /// A VSI of which a part cannot be read, as it was last known.
    fn unreadable_object(&self, known: &Known, failure: &Failure) -> VsiObject {
        let (created, changed) = self.engine.times(&known.entity).unwrap_or_default();
        VsiObject {
            api_version: documents::API_VERSION,
            kind: documents::VSI,
            metadata: metadata(known, created),
            spec: spec(known),
            status: VsiStatus {
                host: known.record.vsi.host.clone(),
                host_jumps: self.vsis().jumps_to(&known.record.vsi.host),
                ..unreadable(failure, &known.state, changed)
            },
        }
    }

    pub(in crate::fleet) async fn object(&self, known: &Known) -> Result<VsiObject, FleetError> {
        if let Some(failure) = &known.unreadable {
            return Ok(self.unreadable_object(known, failure));
        }
        let state = &known.state;
        let newest = state.active.as_ref().map(|run| run.run);
        let newest = newest.or(state.last.as_ref().map(|run| run.run));
        let run = newest.and_then(|run| self.engine.run(run));
        let (created, changed) = self.engine.times(&known.entity).unwrap_or_default();
        let runs = state
            .runs
            .iter()
            .filter_map(|earlier| self.engine.run(*earlier));
        let done = last_successes(runs);
        let last_done = done
            .iter()
            .filter(|(node, _)| !HOSTLESS.contains(&node.as_str()));
        let seen = last_done.map(|(_, at)| *at).max();
        let obstacle = self.obstacle(&known.entity);
        let ready = self.output_of(AwaitReady::NAME, state).await?;
        let warnings = self.warnings_of(state, &ready).await?;
        let failed = state.state.as_ref().map(|(_, detail)| detail.to_string());
        let ended = state.last.as_ref().map(|last| &last.result);
        let description = match (&obstacle, failed.filter(|detail| !detail.is_empty())) {
            (Some(failure), _) => format!("{failure}. {}", failure.remedy),
            (None, Some(detail)) if known.phase() == Phase::Failed => match ended {
                Some(RunResult::Failed(failure)) => format!("{failure}. {}", failure.remedy),
                _ => detail,
            },
            (None, Some(detail)) => detail,
            (None, None) => console_tail(&ready),
        };
        let proposal = self.proposal(known);
        let mut conditions = conditions::of(
            known,
            run.as_deref(),
            obstacle.as_ref(),
            proposal.as_ref().map(|proposal| &proposal.plan),
            &done,
            changed,
        );
        if !known.record.vsi.guest_type().is_hyper_protect() {
            conditions.extend(conditions::guest_setup(&warnings, changed));
        }
        let mut snapshots = None;
        if !known.is_deleted()
            && let Some((schedule, condition)) = self.schedule_of(known).await?
        {
            conditions.push(condition);
            snapshots = Some(schedule);
        }
        let status = VsiStatus {
            status: known.phase().old_status(),
            description,
            phase: known.phase(),
            observed_generation: state.observed_generation(),
            current_step: run.as_deref().and_then(current_step),
            progress: run
                .as_deref()
                .filter(|run| run.result().is_none())
                .map(|run| progress(run, self.upload_of(known))),
            ip_addresses: match known.phase() {
                // A VSI that is off has no address, whatever it had before.
                Phase::Stopped => Vec::new(),
                // An address that a scan by this process found is newer than the one from the boot.
                _ => self
                    .addresses
                    .get(known.record.uid)
                    .unwrap_or_else(|| texts(&ready, "addresses")),
            },
            warnings,
            run_id: newest.map(|id| id.to_string()),
            proposal,
            host: known.record.vsi.host.clone(),
            placement: known.record.placed.clone(),
            host_jumps: self.vsis().jumps_to(&known.record.vsi.host),
            host_last_seen: seen.map(rfc3339),
            failed_boots: state.failures,
            next_try: state.next_try.map(|wait| rfc3339(wait.due)),
            evidence: self.evidence_places(known),
            snapshots,
            conditions,
        };
        Ok(VsiObject {
            api_version: match known.record.vsi.guest {
                Some(_) => documents::VSIFLOW_API_VERSION,
                None => documents::API_VERSION,
            },
            kind: match known.record.vsi.guest {
                Some(_) => documents::VIRTUAL_SERVER,
                None => documents::VSI,
            },
            metadata: metadata(known, created),
            spec: spec(known),
            status,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

pub(super) fn metadata(known: &Known, created: Timestamp) -> Metadata {
    let vsi = &known.record.vsi;
    Metadata {
        name: vsi.name.clone(),
        namespace: vsi.namespace.clone(),
        uid: known.record.uid.to_string(),
        generation: known
            .state
            .desired
            .as_ref()
            .map_or(0, |desired| desired.generation),
        creation_timestamp: rfc3339(created),
        labels: vsi.labels.clone(),
        annotations: annotations(vsi.member_of.as_ref()),
    }
}

/// The annotations that identify the pool of a member.
pub(in crate::fleet) fn annotations(of: Option<&MemberOf>) -> BTreeMap<String, String> {
    let Some(of) = of else { return BTreeMap::new() };
    let uid = (pool::UID_ANNOTATION.to_owned(), of.uid.to_string());
    let revision = (pool::REVISION_ANNOTATION.to_owned(), of.revision.clone());
    let all = [uid, revision].into_iter();
    all.filter(|(_, value)| !value.is_empty()).collect()
}

fn spec(known: &Known) -> Value {
    spec_of(&known.record)
}

/// The desired state of a VSI, as it is shown.
pub(in crate::fleet) fn spec_of(record: &VsiRecord) -> Value {
    let vsi = &record.vsi;
    let mut spec = common(record);
    if let Some(ready) = &vsi.ready {
        let within = ready.within_s.map(|seconds| format!("{seconds}s"));
        let ready = json!({"within": within, "all": ready.probes});
        spec.insert("ready".to_owned(), ready);
    }
    if let Some(placement) = &vsi.placement {
        spec.insert("placement".to_owned(), json!(placement.request));
    }
    if let Some(policy) = &vsi.snapshot_policy {
        spec.insert("snapshotPolicy".to_owned(), json!(policy));
    }
    match &vsi.guest {
        None => _ = spec.insert("contract".to_owned(), recorded(&record.contract)),
        Some(guest) => {
            let mut guest_spec = json!(guest);
            let secret = match guest.guest_type {
                GuestType::HyperProtect => Some("contract"),
                GuestType::None => None,
                _ => Some("userData"),
            };
            if let (Some(key), Some(fields)) = (secret, guest_spec.as_object_mut()) {
                fields.insert(key.to_owned(), recorded(&record.contract));
                fields.insert("networkConfig".to_owned(), json!(vsi.network_config));
            }
            spec.insert("guest".to_owned(), guest_spec);
            let machine = spec.get_mut("machine").and_then(Value::as_object_mut);
            if let Some(machine) = machine {
                machine.insert("cpu".to_owned(), json!(vsi.machine.cpu));
                machine.insert("firmware".to_owned(), json!(vsi.machine.firmware));
                let secure = json!(vsi.machine.secure_execution);
                machine.insert("secureExecution".to_owned(), secure);
                if !vsi.machine.graphics.is_none() {
                    machine.insert("graphics".to_owned(), json!(vsi.machine.graphics));
                }
            }
        }
    }
    Value::Object(spec)
}

/// A secret, as it is shown: a document of the same object may have it.
fn recorded(secret: &Name) -> Value {
    json!({"recorded": secret})
}

/// The fields that both kinds of VSI documents have.
fn common(record: &VsiRecord) -> serde_json::Map<String, Value> {
    let vsi = &record.vsi;
    let common = json!({
        "imageURL": vsi.image.url,
        "imageChecksum": vsi.image.checksum,
        "storagePool": vsi.pool,
        "bootDisk": vsi.boot_disk,
        "machine": {
            "arch": vsi.machine.arch,
            "cpus": vsi.machine.cpus,
            "memory": format!("{}Mi", vsi.machine.memory_mib),
        },
        "networks": vsi.networks,
        "disks": vsi.disks,
        "powerState": record.power_state(),
        "onDrift": vsi.on_drift,
        "updatePolicy": vsi.update_policy,
        "deletionPolicy": vsi.deletion_policy,
    });
    let mut fields = match common {
        Value::Object(common) => common,
        _ => serde_json::Map::new(),
    };
    if !vsi.host.is_empty() {
        fields.insert("host".to_owned(), json!(vsi.host));
    }
    fields
}

fn console_tail(ready: &Value) -> String {
    let tail = ready
        .get("console_tail")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let from = tail.len().saturating_sub(DESCRIPTION_MAX);
    let from = (from..=tail.len())
        .find(|at| tail.is_char_boundary(*at))
        .unwrap_or(tail.len());
    tail.get(from..).unwrap_or_default().to_owned()
}

/// The steps that do not contact a host.
const HOSTLESS: [&str; 3] = [CheckContract::NAME, ReleaseSecrets::NAME, AwaitTurn::NAME];

/// When each node last succeeded in any of these runs.
fn last_successes(runs: impl Iterator<Item = Arc<RunState>>) -> BTreeMap<Name, Timestamp> {
    let mut last = BTreeMap::<Name, Timestamp>::new();
    for run in runs {
        for (node, state) in &run.nodes {
            let NodeState::Succeeded { at, .. } = state else {
                continue;
            };
            match last.get_mut(node) {
                Some(newest) => *newest = (*newest).max(*at),
                None => drop(last.insert(node.clone(), *at)),
            }
        }
    }
    last
}

fn unreadable(failure: &Failure, state: &EntityState, since: Timestamp) -> VsiStatus {
    let description = format!("{failure}. {}", failure.remedy);
    let phase = Phase::Unreadable;
    let ready = conditions::condition("Ready", false, failure.code.as_str(), &description, since);
    VsiStatus {
        status: phase.old_status(),
        description,
        phase,
        observed_generation: state.observed_generation(),
        current_step: None,
        progress: None,
        ip_addresses: Vec::new(),
        run_id: state.runs.last().map(ToString::to_string),
        proposal: None,
        host: String::new(),
        placement: None,
        host_jumps: Vec::new(),
        host_last_seen: None,
        warnings: Vec::new(),
        failed_boots: state.failures,
        next_try: None,
        evidence: Vec::new(),
        snapshots: None,
        conditions: vec![ready],
    }
}

pub(in crate::fleet) fn current_step(run: &RunState) -> Option<String> {
    if run.result().is_some() {
        return None;
    }
    let at = |matches: fn(&NodeState) -> bool| {
        let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
        let mut names = nodes.map(|node| &node.name);
        names
            .find(|name| run.nodes.get(*name).is_some_and(matches))
            .map(ToString::to_string)
    };
    at(|node| node.failure().is_some())
        .or_else(|| at(|node| matches!(node, NodeState::Running { .. })))
        .or_else(|| at(|node| matches!(node, NodeState::Waiting | NodeState::Ready { .. })))
}

/// How many steps of a run are done.
pub(super) fn steps_done(run: &RunState) -> usize {
    let nodes = run.nodes.values();
    let done = nodes.filter(|node| matches!(node, NodeState::Succeeded { .. }));
    done.count()
}

fn progress(run: &RunState, upload: Option<UploadProgress>) -> VsiProgress {
    VsiProgress {
        done: steps_done(run),
        total: run.nodes.len(),
        upload,
    }
}
