//! Layers that the guest writes into while its disks are copied, and how they are merged.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{model::Failure, step::StepContext};

use super::{DiskCopy, SavedMemory, copy_disks::Copied, runs};
use crate::{
    error, files,
    guards::{self, DeletionCandidate},
    names, ownership,
    ports::{
        DeletionGround, DiskJob, DiskSource, DomainInfo, DomainState, HostPorts, OwnerMark,
        PortErrorKind, VolumeInfo, VolumeKey,
    },
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
    /// The names of the layers whose merge this step ended.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) merged: BTreeSet<String>,
    /// What the step made, once all of it is whole. It is not made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) whole: Option<super::copy_disks::Output>,
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

/// A layer that is being merged into its disk.
struct LayerWork<'a> {
    disk: &'a DiskCopy,
    layer: &'a VolumeKey,
    /// The layer's path.
    path: String,
    /// The disk's path.
    base: String,
}

impl LayerWork<'_> {
    /// Whether the job merges the layer into its disk. The guest writes to the layer, so the job's file is
    /// all that can differ.
    fn is_merged_by(&self, job: &DiskJob) -> bool {
        let into = job.merges_into.as_deref();
        into.is_some_and(|into| files::plain(into) == files::plain(&self.base))
    }
}

/// How far a merge is.
enum MergeState {
    /// This much is done, in units of the host.
    Done(u64),
    /// This attempt ended it.
    Ended,
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
            if let Some(base) = self.ports.storage.volume(&disk.volume).await? {
                let work = LayerWork {
                    disk,
                    layer,
                    path: beside(&base.path, layer),
                    base: base.path,
                };
                if self.merge_one(&work, saved).await? {
                    merged.push(disk.disk.clone());
                }
            }
            self.remove(disk, layer, saved).await?;
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
    async fn merge_one(&self, work: &LayerWork<'_>, saved: &mut Saved) -> Result<bool, Failure> {
        let (mut farthest, mut moved, mut merged) = (0, Instant::now(), false);
        while let Some((domain, target)) = self.written_into(&work.path).await? {
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
            let progress = match self.work_on(&target, work).await? {
                MergeState::Done(progress) => progress,
                MergeState::Ended => {
                    saved.merged.insert(work.layer.name.clone());
                    self.cx.save(saved).await?;
                    continue;
                }
            };
            if progress > farthest {
                (farthest, moved) = (progress, Instant::now());
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

    /// Begins the merge, or ends it if it is done. A job that does not merge the layer into its disk is
    /// somebody else's: it is neither ended nor waited for.
    async fn work_on(&self, target: &str, work: &LayerWork<'_>) -> Result<MergeState, Failure> {
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
        let job = match domains.disk_job(self.uuid, target).await {
            Err(error) if soft(error.kind) => return Ok(MergeState::Done(0)),
            job => job?,
        };
        let (acted, state) = match job {
            None => {
                self.check_is_over(work).await?;
                let begun = domains.begin_merge(self.uuid, target).await;
                (begun, MergeState::Done(0))
            }
            Some(job) if !work.is_merged_by(&job) => return Err(self.foreign_job(target, &job)),
            Some(DiskJob { progress, .. }) => {
                let activity = format!("merging disk {}", work.disk.disk);
                self.cx
                    .report(&activity, progress.done, Some(progress.total));
                if progress.done < progress.total {
                    return Ok(MergeState::Done(progress.done));
                }
                let ended = domains.end_merge(self.uuid, target).await;
                let state = match &ended {
                    Ok(()) => MergeState::Ended,
                    Err(_) => MergeState::Done(progress.done),
                };
                (ended, state)
            }
        };
        match acted {
            Err(error) if !soft(error.kind) => Err(error.into()),
            _ => Ok(state),
        }
    }

    /// Checks that the layer is directly over its disk: a merge goes into the file directly below.
    async fn check_is_over(&self, work: &LayerWork<'_>) -> Result<(), Failure> {
        let volume = self.ports.storage.volume(work.layer).await?;
        let below = volume.and_then(|layer| Some(files::below(&layer.path, &layer.backing?)));
        match below {
            Some(below) if files::plain(&below) != files::plain(&work.base) => {
                let why = format!("it is over {below}, not over its disk {}", work.disk.volume);
                Err(self.unmerged(work.layer, &why))
            }
            _ => Ok(()),
        }
    }

    fn foreign_job(&self, target: &str, job: &DiskJob) -> Failure {
        let message = format!(
            "a job that is not the merge of this snapshot's layer works on disk {target}: {}",
            job.kind
        );
        error::BUSY
            .failure(message)
            .with_remedy(
                "Wait until the job ends, or end it with `virsh blockjob --abort`; vsiflow keeps trying.",
            )
            .on_host(self.ports.host.name())
            .of_object(format!("domain {}", self.uuid))
    }

    /// Starts the guest suspended: it executes nothing, and its disks can be merged.
    async fn wake(&self, saved: &mut Saved) -> Result<(), Failure> {
        saved.woken = true;
        self.cx.save(saved).await?;
        let permit = guards::permit_paused_start(self.cx, self.ports, self.uuid).await?;
        match self.ports.domains.start_paused(&permit).await {
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

    /// Deletes the file of a layer whose content is in its disk. If the guest's definition no longer exists,
    /// or names neither the layer nor the disk that this snapshot merged it into, the layer may have data
    /// that is in no other file, and is not deleted.
    async fn remove(
        &self,
        disk: &DiskCopy,
        layer: &VolumeKey,
        saved: &Saved,
    ) -> Result<(), Failure> {
        if self.ports.storage.volume(layer).await?.is_none() {
            return Ok(());
        }
        let Some(domain) = self.domain().await? else {
            let message = format!(
                "the domain is gone, and a layer over disk {} is left",
                disk.disk
            );
            return Err(error::OWN_LAYER
                .failure(message)
                .on_host(self.ports.host.name())
                .of_object(format!("volume {layer}")));
        };
        let is_merged = saved.merged.contains(&layer.name)
            || self.is_switched_back(&domain, disk, layer).await?;
        if !is_merged {
            let why =
                "no merge of it into its disk was recorded, and the definition does not name it";
            return Err(self.unmerged(layer, why));
        }
        let doomed = DeletionCandidate {
            key: layer,
            recorded: true,
            owner: None,
        };
        let removed = guards::remove(self.cx, self.ports, doomed, DeletionGround::Merged).await;
        removed.map(drop)
    }

    /// Whether the definition that got the layers names the disk again: a merge ended whose end was not
    /// recorded. An earlier definition that was written again does not have this snapshot in its mark.
    async fn is_switched_back(
        &self,
        domain: &DomainInfo,
        disk: &DiskCopy,
        layer: &VolumeKey,
    ) -> Result<bool, Failure> {
        let snapshot = domain.mark.as_ref().and_then(|mark| mark.snapshot);
        if snapshot.is_none() || snapshot != names::snapshot_of(&layer.name) {
            return Ok(false);
        }
        let base = self.ports.storage.volume(&disk.volume).await?;
        let names_base = |volume: &VolumeInfo| {
            let mut shapes = domain.shapes();
            shapes.all(|shape| shape.disks.iter().any(|d| d.source == volume.path))
        };
        Ok(base.as_ref().is_some_and(names_base))
    }

    fn unmerged(&self, layer: &VolumeKey, why: &str) -> Failure {
        error::UNMERGED_LAYER
            .failure(format!(
                "a layer of a snapshot may have data of its own: {why}"
            ))
            .on_host(self.ports.host.name())
            .of_object(format!("volume {layer}"))
    }

    /// Whether the guest still writes into a layer over each disk, so that the disks below do not change.
    pub(super) async fn are_frozen(&self) -> Result<bool, Failure> {
        let Some(domain) = self.domain().await? else {
            return Ok(false);
        };
        for disk in self.disks {
            let Some(layer) = &disk.layer else { continue };
            let path = self.path_of(disk, layer).await?;
            let is_over = |layer_path: String| domain.files.contains(&DiskSource::Path(layer_path));
            if !path.is_some_and(is_over) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes in the domain's mark that layers of this snapshot are about to be put over its disks.
    pub(super) async fn mark_layers(&self) -> Result<(), Failure> {
        let mut layers = self.disks.iter().filter_map(|disk| disk.layer.as_ref());
        let snapshot = layers.find_map(|layer| names::snapshot_of(&layer.name));
        let mark = self.domain().await?.and_then(|domain| domain.mark);
        match mark {
            Some(mark) if mark.snapshot != snapshot => {
                let mark = OwnerMark { snapshot, ..mark };
                Ok(self.ports.domains.set_mark(self.uuid, &mark).await?)
            }
            _ => Ok(()),
        }
    }
}
