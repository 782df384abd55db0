//! Base images for lists: one object for each volume, and one for an upload in progress.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vsiflow_engine::{
    journal::Offset,
    model::{EntityId, EntityState, Name, NodeState, RunId, Work},
    step::Step as _,
};
use vsiflow_steps::{
    image::{BaseImage, Claim, MarkWhole, RemoveImage, claim, remove},
    vsi::clone_boot_disk::BASE_IMAGE_NODE,
};

use crate::fleet::{
    Fleet, FleetError, ImageHandle, UploadProgress,
    disk::known::KnownDisk,
    history::listings::began,
    index::Known,
    unreadable::{LostEntity, UNREADABLE},
};
use crate::{
    data_disk,
    record::{ImageRecord, kind},
    remove_base_image::{self, UnwantedImage},
    spec::BootDiskMode,
    vsi_graph,
};

/// A base image on a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageObject {
    /// Its volume's name; the file name at its source, before it has a volume.
    pub name: String,
    /// Its entity. An image and its older contents have the same.
    pub uid: String,
    /// The host's id.
    pub host: String,
    /// The pool.
    pub pool: String,
    /// Where it comes from.
    pub url: String,
    /// `Pending`, `Uploading`, `Blocked`, `Partial`, `Ready`, `Superseded` (its source gives
    /// another content since) or `Deleting`.
    pub phase: String,
    /// What led to that.
    pub message: String,
    /// The volume's name, once there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// The file's length in bytes, once it is whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The SHA-256 of the file, as the host read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was first found whole, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// When it was last found whole, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified: Option<String>,
    /// VSIs that are not deleted and were made from it, or are to be.
    pub users: usize,
    /// How far its upload is, if this process sees to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<UploadProgress>,
    /// What the host's image policy says of it, where it has one and the image is unused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// When it was found whole last.
    #[serde(skip)]
    pub(in crate::fleet) verification: Option<ImageVerification>,
    /// Whether a VSI of this journal cannot do without it.
    #[serde(skip)]
    pub(in crate::fleet) needed: bool,
    /// Whether its removal was begun and did not come to its end.
    #[serde(skip)]
    pub(in crate::fleet) removal: bool,
}

impl ImageObject {
    /// The URL as documents write it, without the prefix that marks the images of a simulated host.
    pub fn document_url(&self) -> &str {
        self.url
            .strip_prefix(vsi_graph::SIMULATED)
            .unwrap_or(&self.url)
    }
}

/// When an image was found complete. The journal orders two of them: the clock may have been set back in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::fleet) struct ImageVerification {
    /// The offset of the run's first event.
    offset: Offset,
    /// When the run began, in milliseconds since the epoch.
    pub(in crate::fleet) at_ms: u64,
}

/// An image that was found complete.
pub(super) struct Whole {
    pub(super) image: BaseImage,
    first: RunId,
    last: RunId,
    verification: ImageVerification,
}

/// The user of an image: a VSI, or a data disk that is not made yet.
pub(super) struct User {
    /// The image that it is about to be made from; `None` if it is made.
    pub(super) pending: Option<EntityId>,
    from: Option<BaseImage>,
    is_overlay: bool,
}

impl User {
    /// Whether it was made from the image, or is about to be.
    fn uses(&self, entity: &EntityId, image: &BaseImage, newest: bool) -> bool {
        let is = |from: &BaseImage| from.host == image.host && from.key == image.key;
        self.from.as_ref().is_some_and(is) || newest && self.pending.as_ref() == Some(entity)
    }
}

impl ImageHandle<'_> {
    /// All base images that exist or are being uploaded.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(self) -> Result<Vec<ImageObject>, FleetError> {
        let mut users = Vec::new();
        for known in self.fleet.known().await?.iter().filter(|k| !k.is_deleted()) {
            users.push(self.fleet.user(known).await?);
        }
        users.extend(self.fleet.known_disks().await?.iter().filter_map(waiting));
        let mut images = Vec::new();
        let recorded = self.fleet.read_all::<ImageRecord>(kind::IMAGE).await?;
        let lost = self.fleet.named(recorded.lost).await;
        images.extend(lost.iter().map(lost_image));
        for (id, state, record) in recorded.read {
            if let Some(why) = self.fleet.poison(&id).await? {
                let message = format!("{why}. {}", why.remedy);
                let name = record.file_name.clone();
                images.push(object(&id, &record, name, UNREADABLE, message));
            } else {
                let whole = self.fleet.whole(&state).await?;
                let under_way = self
                    .fleet
                    .under_way(&id, &state, &record, &whole, &users)
                    .await?;
                let deleting_volume = self.fleet.deleting_volume(&state).await?;
                images.extend(settled(
                    &id,
                    &state,
                    &record,
                    whole,
                    &users,
                    deleting_volume.as_ref(),
                ));
                images.extend(under_way);
            }
        }
        images.sort_by(|a, b| (&a.host, &a.pool, &a.name).cmp(&(&b.host, &b.pool, &b.name)));
        self.fleet.note_policies(&mut images);
        Ok(images)
    }
}

impl Fleet {
    async fn user(&self, known: &Known) -> Result<User, FleetError> {
        let mut from = None;
        let runs = known.state.runs.iter().rev();
        // For an unreadable VSI the image is unknown; nothing is pruned in the meantime.
        for run in runs.filter(|_| known.unreadable.is_none()) {
            from = self.output(*run, BASE_IMAGE_NODE).await?;
            if from.is_some() {
                break;
            }
        }
        let pending = vsi_graph::image(&known.record).entity().ok();
        Ok(User {
            pending: pending.filter(|_| from.is_none() || !known.state.is_settled()),
            from,
            is_overlay: known.record.vsi.boot_disk.mode != BootDiskMode::Copy,
        })
    }

    /// The output of a node of a run, if it succeeded.
    async fn output<T: DeserializeOwned>(
        &self,
        run: RunId,
        node: &'static str,
    ) -> Result<Option<T>, FleetError> {
        let Some(run) = self.engine.run(run) else {
            return Ok(None);
        };
        let Some(NodeState::Succeeded { output, .. }) = run.nodes.get(&Name::of(node)) else {
            return Ok(None);
        };
        let bytes = self.blobs.get(output).await?;
        Ok(serde_json::from_slice(&bytes).ok())
    }

    /// The volume that a run confirmed as deleted, whichever attempt deleted it.
    async fn removed_by(&self, run: RunId) -> Result<Option<String>, FleetError> {
        let gone: Option<remove::Output> = self.output(run, RemoveImage::NAME).await?;
        let Some(run) = gone.and_then(|_| self.engine.run(run)) else {
            return Ok(None);
        };
        let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
        let mut params = nodes.filter_map(|node| match &node.work {
            Work::Step { step, params, .. } if step.as_str() == RemoveImage::NAME => Some(params),
            _ => None,
        });
        let Some(params) = params.next() else {
            return Ok(None);
        };
        let params = serde_json::from_slice(&self.blobs.get(params).await?);
        Ok(params.ok().map(|params: remove::Params| params.volume.name))
    }

    /// The volume whose deletion was begun and is not finished.
    async fn deleting_volume(&self, state: &EntityState) -> Result<Option<String>, FleetError> {
        if !is_leaving(state) || state.is_settled() {
            return Ok(None);
        }
        let unwanted: Option<UnwantedImage> = self.read_record(state).await?;
        Ok(unwanted.map(|unwanted| unwanted.volume.name))
    }

    /// The volumes that were found complete and not deleted since, the newest content last.
    pub(super) async fn whole(&self, state: &EntityState) -> Result<Vec<Whole>, FleetError> {
        let mut found = BTreeMap::<String, Whole>::new();
        for run in &state.runs {
            if let Some(name) = self.removed_by(*run).await? {
                found.remove(&name);
            }
            let Some(image) = self.output::<BaseImage>(*run, MarkWhole::NAME).await? else {
                continue;
            };
            let name = image.key.name.clone();
            let first = found.get(&name).map_or(*run, |whole| whole.first);
            let last = *run;
            let verification = ImageVerification {
                offset: self.engine.offset_of(last).unwrap_or_default(),
                at_ms: last.0.timestamp_ms(),
            };
            let whole = Whole {
                image,
                first,
                last,
                verification,
            };
            found.insert(name, whole);
        }
        let mut found: Vec<_> = found.into_values().collect();
        found.sort_by_key(|whole| whole.verification);
        Ok(found)
    }

    /// The upload that is in progress or waits, unless its content turned out to be on the host already.
    async fn under_way(
        &self,
        id: &EntityId,
        state: &EntityState,
        record: &ImageRecord,
        whole: &[Whole],
        users: &[User],
    ) -> Result<Option<ImageObject>, FleetError> {
        let (phase, message) = phase(state);
        if is_leaving(state) || phase == "Ready" || phase == "Deleted" {
            return Ok(None);
        }
        let newest = state.runs.last();
        let claimed: Option<claim::Output> = match newest {
            Some(run) => self.output(*run, Claim::NAME).await?,
            None => None,
        };
        // Until the source was asked, an existing volume may be the desired one.
        let known = claimed.as_ref().is_none_or(|claim| claim.whole.is_some());
        if known && !whole.is_empty() && phase == "Uploading" {
            return Ok(None);
        }
        let waits = |user: &&User| user.from.is_none() && user.pending.as_ref() == Some(id);
        let users = users.iter().filter(waits).count();
        let volume = claimed.map(|claim| claim.volume.name);
        if phase == "Partial" && volume.is_none() {
            // The upload was given up before it had a volume.
            return Ok(None);
        }
        let name = volume.clone().unwrap_or_else(|| record.file_name.clone());
        Ok(Some(ImageObject {
            volume,
            users,
            needed: users > 0,
            progress: match self.progress_of(id) {
                None => self.recorded_progress(id, state).await?,
                seen => seen,
            },
            ..object(id, record, name, &phase, message)
        }))
    }
}

/// A data disk that is not made yet as a user of the image that it is filled with. It no longer needs the
/// image once it is made.
pub(super) fn waiting(disk: &KnownDisk) -> Option<User> {
    let goes = disk.is_deleted() || disk.is_deleting();
    let image = data_disk::image(&disk.record.disk).filter(|_| !goes && !disk.is_made())?;
    Some(User {
        pending: image.entity().ok(),
        from: None,
        is_overlay: false,
    })
}

/// The images that exist.
fn settled(
    id: &EntityId,
    state: &EntityState,
    record: &ImageRecord,
    whole: Vec<Whole>,
    users: &[User],
    deleting_volume: Option<&String>,
) -> Vec<ImageObject> {
    let newest = whole.len().saturating_sub(1);
    let objects = whole.into_iter().enumerate().map(|(at, whole)| {
        let is_newest = at == newest;
        let Whole {
            image,
            first,
            last,
            verification,
        } = whole;
        let users: Vec<_> = users
            .iter()
            .filter(|user| user.uses(id, &image, is_newest))
            .collect();
        let removal = deleting_volume == Some(&image.key.name);
        let phase = match is_newest {
            _ if removal && state.active.is_some() => "Deleting",
            true => "Ready",
            false => "Superseded",
        };
        ImageObject {
            volume: Some(image.key.name.clone()),
            size: Some(image.size),
            sha256: Some(image.sha256),
            created: Some(began(first)),
            verified: Some(began(last)),
            verification: Some(verification),
            needed: users.iter().any(|user| is_newest || user.is_overlay),
            users: users.len(),
            removal,
            ..object(id, record, image.key.name, phase, String::new())
        }
    });
    objects.collect()
}

/// An image whose record cannot be read: its host is unknown.
fn lost_image(lost: &LostEntity) -> ImageObject {
    let (_, file_name) = lost.place();
    let unknown = ImageRecord {
        host: String::new(),
        pool: String::new(),
        url: String::new(),
        file_name: file_name.clone(),
        checksum: None,
    };
    object(
        &lost.entity,
        &unknown,
        file_name,
        UNREADABLE,
        lost.description(),
    )
}

fn object(
    id: &EntityId,
    record: &ImageRecord,
    name: String,
    phase: &str,
    message: String,
) -> ImageObject {
    ImageObject {
        name,
        uid: id.id().to_owned(),
        host: record.host.clone(),
        pool: record.pool.clone(),
        url: crate::spec::image::shown(&record.url),
        phase: phase.to_owned(),
        message,
        volume: None,
        size: None,
        sha256: None,
        created: None,
        verified: None,
        users: 0,
        progress: None,
        policy: None,
        verification: None,
        needed: false,
        removal: false,
    }
}

fn phase(state: &EntityState) -> (String, String) {
    match &state.state {
        Some((phase, detail)) => (phase.to_string(), detail.to_string()),
        None => ("Pending".to_owned(), String::new()),
    }
}

/// Whether the newest desired state of the image is the deletion of a volume.
pub(super) fn is_leaving(state: &EntityState) -> bool {
    let desired = state.desired.as_ref();
    desired.is_some_and(|desired| desired.workflow.as_str() == remove_base_image::NAME)
}
