//! Copies the disks of a VSI for a snapshot.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, FailureClass},
    step::{Done, Observed, Step, StepContext},
};

use super::{
    DiskCopy, SavedMemory, copy, found,
    layers::{self, Disks, Saved},
    memory, runs, without_memory,
};
use crate::{
    error,
    guards::{self, DeletionCandidate},
    ownership,
    ports::{
        DomainInfo, DomainState, HostPorts, Hosts, LayerSpec, PortErrorKind, VolumeInfo, VolumeKey,
    },
};

/// Copies each disk of a guest on the host: all copies are of one moment.
///
/// Of a guest that is off it holds that no disk changed meanwhile. A guest that runs gets a layer over
/// each disk, all at one moment, and writes into these from then on; the disks below stay as they are
/// and are copied. The layers stay until [`MergeLayers`](super::MergeLayers), which begins only once
/// that all copies are whole is recorded.
///
/// A crash in its middle leaves layers or none, and some copies, whole or half. That this run laid
/// the layers, and which copies are whole, is saved after each. Where it is not, nobody can tell
/// whether the disks below are still of one moment: the next attempt merges what layers there are,
/// and begins anew. Where the step is refused it leaves no copy and no layer.
///
/// Memory that is to be saved is saved with the layers, in one call, while the guest stands still. It is
/// whole once it is synced and hashed and that is saved; before that the next attempt begins anew.
pub struct CopyDisks {
    hosts: Arc<dyn Hosts>,
}

/// What [`CopyDisks`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's id.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// Its disks, and their copies.
    pub disks: Vec<DiskCopy>,
    /// Whether the guest's agent holds its file systems still for the moment of the snapshot.
    #[serde(default)]
    pub quiesce: bool,
    /// Why the guest must be off; none where it may run.
    #[serde(default)]
    pub off_because: Option<String>,
    /// Where the guest's memory is saved, beside its boot disk, which is the first; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<VolumeKey>,
}

/// What [`CopyDisks`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The copies, in order.
    pub copies: Vec<Copied>,
    /// Whether the guest ran at that moment.
    #[serde(default)]
    pub running: bool,
    /// The guest's memory of that moment, where it was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<SavedMemory>,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// What people call the disk.
    pub disk: String,
    /// The path of the copy on the host.
    pub path: String,
    /// The size the guest sees, in bytes.
    pub capacity: u64,
    /// Bytes taken on the host.
    pub allocation: u64,
}

impl CopyDisks {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for CopyDisks {
    const NAME: &'static str = "copy_disks";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        for disk in &params.disks {
            for key in std::iter::once(&disk.copy).chain(&disk.layer) {
                guards::free_or_ours::<Output>(cx, &ports, key).await?;
            }
        }
        if let Some(key) = &params.memory {
            guards::free_or_ours::<Output>(cx, &ports, key).await?;
        }
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let work = CopyWork {
            cx,
            ports: &ports,
            params,
        };
        match work.run().await {
            Ok(output) => Ok(Done::created(output)),
            Err(failure) => {
                if failure.class != FailureClass::Transient {
                    work.discard().await?;
                }
                Err(failure)
            }
        }
    }
}

/// One attempt.
pub(super) struct CopyWork<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) params: &'a Params,
}

impl CopyWork<'_> {
    async fn run(&self) -> Result<Output, Failure> {
        let mut saved: Saved = self.cx.saved().await?.unwrap_or_default();
        if saved.copied.is_none() {
            self.thaw(&mut saved).await?;
            if !self.runs().await? {
                let copies = self.copy_still().await?;
                return Ok(Output {
                    copies,
                    running: false,
                    memory: None,
                });
            }
            self.freeze(&mut saved).await?;
        }
        self.measure(&mut saved).await?;
        let volumes = disks(self.ports, self.params).await?;
        let mut copies = saved.copied.clone().unwrap_or_default();
        let total = volumes.len() as u64;
        for (disk, volume) in self.params.disks.iter().zip(&volumes).skip(copies.len()) {
            let what = format!("copying disk {}", disk.disk);
            self.cx.report(&what, copies.len() as u64, Some(total));
            copies.push(self.copy(disk, volume).await?);
            saved.copied = Some(copies.clone());
            self.cx.save(&saved).await?;
        }
        Ok(Output {
            copies,
            running: true,
            memory: saved.memory,
        })
    }

    /// Whether the guest runs, and may.
    async fn runs(&self) -> Result<bool, Failure> {
        let domain = ownership::own_domain(self.cx, self.ports, self.params.uuid).await?;
        without_memory(self.ports, domain.as_ref())?;
        let uuid = self.params.uuid;
        match domain.map(|domain| domain.state) {
            None | Some(DomainState::ShutOff | DomainState::Crashed) => Ok(false),
            Some(DomainState::Paused) if self.params.memory.is_some() => {
                let why = "the guest is suspended; its memory is saved while it runs";
                Err(refused(self.ports, uuid, why))
            }
            Some(DomainState::Running | DomainState::Paused) => match &self.params.off_because {
                None => Ok(true),
                Some(why) => Err(refused(self.ports, uuid, why)),
            },
            Some(_) => Err(runs(self.ports, uuid, "the guest is on its way up or down")),
        }
    }

    /// What an earlier attempt left of layers is merged: the disks continue from there. Memory that it saved
    /// fits none of what they become.
    async fn thaw(&self, saved: &mut Saved) -> Result<(), Failure> {
        let all = Disks {
            cx: self.cx,
            ports: self.ports,
            uuid: self.params.uuid,
            disks: &self.params.disks,
        };
        all.merge(saved).await?;
        self.remove_memory().await
    }

    /// Copies while the guest is off.
    async fn copy_still(&self) -> Result<Vec<Copied>, Failure> {
        let (ports, params) = (self.ports, self.params);
        if params.memory.is_some() {
            let why = "the guest is off: it has no memory that could be saved";
            return Err(refused(ports, params.uuid, why));
        }
        if params.quiesce {
            let why = "the guest is off: no agent can hold its file systems still";
            return Err(refused(ports, params.uuid, why));
        }
        let before = disks(ports, params).await?;
        unshared(self.cx, ports, params, &before).await?;
        enough_room(ports, params, &before, 0).await?;
        let (mut copies, total) = (Vec::new(), params.disks.len() as u64);
        for (disk, volume) in params.disks.iter().zip(&before) {
            let what = format!("copying disk {}", disk.disk);
            self.cx.report(&what, copies.len() as u64, Some(total));
            copies.push(self.copy(disk, volume).await?);
        }
        let still = !self.runs().await? && disks(ports, params).await? == before;
        if still {
            Ok(copies)
        } else {
            let why = "its disks changed while they were copied";
            Err(runs(ports, params.uuid, why))
        }
    }

    /// From this moment on the guest writes into layers.
    async fn freeze(&self, saved: &mut Saved) -> Result<(), Failure> {
        let (ports, params) = (self.ports, self.params);
        let volumes = disks(ports, params).await?;
        unshared(self.cx, ports, params, &volumes).await?;
        let domain = ownership::own_domain(self.cx, ports, params.uuid).await?;
        let memory = params.memory.as_ref().and(domain.as_ref());
        let memory = memory.map_or(0, memory::at_most);
        enough_room(ports, params, &volumes, memory).await?;
        let layers = self.layers(domain.as_ref(), &volumes)?;
        self.whole_machine(domain.as_ref(), &layers)?;
        let laid = self.lay(&layers, &volumes).await;
        laid.map_err(|error| match error.kind {
            PortErrorKind::Rejected => refused(ports, params.uuid, &error.message),
            _ => error.into(),
        })?;
        (saved.copied, saved.memory) = (Some(Vec::new()), None);
        self.cx.save(saved).await
    }

    fn layers(
        &self,
        domain: Option<&DomainInfo>,
        volumes: &[VolumeInfo],
    ) -> Result<Vec<LayerSpec>, Failure> {
        let (ports, params) = (self.ports, self.params);
        let mut all = Vec::new();
        for (disk, volume) in params.disks.iter().zip(volumes) {
            let named = domain.and_then(|d| layers::target(d, &volume.path));
            match (named, &disk.layer) {
                (Some(target), Some(layer)) => all.push(LayerSpec {
                    target: target.to_owned(),
                    path: layers::beside(&volume.path, layer),
                }),
                _ => {
                    let why = format!("the guest does not have disk {}", disk.disk);
                    return Err(refused(ports, params.uuid, &why));
                }
            }
        }
        Ok(all)
    }

    async fn copy(&self, disk: &DiskCopy, volume: &VolumeInfo) -> Result<Copied, Failure> {
        let made = copy(self.cx, self.ports, volume, own(disk)).await?;
        Ok(Copied {
            disk: disk.disk.clone(),
            path: made.path,
            capacity: made.capacity,
            allocation: made.allocation,
        })
    }

    /// Where it is refused nothing stays on the host.
    async fn discard(&self) -> Result<(), Failure> {
        let mut saved: Saved = self.cx.saved().await?.unwrap_or_default();
        (saved.copied, saved.memory) = (None, None);
        self.cx.save(&saved).await?;
        self.thaw(&mut saved).await?;
        for disk in &self.params.disks {
            guards::remove(self.cx, self.ports, own(disk)).await?;
        }
        Ok(())
    }
}

pub(super) fn refused(ports: &HostPorts, uuid: Uuid, why: &str) -> Failure {
    error::SNAPSHOT_REFUSED
        .failure(why)
        .on_host(ports.host.name())
        .of_object(format!("domain {uuid}"))
}

async fn disks(ports: &HostPorts, params: &Params) -> Result<Vec<VolumeInfo>, Failure> {
    let mut volumes = Vec::new();
    for disk in &params.disks {
        volumes.push(found(ports, &disk.volume, "the disk is not there").await?);
    }
    Ok(volumes)
}

/// Nobody else writes to these disks, and no layer that is not ours lies over one.
async fn unshared(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
    volumes: &[VolumeInfo],
) -> Result<(), Failure> {
    let domains = ports.domains.domains().await?;
    let others: Vec<&DomainInfo> = domains.iter().filter(|d| d.uuid != params.uuid).collect();
    for volume in volumes {
        let users = guards::users(ports, &others, volume, &[]).await?;
        if let Some(user) = users.first() {
            let message = format!("{} has the disk, too", ownership::called(cx, user));
            return Err(error::DISK_SHARED
                .failure(message)
                .on_host(ports.host.name())
                .of_object(format!("volume {}", volume.key)));
        }
    }
    guards::nothing_over(cx, ports, &volumes.iter().collect::<Vec<_>>()).await
}

/// A copy takes at most what its disk takes, unless that reads through to another file; the memory, what
/// it may come to.
async fn enough_room(
    ports: &HostPorts,
    params: &Params,
    volumes: &[VolumeInfo],
    memory: u64,
) -> Result<(), Failure> {
    let saved_in = params.memory.as_ref().map(|file| &file.pool);
    for pool in ports.storage.pools().await? {
        let of_pool = params.disks.iter().zip(volumes);
        let of_pool = of_pool.filter(|(disk, _)| disk.copy.pool == pool.name);
        let memory = Some(memory).filter(|_| saved_in == Some(&pool.name));
        let needed = of_pool.fold(memory.unwrap_or(0), |sum, (_, v)| {
            sum.saturating_add(v.allocation)
        });
        if needed > pool.available {
            let message = format!(
                "the snapshot takes {needed} bytes, and the pool has {} left",
                pool.available
            );
            return Err(error::NO_SPACE
                .failure(message)
                .on_host(ports.host.name())
                .of_object(format!("pool {}", pool.name)));
        }
    }
    Ok(())
}

/// A copy bears the UID of a snapshot of this journal, which had recorded that it is about to make it
/// or found nothing of its name.
fn own(disk: &DiskCopy) -> DeletionCandidate<'_> {
    DeletionCandidate {
        key: &disk.copy,
        recorded: true,
        owner: None,
    }
}
