//! Restores secrets of a group that were held only in memory, after a restart.
//!
//! If secrets are stored elsewhere, those of the group's document are delivered again, but secrets
//! derived from them are not. Outputs of guests are read again, and count only if they equal what was
//! recorded.

use vsiflow_engine::{model::Name, secret::SecretError};

use crate::fleet::{
    Fleet, FleetError,
    group::{outputs::output_references, reconcile::GroupPools},
    known::KnownGroup,
};
use crate::group::OutputValue;

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
            match group.record.found.get(name) {
                Some(value) => values.extend(secret_of(value)),
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
        for output in &group.record.outputs {
            let recorded = group.record.found.get(&output.name).and_then(secret_of);
            let Some(recorded) = recorded else { continue };
            if self.secrets.has(recorded).await? {
                continue;
            }
            let Some(pool) = found.pools.get(&output.item) else {
                continue;
            };
            // Its host or guest may not answer now. Another value would have another secret name.
            let stored = match self.ask_output(group, pool, output).await {
                Ok(Some(Ok(text))) => self.store_output(output, text).await.map(drop),
                Ok(Some(Err(_)) | None) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                tracing::debug!(%error, output = output.name, "an output is not read again");
            }
        }
        Ok(())
    }
}

fn secret_of(value: &OutputValue) -> Option<&Name> {
    match value {
        OutputValue::Secret(name) => Some(name),
        OutputValue::Shown(_) => None,
    }
}
