//! Base images, hosts and runs, for listings.

use serde::Serialize;
use vsiflow_engine::{
    model::{EntityState, Name, NodeState, RunId, RunPhase, RunResult, RunState},
    step::Step as _,
};
use vsiflow_steps::image::{BaseImage, MarkWhole};

use super::{Fleet, FleetError, object::rfc3339};
use crate::{
    provision_vsi,
    wanted::{WantedHost, WantedImage, kind},
};

/// A base image on a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageObject {
    /// Its file name.
    pub name: String,
    /// Its entity.
    pub uid: String,
    /// The host's id.
    pub host: String,
    /// The pool.
    pub pool: String,
    /// Where it comes from.
    pub url: String,
    /// `Uploading`, `Ready`, `Blocked`, `Partial`, `Pending`, `Deleting` or `Deleted`.
    pub phase: String,
    /// What led to that.
    pub message: String,
    /// The volume's name, once it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The file's length in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The SHA-256 of the file, as the host read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was last found whole, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// VSIs that are not deleted and boot from it.
    pub users: usize,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// All base images.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn images(&self) -> Result<Vec<ImageObject>, FleetError> {
        let mut images = Vec::new();
        let needed: Vec<_> = self
            .known()
            .await?
            .iter()
            .filter(|known| !known.is_deleted())
            .filter_map(|known| provision_vsi::image(&known.wanted).entity().ok())
            .collect();
        for (id, state) in self.entities_of(kind::IMAGE) {
            let Some(image) = self.wanted::<WantedImage>(&state).await? else {
                continue;
            };
            let (phase, message) = match &state.state {
                Some((phase, detail)) => (phase.to_string(), detail.to_string()),
                None => ("Pending".to_owned(), String::new()),
            };
            let whole = match phase.as_str() {
                "Ready" => self.whole(&state).await?,
                _ => None,
            };
            images.push(ImageObject {
                users: needed.iter().filter(|needed| **needed == id).count(),
                volume: whole.as_ref().map(|(_, image)| image.key.name.clone()),
                size: whole.as_ref().map(|(_, image)| image.size),
                sha256: whole.as_ref().map(|(_, image)| image.sha256.clone()),
                verified: whole.map(|(run, _)| began(run)),
                name: image.file_name,
                uid: id.id().to_owned(),
                host: image.host,
                pool: image.pool,
                url: image.url,
                phase,
                message,
            });
        }
        Ok(images)
    }

    /// The image as its newest successful run found it.
    async fn whole(&self, state: &EntityState) -> Result<Option<(RunId, BaseImage)>, FleetError> {
        let runs = state.runs.iter().rev();
        let outputs = runs.filter_map(|id| {
            let run = self.engine.run(*id)?;
            match run.nodes.get(&Name::of(MarkWhole::NAME)) {
                Some(NodeState::Succeeded { output, .. }) => Some((*id, output.clone())),
                _ => None,
            }
        });
        let Some((run, output)) = outputs.take(1).next() else {
            return Ok(None);
        };
        let bytes = self.blobs.get(&output).await?;
        Ok(serde_json::from_slice(&bytes)
            .ok()
            .map(|image| (run, image)))
    }

    /// All hosts.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn host_objects(&self) -> Result<Vec<HostObject>, FleetError> {
        let known = self.known().await?;
        let mut hosts = Vec::new();
        for (_, state) in self.entities_of(kind::HOST) {
            let Some(host) = self.wanted::<WantedHost>(&state).await? else {
                continue;
            };
            let name = host.record.id();
            let vsis = known
                .iter()
                .filter(|k| k.wanted.vsi.host == name && !k.is_deleted())
                .count();
            let transport = match &host.record {
                crate::spec::HostRecord::Ssh(_) => "ssh",
                crate::spec::HostRecord::Unix { .. } => "unix",
                crate::spec::HostRecord::Sim { .. } => "sim",
            };
            hosts.push(HostObject {
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

fn began(run: RunId) -> String {
    rfc3339(vsiflow_engine::model::Timestamp(run.0.timestamp_ms()))
}

fn phase(run: &RunState) -> &'static str {
    match &run.phase {
        RunPhase::New | RunPhase::Active => "Active",
        RunPhase::Paused => "Paused",
        RunPhase::Finished(RunResult::Succeeded) => "Succeeded",
        RunPhase::Finished(RunResult::Failed(_)) => "Failed",
        RunPhase::Finished(RunResult::Cancelled) => "Cancelled",
        RunPhase::Finished(RunResult::Superseded) => "Superseded",
    }
}
