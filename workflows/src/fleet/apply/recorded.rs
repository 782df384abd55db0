//! Documents that say what is recorded, as `get -o yaml` prints it: what they say stays, or is refused.

use vsiflow_engine::{
    model::{Failure, FailureClass, Name},
    secret::SecretError,
};

use crate::fleet::{ErrorKind, Fleet, FleetError, group, index::Known, pool};
use crate::{
    group::GroupRecord,
    pool::{PoolRecord, TemplateRecord},
    record::kind,
    spec::{DEFAULT_NETWORK, DesiredVsi, Resolved, ResolvedPool, ResolvedVsi, group::ResolvedItem},
};

/// The recorded state that a document speaks of.
struct RecordedState<'a> {
    vsi: &'a DesiredVsi,
    secret: &'a Name,
    image_credentials: Option<&'a Name>,
}

impl<'a> From<&'a TemplateRecord> for RecordedState<'a> {
    fn from(template: &'a TemplateRecord) -> Self {
        Self {
            vsi: &template.vsi,
            secret: &template.contract,
            image_credentials: template.image_credentials.as_ref(),
        }
    }
}

impl Fleet {
    /// Fills in what documents say as it is recorded. `known` are the VSIs that they concern.
    ///
    /// # Errors
    /// `VSI0759` if something else is recorded, or nothing.
    pub(in crate::fleet) async fn fill_recorded(
        &self,
        resolved: &mut Resolved,
        known: &[Known],
    ) -> Result<(), FleetError> {
        for vsi in &mut resolved.vsis {
            let object = object_of(kind::VSI, &vsi.desired.namespace, &vsi.desired.name);
            let had = super::matching(vsi, known).map(|known| {
                let last = known.last_requested();
                RecordedState {
                    vsi: &last.vsi,
                    secret: &last.contract,
                    image_credentials: last.image_credentials.as_ref(),
                }
            });
            self.fill_in(vsi, had, &object).await?;
        }
        Box::pin(self.fill_pools(resolved)).await?;
        Box::pin(self.fill_groups(resolved)).await
    }

    async fn fill_pools(&self, resolved: &mut Resolved) -> Result<(), FleetError> {
        let names = |pool: &ResolvedPool| !pool.template.recorded.is_empty();
        if !resolved.pools.iter().any(names) {
            return Ok(());
        }
        let known = self.living::<PoolRecord>().await?;
        for pool in &mut resolved.pools {
            let object = object_of(kind::POOL, &pool.desired.namespace, &pool.desired.name);
            let had = pool::apply::matching(pool, &known);
            let had = had.map(|of_pool| (&of_pool.record.template).into());
            self.fill_in(&mut pool.template, had, &object).await?;
        }
        Ok(())
    }

    async fn fill_groups(&self, resolved: &mut Resolved) -> Result<(), FleetError> {
        let names = |item: &ResolvedItem| !item.pool.template.recorded.is_empty();
        if !resolved.groups.iter().any(|group| group.items().any(names)) {
            return Ok(());
        }
        let known = self.living::<GroupRecord>().await?;
        for group in &mut resolved.groups {
            let object = object_of(kind::GROUP, &group.namespace, &group.name);
            let had = group::apply::matching(group, &known).map(|of_group| &of_group.record);
            for item in group.waves.iter_mut().flat_map(|wave| &mut wave.items) {
                let had_item = had.and_then(|had| had.item(&item.name));
                let had_item = had_item.map(|recorded_item| (&recorded_item.template).into());
                self.fill_in(&mut item.pool.template, had_item, &object)
                    .await?;
            }
        }
        Ok(())
    }

    async fn fill_in(
        &self,
        vsi: &mut ResolvedVsi,
        had: Option<RecordedState<'_>>,
        object: &str,
    ) -> Result<(), FleetError> {
        if vsi.recorded.is_empty() {
            return Ok(());
        }
        let credentials = had.as_ref().and_then(|had| {
            let is_same = vsi.image_url.is_none() && vsi.desired.image.url == had.vsi.image.url;
            had.image_credentials.filter(|_| is_same).cloned()
        });
        fill(vsi, had, object)?;
        // A URL is printed without its credentials.
        if let Some(name) = credentials {
            vsi.image_url = match self.secrets.get(&name).await {
                Ok(url) => Some(url),
                Err(SecretError::Missing(_)) => None,
                Err(error) => return Err(error.into()),
            };
        }
        Ok(())
    }
}

fn object_of(kind: &str, namespace: &str, name: &str) -> String {
    format!("{kind}/{namespace}/{name}")
}

fn fill(
    vsi: &mut ResolvedVsi,
    had: Option<RecordedState<'_>>,
    object: &str,
) -> Result<(), FleetError> {
    let recorded = std::mem::take(&mut vsi.recorded);
    let refused = |field: &str, remedy: &str| Err(refusal(object, field, remedy));
    if let Some(id) = &recorded.secret {
        if had.as_ref().is_none_or(|had| had.secret != id) {
            let field = "contract or user-data";
            return refused(field, "write the contract or the user-data itself");
        }
        vsi.retains_user_data = true;
    }
    if let Some(host) = &recorded.host
        && had.as_ref().is_none_or(|had| had.vsi.host != *host)
    {
        return refused(
            "host",
            "choose the host with targetSelector, or with --host",
        );
    }
    if let (Some(placement), Some(had)) = (&mut vsi.desired.placement, &had)
        && let (true, Some(before)) = (recorded.host.is_some(), &had.vsi.placement)
    {
        placement.candidates.clone_from(&before.candidates);
    }
    if let Some(disks) = recorded.disks {
        let before = had.as_ref().map(|had| had.vsi.disks.as_slice());
        if disks != before.unwrap_or_default() {
            return refused("data disks", "choose them with diskSelector");
        }
        vsi.desired.disks = disks;
    }
    if let Some(networks) = recorded.networks {
        match &had {
            Some(had) if had.vsi.networks == networks => {
                vsi.desired.networks = networks;
                vsi.desired.network_refs.clone_from(&had.vsi.network_refs);
                vsi.desired.made_networks.clone_from(&had.vsi.made_networks);
                vsi.desired.addresses.clone_from(&had.vsi.addresses);
            }
            None if networks == [DEFAULT_NETWORK] => vsi.desired.networks = networks,
            Some(_) | None => {
                return refused("networks", "choose them with networkSelector or interfaces");
            }
        }
    }
    Ok(())
}

/// The failure for a document that says of a field what is not recorded.
fn refusal(object: &str, field: &str, remedy: &str) -> FleetError {
    let message =
        format!("the document names {field} as recorded, and what is recorded is not that");
    let failure = Failure::new(FailureClass::Blocked, "VSI0759", message)
        .of_object(object)
        .with_remedy(format!("{remedy}; nothing was changed"));
    FleetError::new(ErrorKind::Blocked, failure)
}
