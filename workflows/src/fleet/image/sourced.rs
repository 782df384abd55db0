//! The images of one source on each pool, and the outcome of their uploads.

use std::collections::BTreeSet;

use vsiflow_engine::model::EntityId;

use crate::{
    fleet::{Fleet, FleetError, ImageHandle, Verdict},
    record::{ImageRecord, kind},
    vsi_graph,
};

use super::object::{is_leaving, waiting};

/// An image on a pool, from one source.
#[derive(Clone, Debug)]
pub struct SourcedImage {
    /// Its entity.
    pub entity: EntityId,
    /// The host's id.
    pub host: String,
    /// The pool.
    pub pool: String,
    /// The checksum that documents name, `sha256:…`.
    pub checksum: Option<String>,
    /// The SHA-256 of the host's volume, if the host has it.
    pub sha256: Option<String>,
    /// The outcome, if it is decided.
    pub verdict: Option<Verdict>,
}

impl ImageHandle<'_> {
    /// The images of this URL, except those that are to be deleted.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn of_source(self, url: &str) -> Result<Vec<SourcedImage>, FleetError> {
        let fleet: &Fleet = self.fleet;
        let mut found = Vec::new();
        for (entity, state, record) in fleet.all_desired::<ImageRecord>(kind::IMAGE).await? {
            if record.url != url || is_leaving(&state) {
                continue;
            }
            let whole = fleet.whole(&state).await?;
            found.push(SourcedImage {
                verdict: fleet.verdict(&entity),
                sha256: whole.last().map(|whole| whole.image.sha256.clone()),
                host: record.host,
                pool: record.pool,
                checksum: record.checksum,
                entity,
            });
        }
        found.sort_by(|a, b| (&a.host, &a.pool, &a.checksum).cmp(&(&b.host, &b.pool, &b.checksum)));
        Ok(found)
    }
    /// Filters the images to those that a VSI or a data disk names now. An image stays on its pool after
    /// its documents are deleted, and so does the record of one that was never uploaded.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn named_today(
        self,
        mut images: Vec<SourcedImage>,
    ) -> Result<Vec<SourcedImage>, FleetError> {
        let fleet: &Fleet = self.fleet;
        let mut named = BTreeSet::new();
        for known in fleet.known().await?.iter().filter(|k| !k.is_deleted()) {
            named.extend(vsi_graph::image(&known.record).entity().ok());
        }
        let disks = fleet.known_disks().await?;
        let waiting = disks.iter().filter_map(waiting);
        named.extend(waiting.filter_map(|user| user.pending));
        images.retain(|image| named.contains(&image.entity));
        Ok(images)
    }
}
