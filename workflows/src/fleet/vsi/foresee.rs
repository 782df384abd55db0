//! What the guards of a host would refuse, for commands that only show what they would do.

use vsiflow_engine::model::Failure;
use vsiflow_steps::{guards, ports::VolumeKey};

use crate::{
    delete_vsi,
    fleet::{Fleet, FleetError, VsiHandle, index::Known},
    vsi_graph::BootDisks,
};

impl VsiHandle<'_> {
    /// Why a deletion of the VSI would be refused by its host now; `None` if nothing forbids it. Nothing is
    /// changed.
    ///
    /// # Errors
    /// When there is no such VSI.
    pub async fn deletion_refusal(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Failure>, FleetError> {
        let known = self.fleet.find(namespace, name, false).await?;
        let Some(state) = self.fleet.engine.entity(&known.entity) else {
            return Ok(None);
        };
        let volumes = delete_vsi::volumes(&known.record, &state).into_iter();
        let recorded = volumes.filter(|doomed| doomed.recorded);
        let keys: Vec<_> = recorded.map(|doomed| doomed.volume).collect();
        Ok(self.fleet.foreseen_refusal(&known, &keys).await)
    }
}

impl Fleet {
    /// Why the host would refuse to write the disks of the VSI again.
    pub(in crate::fleet) async fn rewrite_refusal(&self, known: &Known) -> Option<Failure> {
        let mut keys = vec![BootDisks::of(&known.record, &known.state.objects).current()];
        keys.extend(known.record.volumes());
        self.foreseen_refusal(known, &keys).await
    }

    async fn foreseen_refusal(&self, known: &Known, volumes: &[VolumeKey]) -> Option<Failure> {
        if volumes.is_empty() {
            return None;
        }
        let ports = match self.hosts.host(&known.record.vsi.host).await {
            Ok(ports) => ports,
            Err(error) => return Some(error.into()),
        };
        let journal = self.journal_id.clone();
        let cx = self.engine.question(known.entity.clone(), journal);
        let checked = guards::foresee(&cx, &ports, volumes, known.record.uid).await;
        checked.err()
    }
}
