//! Layers that the guest writes into while its disks below them are copied, and how they are merged.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{model::Failure, step::StepContext};

use super::{DiskCopy, SavedMemory, copy_disks::Copied, runs};
use crate::{
    error,
    guards::{self, DeletionCandidate},
    ownership,
    ports::{DomainInfo, DomainState, HostPorts, PortErrorKind, VolumeKey},
};

/// How often is looked how far a merge is.
const POLL: Duration = Duration::from_millis(250);
/// A merge that does not move for so long is given up for this attempt.
const STALL: Duration = Duration::from_secs(300);

/// What outlives an attempt, beside the journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    /// The copies that are whole, since this run laid the layers; none where it did not.
    #[serde(default)]
    pub(super) copied: Option<Vec<Copied>>,
    /// The guest's memory of the moment of the layers, once it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) memory: Option<SavedMemory>,
    /// Whether this run started the guest, suspended, only to merge.
    #[serde(default)]
    pub(super) woken: bool,
}

/// The disks of one guest.
#[derive(Clone, Copy)]
pub(super) struct Disks<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) uuid: Uuid,
    pub(super) disks: &'a [DiskCopy],
}

/// The name in the definition of the disk that is in this file: in what runs, else in what is
/// stored.
pub(super) fn target<'d>(domain: &'d DomainInfo, path: &str) -> Option<&'d str> {
    let shape = domain.live.as_ref().unwrap_or(&domain.stored);
    let mut disks = shape.disks.iter();
    let disk = disks.find(|disk| disk.source == path)?;
    Some(&disk.target)
}

/// The path of a layer: beside its disk.
pub(super) fn beside(disk: &str, layer: &VolumeKey) -> String {
    let folder = disk.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{}", layer.name)
}

impl Disks<'_> {
    /// Whether a layer of this snapshot is there, or the guest's definition names one.
    pub(super) async fn has_layers(&self) -> Result<bool, Failure> {
        let domain = self.released_domain().await?;
        for disk in self.disks {
            let Some(layer) = &disk.layer else { continue };
            if self.ports.storage.volume(layer).await?.is_some() {
                return Ok(true);
            }
            let Some(path) = self.path_of(disk, layer).await? else {
                continue;
            };
            let named = |of: &DomainInfo| target(of, &path).is_some();
            if domain.as_ref().is_some_and(named) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Merges every layer of this snapshot into its disk, and deletes its file. A guest that is off
    /// with a layer is started suspended for that, and is off again at the end.
    pub(super) async fn merge(&self, saved: &mut Saved) -> Result<Vec<String>, Failure> {
        let mut merged = Vec::new();
        self.released_domain().await?;
        for disk in self.disks {
            let Some(layer) = &disk.layer else { continue };
            if let Some(path) = self.path_of(disk, layer).await?
                && self.merge_one(disk, &path, saved).await?
            {
                merged.push(disk.disk.clone());
            }
            self.remove(disk, layer).await?;
        }
        self.end_if_woken(saved).await?;
        Ok(merged)
    }

    /// The domain, unless the host holds it: a call to lay layers whose caller is gone may be under way
    /// still, and they come to be at its end, minutes later where memory is saved first.
    async fn released_domain(&self) -> Result<Option<DomainInfo>, Failure> {
        let domain = self.domain().await?;
        let held = |of: &DomainInfo| of.state == DomainState::Held;
        if !domain.as_ref().is_some_and(held) {
            return Ok(domain);
        }
        Err(error::BUSY
            .failure("the host still works on the guest, such as on a snapshot of it")
            .on_host(self.ports.host.name())
            .of_object(format!("domain {}", self.uuid)))
    }

    async fn domain(&self) -> Result<Option<DomainInfo>, Failure> {
        ownership::own_domain(self.cx, self.ports, self.uuid).await
    }

    /// None where the disk itself is gone, such as with its VSI.
    async fn path_of(&self, disk: &DiskCopy, layer: &VolumeKey) -> Result<Option<String>, Failure> {
        let volume = self.ports.storage.volume(&disk.volume).await?;
        Ok(volume.map(|volume| beside(&volume.path, layer)))
    }

    /// Whether there was something to merge.
    async fn merge_one(
        &self,
        disk: &DiskCopy,
        path: &str,
        saved: &mut Saved,
    ) -> Result<bool, Failure> {
        let what = format!("merging disk {}", disk.disk);
        let (mut farthest, mut moved, mut merged) = (0, Instant::now(), false);
        while let Some((domain, target)) = self.written_into(path).await? {
            merged = true;
            match domain.state {
                DomainState::Running | DomainState::Paused => {}
                DomainState::ShutOff | DomainState::Crashed => {
                    self.wake(saved).await?;
                    continue;
                }
                _ => {
                    return Err(runs(
                        self.ports,
                        self.uuid,
                        "the guest is on its way up or down",
                    ));
                }
            }
            let done = self.work_on(&target, &what).await?;
            if done > farthest {
                (farthest, moved) = (done, Instant::now());
            }
            if moved.elapsed() > STALL {
                return Err(runs(
                    self.ports,
                    self.uuid,
                    "the merge of a layer does not move",
                ));
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(merged)
    }

    /// The guest whose definition names the layer, and the disk's name there.
    async fn written_into(&self, path: &str) -> Result<Option<(DomainInfo, String)>, Failure> {
        let domain = self.domain().await?;
        Ok(domain.and_then(|domain| {
            let target = target(&domain, path)?.to_owned();
            Some((domain, target))
        }))
    }

    /// Begins the merge, or ends it where it has come to its end; how far it is.
    async fn work_on(&self, target: &str, what: &str) -> Result<u64, Failure> {
        let domains = &self.ports.domains;
        // The guest may go down between our look and our call.
        let soft = |kind| {
            let kinds = [
                PortErrorKind::Busy,
                PortErrorKind::WrongState,
                PortErrorKind::Missing,
            ];
            kinds.contains(&kind)
        };
        let progress = match domains.merging(self.uuid, target).await {
            Err(error) if soft(error.kind) => return Ok(0),
            progress => progress?,
        };
        let acted = match progress {
            None => domains.begin_merge(self.uuid, target).await,
            Some(progress) => {
                self.cx.report(what, progress.done, Some(progress.total));
                if progress.done >= progress.total {
                    domains.end_merge(self.uuid, target).await
                } else {
                    Ok(())
                }
            }
        };
        match acted {
            Err(error) if !soft(error.kind) => Err(error.into()),
            _ => Ok(progress.map_or(0, |progress| progress.done)),
        }
    }

    /// Starts the guest suspended: it carries out nothing, and its disks can be merged.
    async fn wake(&self, saved: &mut Saved) -> Result<(), Failure> {
        saved.woken = true;
        self.cx.save(saved).await?;
        match self.ports.domains.start_paused(self.uuid).await {
            Err(error) if error.kind != PortErrorKind::WrongState => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A guest that was started only to merge goes off again, unless somebody had it run since.
    async fn end_if_woken(&self, saved: &mut Saved) -> Result<(), Failure> {
        if !saved.woken {
            return Ok(());
        }
        let state = self.domain().await?.map(|domain| domain.state);
        if state == Some(DomainState::Paused) {
            match self.ports.domains.destroy(self.uuid).await {
                Err(error) if error.kind != PortErrorKind::WrongState => return Err(error.into()),
                _ => {}
            }
        }
        saved.woken = false;
        self.cx.save(saved).await
    }

    /// Deletes the file of a layer that nobody writes into any more. Where the guest's definition is
    /// gone nobody can tell what is in it: it stays.
    async fn remove(&self, disk: &DiskCopy, layer: &VolumeKey) -> Result<(), Failure> {
        if self.ports.storage.volume(layer).await?.is_none() {
            return Ok(());
        }
        if self.domain().await?.is_none() {
            let message = format!(
                "the domain is gone, and a layer over disk {} is left",
                disk.disk
            );
            return Err(error::OWN_LAYER
                .failure(message)
                .on_host(self.ports.host.name())
                .of_object(format!("volume {layer}")));
        }
        let doomed = DeletionCandidate {
            key: layer,
            recorded: true,
            owner: None,
        };
        guards::remove(self.cx, self.ports, doomed).await.map(drop)
    }
}
