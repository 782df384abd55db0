//! Erases secrets that nobody can name.

use std::collections::BTreeSet;

use vsiflow_engine::model::Name;

use super::{Fleet, FleetError};
use crate::record::{HostRecord, VsiRecord, kind};

impl Fleet {
    /// A secret is kept before what is wanted names it: a crash in between leaves one that no
    /// journal knows of. Nothing is under way yet when this is called, so none is about to be
    /// named. What the journal does name stays, until its last user says that it is erased.
    pub(super) async fn sweep_secrets(&self) -> Result<(), FleetError> {
        let kept = self.secrets.ids().await?;
        if kept.is_empty() {
            return Ok(());
        }
        let named = self.named_secrets().await?;
        for id in kept.iter().filter(|id| !named.contains(id)) {
            self.secrets.erase(id).await?;
        }
        Ok(())
    }

    async fn named_secrets(&self) -> Result<BTreeSet<Name>, FleetError> {
        let mut named = BTreeSet::new();
        for (_, state) in self.entities_of(kind::VSI) {
            let wanted = self.wanted::<VsiRecord>(&state).await?;
            named.extend(wanted.iter().flat_map(VsiRecord::secrets));
        }
        for (_, state) in self.entities_of(kind::HOST) {
            let wanted = self.wanted::<HostRecord>(&state).await?;
            named.extend(wanted.iter().flat_map(HostRecord::secrets));
        }
        Ok(named)
    }
}
