//! Erases secrets that no record refers to.

use std::collections::BTreeSet;

use vsiflow_engine::model::Name;

use crate::fleet::{Fleet, FleetError, index::Known};
use crate::{
    group::GroupRecord,
    phase::is_gone,
    pool::PoolRecord,
    record::{HostRecord, kind},
};

impl Fleet {
    /// Erases unreferenced secrets at the start. A secret is stored before the desired state names it, so a
    /// crash in between leaves one that no journal knows of. Nothing is in progress yet when this is
    /// called, so no secret is about to be named. A secret that the journal names stays until its last user
    /// reports that it is erased. While an entity cannot be read, the secrets that it names are unknown,
    /// and all secrets stay.
    pub(in crate::fleet) async fn sweep_secrets(
        &self,
        known: &[Known],
        is_whole: bool,
    ) -> Result<(), FleetError> {
        let stored = self.secrets.ids().await?;
        if stored.is_empty() {
            return Ok(());
        }
        let of_hosts = self.secrets_of_hosts().await?;
        let is_whole = is_whole && self.engine.all_unreadable().is_empty();
        let of_pools = self.secrets_of_pools().await?;
        let of_groups = self.secrets_of_groups().await?;
        let all = of_hosts.zip(of_pools).zip(of_groups);
        let Some(((host_secrets, pool_secrets), group_secrets)) = all.filter(|_| is_whole) else {
            tracing::warn!("no secret is erased: something cannot be read, which may name it");
            return Ok(());
        };
        let of_vsis = known.iter().flat_map(|known| known.record.secrets());
        let named = of_vsis.chain(host_secrets).chain(pool_secrets);
        let named: BTreeSet<_> = named.chain(group_secrets).collect();
        for id in stored.iter().filter(|id| !named.contains(id)) {
            self.secrets.erase(id).await?;
        }
        Ok(())
    }

    /// `None` if not all of them can be read.
    async fn secrets_of_pools(&self) -> Result<Option<Vec<Name>>, FleetError> {
        let all = self.read_all::<PoolRecord>(kind::POOL).await?;
        let mut lost = all.lost.iter();
        let is_whole = lost.all(|(entity, state, _)| is_gone(entity, state));
        let there = all.read.iter();
        let there = there.filter(|(entity, state, _)| !is_gone(entity, state));
        let secrets = there.flat_map(|(_, _, pool)| pool.secrets());
        Ok(is_whole.then(|| secrets.collect()))
    }

    /// `None` if not all of them can be read.
    async fn secrets_of_groups(&self) -> Result<Option<Vec<Name>>, FleetError> {
        let all = self.read_all::<GroupRecord>(kind::GROUP).await?;
        let mut lost = all.lost.iter();
        let is_whole = lost.all(|(entity, state, _)| is_gone(entity, state));
        let there = all.read.iter();
        let there = there.filter(|(entity, state, _)| !is_gone(entity, state));
        let secrets = there.flat_map(|(_, _, group)| group.secrets());
        Ok(is_whole.then(|| secrets.collect()))
    }

    /// `None` if not all of them can be read.
    async fn secrets_of_hosts(&self) -> Result<Option<Vec<Name>>, FleetError> {
        let all = self.read_all::<HostRecord>(kind::HOST).await?;
        let secrets = all.read.iter().flat_map(|(_, _, host)| host.secrets());
        Ok(all.lost.is_empty().then(|| secrets.collect()))
    }
}
