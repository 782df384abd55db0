//! Restores secrets of a group that were held only in memory, after a restart.
//!
//! If secrets are stored elsewhere, those of the group's document are delivered again, but secrets
//! derived from them are not. Outputs of guests are read again, and count only if they equal what was
//! recorded.

use std::collections::BTreeMap;

use vsiflow_engine::{model::Name, secret::SecretError};

use crate::fleet::{
    Fleet, FleetError,
    group::{outputs::output_references, reconcile::GroupPools},
    known::KnownGroup,
};
use crate::spec::group::OutputSource;

impl Fleet {
    /// Restores missing secrets of a group's pools, as far as that is possible now.
    pub(super) async fn restore_secrets(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
    ) -> Result<(), FleetError> {
        self.restore_outputs(group, found).await?;
        for item in group.record.items() {
            let Some(pool) = found.pools.get(&item.name) else {
                continue;
            };
            let contract = &pool.record.template.contract;
            if self.secrets.has(contract).await? || !self.has_secrets(group, item).await? {
                continue;
            }
            let filled = Box::pin(self.filled(group, item, Some(pool))).await?;
            let same = self.secrets.recognise(contract, &filled.template.contract);
            match same.await {
                Ok(_) | Err(SecretError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
            Box::pin(self.deliver_members_of(pool)).await?;
        }
        Ok(())
    }

    /// Whether all secrets that an item's template needs are available.
    async fn has_secrets(
        &self,
        group: &KnownGroup,
        item: &crate::group::ItemRecord,
    ) -> Result<bool, FleetError> {
        if !self.has_all(item.template.secrets()).await? {
            return Ok(false);
        }
        let names = output_references(&self.template_of(item).await?);
        let mut values = Vec::new();
        for name in &names {
            match group.record.output_for(&item.name, name) {
                Some(value) => values.extend(value.secret()),
                // It is to be read again.
                None => return Ok(false),
            }
        }
        self.has_all(values.into_iter()).await
    }

    async fn has_all<'a>(
        &self,
        names: impl Iterator<Item = &'a Name> + Send,
    ) -> Result<bool, FleetError> {
        for name in names {
            if !self.secrets.has(name).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn restore_outputs(
        &self,
        group: &KnownGroup,
        found: &GroupPools,
    ) -> Result<(), FleetError> {
        let record = &group.record;
        let read = record.outputs.iter();
        let read = read.filter_map(|output| Some((output, record.found.get(&output.name)?)));
        let filled = record.filled.values().flat_map(BTreeMap::values);
        let filled = filled.filter_map(|filled| Some((filled.source.as_ref()?, &filled.value)));
        let mut missing = Vec::new();
        for (output, value) in read.chain(filled) {
            let Some(recorded) = value.secret() else {
                continue;
            };
            let output = OutputSource {
                secret: true,
                ..output.clone()
            };
            let is_there = found.pools.contains_key(&output.item);
            if is_there && !missing.contains(&output) && !self.secrets.has(recorded).await? {
                missing.push(output);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let asked = self.ask_outputs(group, &found.pools, missing.clone());
        let Some(texts) = asked.await? else {
            return Ok(());
        };
        for (output, text) in missing.iter().zip(texts) {
            // Its host or guest may not answer now. Another value would have another secret name.
            let stored = match text {
                Ok(Ok(text)) => self.store_output(output, text).await.map(drop),
                Ok(Err(_)) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                tracing::debug!(%error, output = output.name, "an output is not read again");
            }
        }
        Ok(())
    }
}
