//! Several fleets, looked at as one. An object is one fleet's alone, so that a list is the lists of all,
//! one after the other.

use std::sync::Arc;

use vsiflow_engine::model::Failure;
use vsiflow_workflows::fleet::{
    DiskObject, Fleet, FleetError, GroupObject, HostObject, ImageObject, NetworkObject,
    OtherJournal, PoolObject, QuotaObject, RunObject, ServerTypeObject, SnapshotObject, VsiObject,
    VsiSummary,
};

/// The fleets of the journals that are looked at: one, but for a set.
pub(crate) struct Fleets {
    all: Vec<Fleet>,
    /// The places of those that no process works on.
    unheld: Vec<usize>,
}

/// What all fleets list of a kind.
macro_rules! all {
    ($self:ident, $kind:ident $(, $argument:expr)?) => {{
        let mut all = Vec::new();
        for fleet in &$self.all {
            all.extend(fleet.$kind().list($($argument)?).await?);
        }
        Ok(all)
    }};
}

/// An object that one of the fleets knows; else what the last one says.
macro_rules! any {
    ($self:ident, $kind:ident, $find:ident, $namespace:ident, $name:ident) => {{
        let mut unknown = Ok(());
        for fleet in &$self.all {
            match fleet.$kind().$find($namespace, $name).await {
                Ok(_) => return Ok(()),
                Err(error) => unknown = Err(error),
            }
        }
        unknown
    }};
}

impl Fleets {
    /// These.
    pub(crate) fn new(fleets: Vec<Fleet>) -> Self {
        Self {
            all: fleets,
            unheld: Vec::new(),
        }
    }

    /// These, of which no process works on those at `unheld`.
    pub(crate) fn with_unheld(self, unheld: Vec<usize>) -> Self {
        Self { unheld, ..self }
    }

    /// All but one, as the one that has pools looks at them.
    fn others(&self, at: usize) -> Vec<OtherJournal<'_>> {
        let all = self.all.iter().enumerate();
        let others = all.filter(|(other, _)| *other != at);
        others
            .map(|(other, fleet)| OtherJournal {
                fleet,
                is_held: !self.unheld.contains(&other),
            })
            .collect()
    }

    /// Why no step is started in one of them.
    pub(crate) fn braked(&self) -> Option<Failure> {
        self.all.iter().find_map(Fleet::braked)
    }

    pub(crate) async fn vsi_summaries(
        &self,
        deleted: bool,
    ) -> Result<Vec<Arc<VsiSummary>>, FleetError> {
        let mut all: Vec<Arc<VsiSummary>> = Vec::new();
        for fleet in &self.all {
            all.extend(fleet.vsis().summaries(deleted).await?);
        }
        if self.all.len() > 1 {
            all.sort_by(|a, b| {
                let key =
                    |one: &VsiSummary| (one.metadata.namespace.clone(), one.metadata.name.clone());
                key(a).cmp(&key(b))
            });
        }
        Ok(all)
    }

    pub(crate) async fn vsis(&self, deleted: bool) -> Result<Vec<VsiObject>, FleetError> {
        let mut all: Vec<VsiObject> = Vec::new();
        for fleet in &self.all {
            all.extend(fleet.vsis().list(deleted).await?);
        }
        if self.all.len() > 1 {
            all.sort_by(|a, b| {
                let key =
                    |one: &VsiObject| (one.metadata.namespace.clone(), one.metadata.name.clone());
                key(a).cmp(&key(b))
            });
        }
        Ok(all)
    }

    pub(crate) async fn pools(&self, deleted: bool) -> Result<Vec<PoolObject>, FleetError> {
        let mut all = Vec::new();
        for (at, fleet) in self.all.iter().enumerate() {
            let others = self.others(at);
            all.extend(Box::pin(fleet.pools().list_over(deleted, &others)).await?);
        }
        Ok(all)
    }

    pub(crate) async fn groups(&self, deleted: bool) -> Result<Vec<GroupObject>, FleetError> {
        let mut all = Vec::new();
        for (at, fleet) in self.all.iter().enumerate() {
            let others = self.others(at);
            all.extend(Box::pin(fleet.groups().list_over(deleted, &others)).await?);
        }
        Ok(all)
    }

    pub(crate) async fn disks(&self, deleted: bool) -> Result<Vec<DiskObject>, FleetError> {
        all!(self, disks, deleted)
    }

    pub(crate) async fn snapshots(&self, deleted: bool) -> Result<Vec<SnapshotObject>, FleetError> {
        all!(self, snapshots, deleted)
    }

    pub(crate) async fn quota_objects(&self) -> Result<Vec<QuotaObject>, FleetError> {
        let mut all = Vec::new();
        for (at, fleet) in self.all.iter().enumerate() {
            let others = self.all.iter().enumerate();
            let others = others.filter(|(other, _)| *other != at);
            let others: Vec<_> = others.map(|(_, other)| other).collect();
            all.extend(fleet.quotas().list_over(&others).await?);
        }
        Ok(all)
    }

    pub(crate) async fn networks(&self) -> Result<Vec<NetworkObject>, FleetError> {
        all!(self, networks)
    }

    pub(crate) async fn host_objects(&self) -> Result<Vec<HostObject>, FleetError> {
        all!(self, hosts)
    }

    pub(crate) async fn server_types(&self) -> Result<Vec<ServerTypeObject>, FleetError> {
        all!(self, server_types)
    }

    pub(crate) async fn images(&self) -> Result<Vec<ImageObject>, FleetError> {
        all!(self, images)
    }

    pub(crate) fn runs(&self) -> Vec<RunObject> {
        self.all
            .iter()
            .flat_map(|fleet| fleet.history().runs())
            .collect()
    }

    /// Whether there is a VSI of that name.
    pub(crate) async fn get(&self, namespace: &str, name: &str) -> Result<(), FleetError> {
        any!(self, vsis, get, namespace, name)
    }

    /// Whether there is a pool of that name.
    pub(crate) async fn pool(&self, namespace: &str, name: &str) -> Result<(), FleetError> {
        any!(self, pools, find, namespace, name)
    }

    /// Whether there is a group of that name.
    pub(crate) async fn group(&self, namespace: &str, name: &str) -> Result<(), FleetError> {
        any!(self, groups, find, namespace, name)
    }

    /// Whether there is a data disk of that name.
    pub(crate) async fn disk(&self, namespace: &str, name: &str) -> Result<(), FleetError> {
        any!(self, disks, find, namespace, name)
    }

    /// Whether there is a snapshot of that name.
    pub(crate) async fn snapshot(&self, namespace: &str, name: &str) -> Result<(), FleetError> {
        any!(self, snapshots, find, namespace, name)
    }
}
