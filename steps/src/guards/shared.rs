//! Pools that several hosts share: a volume in one is the same on each of them, so its users may be elsewhere.

use std::sync::Arc;

use vsiflow_engine::{model::Failure, step::StepContext};

use super::{in_use, pools::ListedPools, users::users};
use crate::{
    image::sidecar,
    other_hosts, ownership,
    ports::{HostPorts, Hosts, PoolInfo, VolumeKey},
};

/// How a volume is recognised on another host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedBy {
    /// By its name, which is a UID.
    Name,
    /// By the claim beside it, which names the host that made it. Images of one name may differ.
    Claim,
}

/// Refuses if a domain on another host uses the volume through a pool that both hosts share. Hosts that do not answer
/// are left out.
///
/// # Errors
/// `VSI0210` with that host and domain; port errors of the volume's own host by their kind.
pub async fn unused_elsewhere(
    cx: &StepContext,
    hosts: &Arc<dyn Hosts>,
    here: &str,
    key: &VolumeKey,
    by: SharedBy,
) -> Result<(), Failure> {
    if hosts.others(here).await.is_empty() {
        return Ok(());
    }
    let ports = hosts.host(here).await?;
    let Some(pool) = ports.storage.pool(&key.pool).await? else {
        return Ok(());
    };
    let sought = SharedVolume {
        pool: &pool,
        name: &key.name,
        claimant: match by {
            SharedBy::Name => None,
            SharedBy::Claim => Some(claimant(cx, &ports, key).await?),
        },
    };
    let look = |host| {
        let sought = &sought;
        async move { sought.refusal(cx, &host).await }
    };
    match other_hosts::first_answer(hosts, here, look).await {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    }
}

/// A volume as other hosts would have it.
struct SharedVolume<'a> {
    pool: &'a PoolInfo,
    name: &'a str,
    /// The entity that the claim beside it names, if that matters.
    claimant: Option<Option<String>>,
}

/// The entity that the claim beside a volume names.
async fn claimant(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<Option<String>, Failure> {
    let sidecar = sidecar::read(ports, &cx.journal_id, key).await?;
    let claim = sidecar.and_then(|sidecar| sidecar.claim);
    Ok(claim.map(|claim| claim.entity))
}

impl SharedVolume<'_> {
    /// Why this host forbids the deletion, if it does.
    async fn refusal(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
    ) -> Result<Option<Failure>, Failure> {
        // A pool that is shared has the same size everywhere.
        let is_like = |pool: &PoolInfo| pool.active && pool.capacity == self.pool.capacity;
        for pool in ports.storage.pools().await?.into_iter().filter(is_like) {
            let key = VolumeKey {
                pool: pool.name,
                name: self.name.to_owned(),
            };
            let Some(volume) = ports.storage.volume(&key).await? else {
                continue;
            };
            if let Some(claimant_here) = &self.claimant
                && claimant(cx, ports, &key).await? != *claimant_here
            {
                continue;
            }
            let domains = ports.domains.domains().await?;
            let domains: Vec<_> = domains.iter().collect();
            let listed = ListedPools::of(ports).await?;
            let users = match users(ports, &domains, &volume, &listed.volumes).await {
                Ok(users) => users,
                // Whoever uses it there is unknown.
                Err(failure) => return Ok(Some(failure)),
            };
            if let Some(user) = users.first() {
                let called = ownership::called(cx, user.domain);
                let why = format!("{called} uses it on this host, which shares the pool");
                return Ok(Some(in_use(ports, &volume, &why)));
            }
        }
        Ok(None)
    }
}
