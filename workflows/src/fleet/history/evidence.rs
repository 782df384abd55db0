//! Evidence of failed boots: console logs and domain definitions.
//!
//! Until the remains of the boot are deleted, both are on the host. The step `keep_evidence` stores them in
//! the journal before that.

use schemars::JsonSchema;
use serde::Serialize;
use vsiflow_engine::{
    model::{FailureClass, Name, NodeState, RunId, RunResult},
    step::Step as _,
};
use vsiflow_steps::{
    names,
    vsi::{KeepEvidence, keep_evidence},
};

use crate::fleet::{Fleet, FleetError, HistoryHandle, index::Known};

/// Where the evidence of a failed boot is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "where")]
pub enum EvidencePlace {
    /// On the host, until the next run or a deletion brings it into the journal.
    #[serde(rename_all = "camelCase")]
    Host {
        /// The host's id.
        host: String,
        /// The console's log, as pool and volume.
        console: String,
        /// The domain's UUID.
        domain: String,
    },
    /// In the journal; `logs --failed` prints it.
    #[serde(rename_all = "camelCase")]
    Journal {
        /// The run that kept it.
        run_id: String,
    },
}

impl std::fmt::Display for EvidencePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host {
                host,
                console,
                domain,
            } => write!(f, "console {console} and domain {domain} on host {host}"),
            Self::Journal { run_id } => write!(f, "stored by run {run_id}: `logs --failed`"),
        }
    }
}

impl HistoryHandle<'_> {
    /// The stored evidence of the newest failed boot whose remains were deleted; also for a VSI that is
    /// deleted now.
    ///
    /// # Errors
    /// When there is no such VSI, or the journal cannot be read.
    pub async fn evidence(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<keep_evidence::Output>, FleetError> {
        let known = self.fleet.find(namespace, name, true).await?;
        let Some((_, output)) = self.fleet.evidence_step(&known) else {
            return Ok(None);
        };
        let bytes = self.fleet.blobs.get(&output).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }
}

impl Fleet {
    /// The places of evidence of failed boots, newest first.
    pub(in crate::fleet) fn evidence_places(&self, known: &Known) -> Vec<EvidencePlace> {
        let (uid, vsi) = (known.record.uid, &known.record.vsi);
        let on_host = boot_failed(known).then(|| EvidencePlace::Host {
            host: vsi.host.clone(),
            console: names::console_log(&vsi.pool, uid).to_string(),
            domain: uid.to_string(),
        });
        let in_journal = self
            .evidence_step(known)
            .map(|(run, _)| EvidencePlace::Journal {
                run_id: run.to_string(),
            });
        on_host.into_iter().chain(in_journal).collect()
    }

    fn evidence_step(&self, known: &Known) -> Option<(RunId, vsiflow_engine::model::Payload)> {
        let node = Name::of(KeepEvidence::NAME);
        let mut runs = known.state.runs.iter().rev();
        runs.find_map(|id| {
            let run = self.engine.run(*id)?;
            match run.nodes.get(&node)? {
                NodeState::Succeeded { output, .. } => Some((*id, output.clone())),
                _ => None,
            }
        })
    }
}

/// Whether the newest run ended with a failed boot, and no run was begun since.
fn boot_failed(known: &Known) -> bool {
    let failed = |result: &RunResult| matches!(result, RunResult::Failed(failure) if failure.class == FailureClass::Failed);
    let last = known.state.last.as_ref();
    known.state.active.is_none() && last.is_some_and(|last| failed(&last.result))
}
