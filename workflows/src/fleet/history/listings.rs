//! Hosts and runs, for listings.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use vsiflow_engine::model::{EntityId, Failure, RunId, RunPhase, RunResult, RunState, Timestamp};

use crate::fleet::{
    Fleet, FleetError, host::maintenance, unreadable::Reading, vsi::object::rfc3339,
};
use crate::record::{HostRecord, kind};

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostObject {
    /// Its id.
    pub name: String,
    /// How it is reached.
    pub transport: &'static str,
    /// Whether any host key is accepted.
    pub insecure: bool,
    /// VSIs on it that are not deleted.
    pub vsis: usize,
    /// `Ready` or `NotReady` by the newest look, `Unknown` where nobody looked; with
    /// `,SchedulingDisabled` where it is cordoned.
    pub status: String,
    /// What keeps it from answering.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why it is cordoned; it may be empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<String>,
    /// What is worth a look although it is worked with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunObject {
    /// Its id.
    pub name: String,
    /// Its entity.
    pub entity: String,
    /// Its workflow.
    pub workflow: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// `Active`, `Paused`, or how it ended.
    pub phase: &'static str,
}

impl Fleet {
    /// All hosts.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn host_objects(&self) -> Result<Vec<HostObject>, FleetError> {
        let mut vsis = BTreeMap::<String, usize>::new();
        for known in self.known().await?.iter().filter(|k| !k.is_deleted()) {
            let count = vsis.entry(known.wanted.vsi.host.clone()).or_default();
            *count = count.saturating_add(1);
        }
        let mut hosts = Vec::new();
        for (entity, state) in self.entities_of(kind::HOST) {
            let read: Reading<HostRecord> = self.read_wanted(&entity, &state).await?;
            let host = match read {
                Reading::Wanted(host) => host,
                Reading::Nothing => continue,
                Reading::Lost(why) => {
                    hosts.push(lost(&entity, &why));
                    continue;
                }
            };
            let name = host.record.id();
            let vsis = vsis.get(&name).copied().unwrap_or_default();
            let transport = match &host.record {
                crate::spec::HostConnection::Ssh(_) => "ssh",
                crate::spec::HostConnection::Unix { .. } => "unix",
                crate::spec::HostConnection::Sim { .. } => "sim",
            };
            let cordoned = maintenance::why_cordoned(state.state.as_ref()).map(str::to_owned);
            let answers = self.reach.answers(&name);
            hosts.push(HostObject {
                status: status(answers.as_ref(), cordoned.is_some()),
                message: answers.and_then(Result::err),
                cordoned,
                warnings: self.reach.warning(&name).into_iter().collect(),
                name,
                transport,
                insecure: host.record.is_insecure(),
                vsis,
            });
        }
        Ok(hosts)
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> Vec<RunObject> {
        let mut runs: Vec<_> = self
            .engine
            .entities()
            .values()
            .flat_map(|e| e.runs.clone())
            .collect();
        runs.sort_unstable();
        let objects = runs.into_iter().filter_map(|id| {
            let run = self.engine.run(id)?;
            Some(RunObject {
                name: id.to_string(),
                entity: run
                    .entity
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                workflow: run
                    .graph
                    .as_ref()
                    .map(|g| g.workflow.to_string())
                    .unwrap_or_default(),
                started: began(id),
                phase: phase(&run),
            })
        });
        objects.collect()
    }
}

/// A host of which nobody can read how it is reached.
fn lost(entity: &EntityId, why: &Failure) -> HostObject {
    HostObject {
        name: entity.id().to_owned(),
        transport: "unknown",
        insecure: false,
        vsis: 0,
        status: "Unreadable".to_owned(),
        message: Some(format!("{why}. {}", why.remedy)),
        cordoned: None,
        warnings: Vec::new(),
    }
}

/// As `kubectl get nodes` says it.
fn status(answers: Option<&Result<(), String>>, cordoned: bool) -> String {
    let ready = match answers {
        Some(Ok(())) => "Ready",
        Some(Err(_)) => "NotReady",
        None => "Unknown",
    };
    let cordoned = if cordoned { ",SchedulingDisabled" } else { "" };
    format!("{ready}{cordoned}")
}

/// When a run began, RFC 3339.
pub(in crate::fleet) fn began(run: RunId) -> String {
    rfc3339(Timestamp(run.0.timestamp_ms()))
}

pub(in crate::fleet) fn phase(run: &RunState) -> &'static str {
    match &run.phase {
        RunPhase::New | RunPhase::Active => "Active",
        RunPhase::Paused => "Paused",
        RunPhase::Finished(RunResult::Succeeded) => "Succeeded",
        RunPhase::Finished(RunResult::Failed(_)) => "Failed",
        RunPhase::Finished(RunResult::Cancelled) => "Cancelled",
        RunPhase::Finished(RunResult::Superseded) => "Superseded",
    }
}
