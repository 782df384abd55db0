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
    CopySum, DiskCopy, SavedMemory, copies, copy, found,
    layers::{self, Disks, Saved},
    memory, present, runs, without_memory,
};
use crate::{
    error,
    guards::{self, DeletionCandidate, own_disks},
    ownership,
    ports::{
        DeletionGround, DomainInfo, DomainState, HostPorts, Hosts, LayerSpec, PortErrorKind,
        VolumeInfo, VolumeKey,
    },
};

/// Copies each disk of a guest on the host: all copies are of the same moment.
///
/// If the guest is off, the step checks that no disk changed during the copy. A running guest gets a
/// layer over each disk, all at one moment, and then writes only into the layers; the disks below do not
/// change and are copied. The layers remain until [`MergeLayers`](super::MergeLayers), which begins only
/// once it is recorded that all copies are whole.
///
/// A crash during the step leaves layers or none, and some copies, whole or half. After each of them the
/// step saves that this run added the layers, and which copies are whole. Without that record it is
/// unknown whether the disks below are still of one moment: the next attempt merges existing layers and
/// starts over. It also starts over if something else merged the layers meanwhile. If the step is refused,
/// it leaves no copy and no layer.
///
/// The journal records the name of each file before one is made. Only such a file is made again or deleted.
///
/// Memory is saved with the layers, in one call, while the guest is stopped. It counts as whole once it
/// is synced and hashed and that is saved; before that the next attempt starts over.
pub struct CopyDisks {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`CopyDisks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// Its disks with their copies.
    pub disks: Vec<DiskCopy>,
    /// Whether the guest's agent freezes its file systems for the moment of the snapshot.
    #[serde(default)]
    pub quiesce: bool,
    /// Why the guest must be off; `None` if it may run.
    #[serde(default)]
    pub off_because: Option<String>,
    /// The volume for the guest's memory, beside the first disk, its boot disk; `None` if it is not
    /// saved.
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
    /// The guest's memory of that moment, if it was saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<SavedMemory>,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copied {
    /// The disk's name for people.
    pub disk: String,
    /// The path of the copy on the host.
    pub path: String,
    /// The size the guest sees, in bytes.
    pub capacity: u64,
    /// Bytes used on the host.
    pub allocation: u64,
    /// The copy's length and hash; `None` if an older version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sum: Option<CopySum>,
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
        let present = Params {
            disks: present(cx, &params.disks),
            ..params.clone()
        };
        let work = CopyWork {
            cx,
            ports: &ports,
            params: &present,
        };
        if let Some(output) = work.whole().await? {
            work.record_whole().await?;
            return Ok(Done::created(output));
        }
        work.claim(&*self.hosts).await?;
        match work.run().await {
            Ok(output) => {
                work.save_whole(&output).await?;
                work.record_whole().await?;
                Ok(Done::created(output))
            }
            Err(failure) => {
                if failure.class != FailureClass::Transient {
                    work.discard().await?;
                }
                Err(failure)
            }
        }
    }
}

/// One attempt of the step.
pub(super) struct CopyWork<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) params: &'a Params,
}

impl CopyWork<'_> {
    /// Records every file that the step makes, before it makes one. A file that is there although this journal did
    /// not begin it stays: a journal that was restored from a backup has a newer copy, which may have taken the
    /// snapshot.
    async fn claim(&self, hosts: &dyn Hosts) -> Result<(), Failure> {
        let cx = self.cx;
        for key in self.files() {
            let is_begun = guards::is_begun(cx, hosts, key, cx.intended_before);
            guards::is_free_or_ours(cx, self.ports, key, is_begun).await?;
            guards::record_begun(cx, key).await?;
        }
        Ok(())
    }

    /// The files of the snapshot.
    fn files(&self) -> impl Iterator<Item = &VolumeKey> {
        let copies = self.params.disks.iter().map(|disk| &disk.copy);
        copies.chain(&self.params.memory)
    }

    /// What an earlier attempt made, if all of it was whole, and this journal knows that it made it.
    async fn whole(&self) -> Result<Option<Output>, Failure> {
        if !self.files().all(|key| guards::is_recorded(self.cx, key)) {
            return Ok(None);
        }
        let saved: Option<Saved> = self.cx.saved().await?;
        Ok(saved.and_then(|saved| saved.whole))
    }

    async fn save_whole(&self, output: &Output) -> Result<(), Failure> {
        let mut saved: Saved = self.cx.saved().await?.unwrap_or_default();
        saved.whole = Some(output.clone());
        self.cx.save(&saved).await
    }

    /// Records what identifies the files. From now on they hold what a guest wrote, and only an order deletes them.
    async fn record_whole(&self) -> Result<(), Failure> {
        for key in self.files() {
            guards::record_made(self.cx, self.ports, key).await?;
        }
        Ok(())
    }

    async fn run(&self) -> Result<Output, Failure> {
        let mut saved: Saved = self.cx.saved().await?.unwrap_or_default();
        if saved.copied.is_some() && !self.layered().are_frozen().await? {
            // The copies so far are of another moment than the disks are now.
            self.forget_copies(&mut saved).await?;
        }
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
            let activity = format!("copying disk {}", disk.disk);
            self.cx.report(&activity, copies.len() as u64, Some(total));
            copies.push(self.copy(disk, volume).await?);
            saved.copied = Some(copies.clone());
            self.cx.save(&saved).await?;
        }
        if !self.layered().are_frozen().await? {
            self.forget_copies(&mut saved).await?;
            let why = "its layers were merged while its disks were copied";
            return Err(runs(self.ports, self.params.uuid, why));
        }
        Ok(Output {
            copies,
            running: true,
            memory: saved.memory,
        })
    }

    /// Whether the guest runs; an error if it must not.
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

    /// Merges the layers that an earlier attempt left. Memory that it saved does not fit the merged disks
    /// and is deleted.
    async fn thaw(&self, saved: &mut Saved) -> Result<(), Failure> {
        self.layered().merge(saved).await?;
        self.remove_memory().await
    }

    /// The disks with their layers.
    fn layered(&self) -> Disks<'_> {
        Disks {
            cx: self.cx,
            ports: self.ports,
            uuid: self.params.uuid,
            disks: &self.params.disks,
        }
    }

    async fn forget_copies(&self, saved: &mut Saved) -> Result<(), Failure> {
        (saved.copied, saved.memory) = (None, None);
        self.cx.save(saved).await
    }

    /// Copies the disks while the guest is off.
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
        let volumes = disks(ports, params).await?;
        unshared(self.cx, ports, params, &volumes).await?;
        enough_room(ports, params, &volumes, 0).await?;
        let (mut copies, total) = (Vec::new(), params.disks.len() as u64);
        for (disk, volume) in params.disks.iter().zip(&volumes) {
            let activity = format!("copying disk {}", disk.disk);
            self.cx.report(&activity, copies.len() as u64, Some(total));
            copies.push(self.copy(disk, volume).await?);
        }
        let is_unchanged = !self.runs().await? && disks(ports, params).await? == volumes;
        if is_unchanged {
            Ok(copies)
        } else {
            let why = "its disks changed while they were copied";
            Err(runs(ports, params.uuid, why))
        }
    }

    /// Adds the layers: after this moment the guest writes into them.
    async fn freeze(&self, saved: &mut Saved) -> Result<(), Failure> {
        let (ports, params) = (self.ports, self.params);
        let volumes = disks(ports, params).await?;
        unshared(self.cx, ports, params, &volumes).await?;
        let domain = ownership::own_domain(self.cx, ports, params.uuid).await?;
        let memory = (params.memory.as_ref().and(domain.as_ref())).map_or(0, memory::at_most);
        enough_room(ports, params, &volumes, memory).await?;
        let layers = self.layers(domain.as_ref(), &volumes)?;
        self.whole_machine(domain.as_ref(), &layers)?;
        saved.merged.clear();
        self.cx.save(saved).await?;
        self.layered().mark_layers().await?;
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
        let mut layers = Vec::new();
        for (disk, volume) in params.disks.iter().zip(volumes) {
            let named = domain.and_then(|d| layers::target(d, &volume.path));
            match (named, &disk.layer) {
                (Some(target), Some(layer)) => layers.push(LayerSpec {
                    target: target.to_owned(),
                    path: layers::beside(&volume.path, layer),
                }),
                _ => {
                    let why = format!("the guest does not have disk {}", disk.disk);
                    return Err(refused(ports, params.uuid, &why));
                }
            }
        }
        Ok(layers)
    }

    async fn copy(&self, disk: &DiskCopy, volume: &VolumeInfo) -> Result<Copied, Failure> {
        let copied = copy(
            self.cx,
            self.ports,
            volume,
            own(disk),
            DeletionGround::Scratch,
        )
        .await?;
        let sum = copies::measure(self.ports, &copied).await?;
        Ok(Copied {
            disk: disk.disk.clone(),
            path: copied.path,
            capacity: copied.capacity,
            allocation: copied.allocation,
            sum: Some(sum),
        })
    }

    /// Deletes everything that a refused snapshot has on the host.
    async fn discard(&self) -> Result<(), Failure> {
        let mut saved: Saved = self.cx.saved().await?.unwrap_or_default();
        self.forget_copies(&mut saved).await?;
        self.thaw(&mut saved).await?;
        for disk in &self.params.disks {
            guards::remove(self.cx, self.ports, own(disk), DeletionGround::Scratch).await?;
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

/// Checks that the guest has these disks themselves, that each is the file that the journal recorded, that no other
/// domain uses them, and that no foreign layer is over one.
async fn unshared(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
    volumes: &[VolumeInfo],
) -> Result<(), Failure> {
    let domains = ports.domains.domains().await?;
    if let Some(domain) = domains.iter().find(|d| d.uuid == params.uuid) {
        own_disks::has_all(cx, ports, domain, volumes).await?;
    }
    let other_domains: Vec<&DomainInfo> =
        domains.iter().filter(|d| d.uuid != params.uuid).collect();
    let listed = guards::active_volumes(ports).await?;
    for volume in volumes {
        guards::is_whole_disk(cx, ports, &volume.key)?;
        guards::is_the_recorded(cx, ports, volume).await?;
        let users = guards::users(ports, &other_domains, volume, &listed).await?;
        if let Some(user) = users.first() {
            let message = format!("{} has the disk, too", ownership::called(cx, user.domain));
            return Err(error::DISK_SHARED
                .failure(message)
                .on_host(ports.host.name())
                .of_object(format!("volume {}", volume.key)));
        }
    }
    guards::over(cx, ports, &volumes.iter().collect::<Vec<_>>(), &listed).await
}

/// Checks that each pool has room. A copy needs at most its disk's allocation, unless the disk has a
/// backing file; the memory needs at most `memory` bytes.
async fn enough_room(
    ports: &HostPorts,
    params: &Params,
    volumes: &[VolumeInfo],
    memory: u64,
) -> Result<(), Failure> {
    let saved_in = params.memory.as_ref().map(|file| &file.pool);
    for pool in ports.storage.pools().await? {
        let of_pool =
            (params.disks.iter().zip(volumes)).filter(|(disk, _)| disk.copy.pool == pool.name);
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

/// A copy that may be deleted. Its name has the UID of a snapshot of this journal, which recorded the
/// intent to make it or found no volume of this name.
fn own(disk: &DiskCopy) -> DeletionCandidate<'_> {
    DeletionCandidate {
        key: &disk.copy,
        recorded: true,
        owner: None,
    }
}
