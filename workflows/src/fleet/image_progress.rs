//! How far the uploads of images are, for the VSIs that wait for them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use vsiflow_engine::{Notice, model::EntityId};

use super::{Fleet, index::Known};
use crate::{provision_vsi, wanted::kind};

/// How far an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UploadProgress {
    /// Bytes that are on their way or there.
    pub bytes: u64,
    /// Bytes in all, where the source says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
}

/// The newest that steps told of images. Never persisted.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    newest: Mutex<BTreeMap<EntityId, UploadProgress>>,
}

impl Uploads {
    /// Takes in what steps tell until the engine ends.
    pub(super) async fn listen(self: Arc<Self>, mut notices: Receiver<Notice>) {
        loop {
            match notices.recv().await {
                Ok(Notice::Progress {
                    entity, progress, ..
                }) if entity.kind().as_str() == kind::IMAGE => {
                    let newest = UploadProgress {
                        bytes: progress.done,
                        total_bytes: progress.total,
                    };
                    let mut all = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
                    all.insert(entity, newest);
                }
                Ok(Notice::Ended) | Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    fn of(&self, image: &EntityId) -> Option<UploadProgress> {
        let all = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(image).copied()
    }
}

impl Fleet {
    /// How far the upload is that the VSI waits for, if this process sees to it.
    pub(super) fn upload_of(&self, known: &Known) -> Option<UploadProgress> {
        let image = provision_vsi::image(&known.wanted).entity().ok()?;
        let state = self.engine.entity(&image)?;
        state.active.as_ref().and_then(|_| self.uploads.of(&image))
    }
}
