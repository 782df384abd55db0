//! What documents retain although it is recorded to be deleted with its object: the document was edited and not applied.

use std::collections::BTreeSet;

use crate::{
    fleet::{ErrorKind, Fleet, FleetError, disk::known::KnownDisk},
    record::kind,
    spec::{DeletionPolicy, Resolved, ResolvedPool},
};

/// An object that a document retains more of than its record does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetainedByDocument {
    /// Its kind: `vsi`, `disk`, `pool` or `group`.
    pub kind: &'static str,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
}

impl RetainedByDocument {
    fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }
}

impl Fleet {
    /// The objects of these documents of which a deletion by name would delete what their documents retain. Objects of
    /// other journals are left out.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn retained_by_documents(
        &self,
        resolved: &Resolved,
    ) -> Result<Vec<RetainedByDocument>, FleetError> {
        let mut retained = self.vsis_and_disks_retained(resolved).await?;
        retained.extend(self.retained_with_members(resolved).await?);
        Ok(retained)
    }

    /// Those of them that have members.
    ///
    /// # Errors
    /// As for [`Fleet::retained_by_documents`].
    pub async fn retained_with_members(
        &self,
        resolved: &Resolved,
    ) -> Result<Vec<RetainedByDocument>, FleetError> {
        let mut retained = Vec::new();
        for pool in &resolved.pools {
            let (namespace, name) = (&pool.desired.namespace, &pool.desired.name);
            if self.goes_with_members(pool).await? {
                retained.push(RetainedByDocument::new(kind::POOL, namespace, name));
            }
        }
        for group in &resolved.groups {
            for item in group.items() {
                if self.goes_with_members(&item.pool).await? {
                    let (namespace, name) = (&group.namespace, &group.name);
                    retained.push(RetainedByDocument::new(kind::GROUP, namespace, name));
                    break;
                }
            }
        }
        Ok(retained)
    }

    async fn vsis_and_disks_retained(
        &self,
        resolved: &Resolved,
    ) -> Result<Vec<RetainedByDocument>, FleetError> {
        let mut retained = Vec::new();
        for vsi in resolved.vsis.iter().map(|vsi| &vsi.desired) {
            if vsi.deletion_policy != DeletionPolicy::Retain {
                continue;
            }
            let names = std::iter::once(vsi.name.clone());
            let named = self.known_of_names(&vsi.namespace, names).await?;
            let mut living = named.iter().filter(|known| !known.is_deleted());
            if living.any(|known| !known.is_retained()) {
                retained.push(RetainedByDocument::new(
                    kind::VSI,
                    &vsi.namespace,
                    &vsi.name,
                ));
            }
        }
        for disk in &resolved.data_disks {
            if disk.deletion_policy != DeletionPolicy::Retain {
                continue;
            }
            let named = self.disks_named(&disk.namespace, &disk.name).await?;
            let goes = |known: &KnownDisk| {
                let policy = known.record.disk.deletion_policy;
                !known.is_deleted() && policy == DeletionPolicy::Delete
            };
            if named.iter().any(goes) {
                retained.push(RetainedByDocument::new(
                    kind::DISK,
                    &disk.namespace,
                    &disk.name,
                ));
            }
        }
        Ok(retained)
    }

    /// Whether data disks that the document of a pool retains are recorded to go with its members.
    async fn goes_with_members(&self, pool: &ResolvedPool) -> Result<bool, FleetError> {
        let disks = pool.desired.disks.iter();
        let retained = disks.filter(|disk| disk.deletion_policy == DeletionPolicy::Retain);
        let retained: BTreeSet<_> = retained.map(|disk| disk.name.clone()).collect();
        if retained.is_empty() {
            return Ok(false);
        }
        let (namespace, name) = (&pool.desired.namespace, &pool.desired.name);
        match self.pools().deleted_disk_templates(namespace, name).await {
            Ok(going) => Ok(!going.is_disjoint(&retained)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
