//! What documents retain although it is recorded to be deleted with its object: the document was edited and not applied.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    fleet::{ErrorKind, Fleet, FleetError},
    spec::{DeletionPolicy, ResolvedPool},
};

/// The data disks of members that the document of a pool, or of a pool of a group, retains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetainedTemplates {
    /// The namespace.
    pub namespace: String,
    /// The name of the pool.
    pub pool: String,
    /// The names of the disks in its template.
    pub disks: BTreeSet<String>,
}

impl RetainedTemplates {
    /// What the document of a pool retains; `None` if it retains nothing.
    pub fn of(pool: &ResolvedPool) -> Option<Self> {
        let templates = pool.desired.disks.iter();
        let retained = templates.filter(|disk| disk.deletion_policy == DeletionPolicy::Retain);
        let disks: BTreeSet<_> = retained.map(|disk| disk.name.clone()).collect();
        (!disks.is_empty()).then(|| Self {
            namespace: pool.desired.namespace.clone(),
            pool: pool.desired.name.clone(),
            disks,
        })
    }
}

impl Fleet {
    /// Whether data disks that a document retains are recorded to go with the members of its pool.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn would_delete_retained(
        &self,
        retained: &RetainedTemplates,
    ) -> Result<bool, FleetError> {
        let RetainedTemplates {
            namespace,
            pool,
            disks,
        } = retained;
        match self.pools().deleted_disk_templates(namespace, pool).await {
            Ok(deleted) => Ok(!deleted.is_disjoint(disks)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
