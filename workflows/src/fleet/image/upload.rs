//! Uploads images ahead of time, removes unused ones, and removes claims.

use std::{collections::BTreeMap, sync::Arc};

use vsiflow_engine::{
    executor::{By, Drive},
    model::{EntityId, EntityState, Failure, Precedence},
};
use vsiflow_steps::{guards, image::remove, ports::VolumeKey};

use crate::fleet::{
    Fleet, FleetError, ImageHandle, ImageObject, store::DesiredUpdates, unreadable::DesiredReading,
};
use crate::{
    ensure_base_image,
    record::{ImageRecord, kind},
    remove_base_image::{self, UnwantedImage},
    spec::HostSettings,
};

/// The phases of images that are not worked on, except to delete them. A blocked upload continues only
/// after a person removes the obstacle, and a VSI that waits for it keeps it from being pruned.
const PRUNABLE: [&str; 5] = ["Ready", "Superseded", "Partial", "Blocked", "Deleting"];

impl ImageHandle<'_> {
    /// Records that the image is requested on its pool, and begins its upload.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn upload(
        self,
        host: HostSettings,
        image: &ImageRecord,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let entity = image
            .entity()
            .map_err(|error| FleetError::defect(error.to_string()))?;
        let mut updates = DesiredUpdates::default();
        self.fleet.host_update(host, &mut updates).await?;
        let state = self.fleet.engine.entity(&entity);
        // An upload in progress continues and is not started again; a deletion ends after its current step.
        let workflow = ensure_base_image::NAME;
        let active = state.as_ref().and_then(|state| state.active.as_ref());
        let precedence = match active {
            None => Some(Precedence::Queue),
            Some(active) if active.workflow.as_str() == workflow => None,
            Some(_) => Some(Precedence::Supersede),
        };
        if let Some(precedence) = precedence {
            updates.add(entity.clone(), workflow, precedence, image, None)?;
        }
        self.fleet.record(updates, by.clone()).await?;
        let these = vec![entity.clone()];
        self.fleet.engine.drive(Drive::These(these.clone())).await?;
        self.fleet.recheck(&these, &by).await?;
        Ok(entity)
    }

    /// The images with work that a crash or an interrupt left unfinished, with their names.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn interrupted(self) -> Result<Vec<(EntityId, String)>, FleetError> {
        let mut open = Vec::new();
        for (id, state) in self.fleet.entities_of(kind::IMAGE) {
            let newest = state.desired.as_ref().map(|desired| desired.generation);
            let begun = newest.is_some_and(|newest| newest == state.attempted);
            if self.fleet.engine.unreadable(&id).is_none()
                && (state.active.is_some() || !state.is_settled() && !begun)
                && let DesiredReading::Record(record) =
                    self.fleet.read_desired::<ImageRecord>(&id, &state).await?
            {
                open.push((id, record.file_name));
            }
        }
        Ok(open)
    }

    /// The images with unfinished work that have this name.
    ///
    /// # Errors
    /// When no image of this name is known, or the journal cannot be read.
    pub async fn interrupted_of(self, name: &str) -> Result<Vec<(EntityId, String)>, FleetError> {
        let named = self.fleet.images_named(name).await?;
        let mut open = self.interrupted().await?;
        open.retain(|(id, _)| named.iter().any(|(named, _)| named == id));
        Ok(open)
    }

    /// Gives up a blocked upload that has nothing on its host yet. It is no longer listed.
    ///
    /// # Errors
    /// When there is no such image, or the journal fails.
    pub async fn give_up(self, image: &ImageObject, by: By) -> Result<(), FleetError> {
        let missing = || FleetError::not_found("image", &image.name);
        let (entity, _) = self.fleet.image(image).ok_or_else(missing)?;
        self.fleet.cancel(entity, by).await.map(drop)
    }

    /// The images that no VSI of this journal needs, except the newest `keep` complete ones of each pool.
    /// Partial volumes of cancelled uploads and blocked uploads are included, and so are images whose
    /// deletion was begun and is not finished. Whether something else uses an image is checked on its host
    /// when it is deleted.
    ///
    /// # Errors
    /// When the journal cannot be read; `VSI0019` while an entity that may name an image cannot be read.
    pub async fn unneeded(self, keep: usize) -> Result<Vec<ImageObject>, FleetError> {
        self.fleet
            .refuse_while_unreadable("the removal of images")
            .await?;
        let mut newer_per_pool = BTreeMap::<(String, String), usize>::new();
        let mut images = self.list().await?;
        let is_idle = |image: &ImageObject| PRUNABLE.contains(&image.phase.as_str());
        images.retain(|image| !image.needed && is_idle(image));
        images.sort_by_key(|image| std::cmp::Reverse(image.verification));
        images.retain(|image| {
            if image.verified.is_none() || image.removal {
                return true;
            }
            let newer = newer_per_pool
                .entry((image.host.clone(), image.pool.clone()))
                .or_default();
            *newer = newer.saturating_add(1);
            *newer > keep
        });
        Ok(images)
    }

    /// Records that the image is to be deleted and begins the deletion, or resumes one that was begun.
    ///
    /// # Errors
    /// When there is no such image, or the journal fails.
    pub async fn remove(self, image: &ImageObject, by: By) -> Result<EntityId, FleetError> {
        self.fleet
            .refuse_while_unreadable("the removal of images")
            .await?;
        let missing = || FleetError::not_found("image", &image.name);
        let (entity, state) = self.fleet.image(image).ok_or_else(missing)?;
        let these = vec![entity.clone()];
        if image.removal && state.active.is_some() {
            self.fleet.engine.drive(Drive::These(these.clone())).await?;
            self.fleet.recheck(&these, &by).await?;
            return Ok(entity);
        }
        let unwanted = self
            .fleet
            .unwanted(image, &state)
            .await?
            .ok_or_else(missing)?;
        if state.active.is_some() {
            // A blocked upload would not end automatically.
            self.fleet.cancel(entity.clone(), by.clone()).await?;
        }
        let mut updates = DesiredUpdates::default();
        let workflow = remove_base_image::NAME;
        updates.add(entity.clone(), workflow, Precedence::Queue, &unwanted, None)?;
        self.fleet.record(updates, by).await?;
        self.fleet.engine.drive(Drive::These(these)).await?;
        Ok(entity)
    }

    /// Why a removal of the image would be refused now; `None` if the image would be deleted. Nothing is
    /// changed.
    ///
    /// # Errors
    /// When there is no such image, or the journal cannot be read.
    pub async fn removal_refusal(self, image: &ImageObject) -> Result<Option<Failure>, FleetError> {
        let missing = || FleetError::not_found("image", &image.name);
        let (entity, state) = self.fleet.image(image).ok_or_else(missing)?;
        let unwanted = self.fleet.unwanted(image, &state).await?;
        let volume = unwanted.ok_or_else(missing)?.volume;
        let cx = self
            .fleet
            .engine
            .question(entity, self.fleet.journal_id.clone());
        let host = image.host.clone();
        let params = remove::Params { host, volume };
        let checked = remove::check_removal(&cx, &self.fleet.hosts, &params).await;
        Ok(checked.err())
    }

    /// Deletes the claim on an image that is not complete, whoever made it. The image itself is left alone.
    /// Returns whether a claim was deleted.
    ///
    /// # Errors
    /// When the host cannot be asked, or the journal fails.
    pub async fn unlock(
        self,
        host: HostSettings,
        pool: &str,
        volume: &str,
        by: By,
    ) -> Result<bool, FleetError> {
        self.fleet.may_act()?;
        let id = host.id();
        let mut updates = DesiredUpdates::default();
        self.fleet.host_update(host, &mut updates).await?;
        self.fleet.record(updates, by).await?;
        let ports = self.fleet.hosts.host(&id).await.map_err(Failure::from)?;
        let key = VolumeKey {
            pool: pool.to_owned(),
            name: volume.to_owned(),
        };
        Ok(guards::remove_claim(&ports, &key).await?)
    }
}

impl Fleet {
    /// The images with this name, which is that of their volume or of the file at their source; deleted
    /// ones included.
    pub(in crate::fleet) async fn images_named(
        &self,
        name: &str,
    ) -> Result<Vec<(EntityId, Arc<EntityState>)>, FleetError> {
        let mut listed = self.images().list().await?;
        listed.retain(|image| image.name == name);
        let mut named = Vec::new();
        for (id, state, record) in self.all_desired::<ImageRecord>(kind::IMAGE).await? {
            let is_listed = listed.iter().any(|image| image.uid == id.id());
            if is_listed || record.file_name == name {
                named.push((id, state));
            }
        }
        if named.is_empty() {
            Err(FleetError::not_found("image", name))
        } else {
            Ok(named)
        }
    }

    pub(in crate::fleet) fn image(
        &self,
        image: &ImageObject,
    ) -> Option<(EntityId, Arc<EntityState>)> {
        let mut found = self.entities_of(kind::IMAGE).into_iter();
        found.find(|(id, _)| id.id() == image.uid)
    }

    /// The volume of an image as a deletion records it.
    async fn unwanted(
        &self,
        image: &ImageObject,
        state: &EntityState,
    ) -> Result<Option<UnwantedImage>, FleetError> {
        let record: Option<ImageRecord> = self.read_record(state).await?;
        let found = record.zip(image.volume.clone());
        Ok(found.map(|(unwanted, name)| UnwantedImage {
            volume: VolumeKey {
                pool: unwanted.pool.clone(),
                name,
            },
            image: unwanted,
        }))
    }
}
