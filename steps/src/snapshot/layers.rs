//! Layers that the guest writes into while its disks are copied, and how they are merged.

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

/// How often to poll the progress of a merge.
const POLL: Duration = Duration::from_millis(250);
/// An attempt gives a merge up after this long without progress.
const STALL: Duration = Duration::from_secs(300);

/// The state of the step that is saved between attempts, outside the journal.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    /// The copies that are whole since this run added the layers; `None` if it has not added any.
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

/// The target name of the disk with this file: in the live definition, else in the stored one.
pub(super) fn target<'d>(domain: &'d DomainInfo, path: &str) -> Option<&'d str> {
    let shape = domain.live.as_ref().unwrap_or(&domain.stored);
    let mut disks = shape.disks.iter();
    let disk = disks.find(|disk| disk.source == path)?;
    Some(&disk.target)
}

/// The path of a layer: in the folder of its disk.
pub(super) fn beside(disk: &str, layer: &VolumeKey) -> String {
    let folder = disk.rsplit_once('/').map_or("", |(folder, _)| folder);
    format!("{folder}/{}", layer.name)
}

impl Disks<'_> {
    /// Whether a layer of this snapshot exists, or the guest's definition names one.
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

    /// Merges every layer of this snapshot into its disk, and deletes its file. If the guest is off, it
    /// is started suspended for the merge, and turned off again at the end.
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

    /// The domain, unless the host holds it: an earlier call to add layers may still be in progress after
    /// its caller ended. The layers then appear at its end, which can be minutes later if memory is saved
    /// first.
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

    /// The path of the layer; `None` if the disk itself was deleted, for example with its VSI.
    async fn path_of(&self, disk: &DiskCopy, layer: &VolumeKey) -> Result<Option<String>, Failure> {
        let volume = self.ports.storage.volume(&disk.volume).await?;
        Ok(volume.map(|volume| beside(&volume.path, layer)))
    }

    /// Merges one layer; returns whether there was one to merge.
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

    /// The guest whose definition names the layer, and the disk's target name.
    async fn written_into(&self, path: &str) -> Result<Option<(DomainInfo, String)>, Failure> {
        let domain = self.domain().await?;
        Ok(domain.and_then(|domain| {
            let target = target(&domain, path)?.to_owned();
            Some((domain, target))
        }))
    }

    /// Begins the merge, or ends it if it is done; returns its progress.
    async fn work_on(&self, target: &str, what: &str) -> Result<u64, Failure> {
        let domains = &self.ports.domains;
        // The guest may stop between our observation and our call.
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

    /// Starts the guest suspended: it executes nothing, and its disks can be merged.
    async fn wake(&self, saved: &mut Saved) -> Result<(), Failure> {
        saved.woken = true;
        self.cx.save(saved).await?;
        match self.ports.domains.start_paused(self.uuid).await {
            Err(error) if error.kind != PortErrorKind::WrongState => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Turns off a guest that was started only to merge, unless it has been resumed since.
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

    /// Deletes the file of a layer that is no longer in use. If the guest's definition no longer exists,
    /// it is unknown what the layer holds, and the file is not deleted.
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
