//! Reads pools, and makes libvirt refresh them.

use std::time::Duration;

use tokio::time::Instant;
use vsiflow_steps::ports::{PoolInfo, PortErrorKind, PortResult};

use super::LibvirtHost;
use crate::{connection::Calls, protocol::StoragePool};

/// How long a copy in the pool may delay a refresh.
const COPY_WAIT: Duration = Duration::from_secs(120);

/// The delay before a pool is looked at again.
pub(super) const RETRY_DELAY: Duration = Duration::from_millis(250);

impl LibvirtHost {
    pub(super) async fn pool_info(
        &self,
        calls: &Calls,
        pool: &StoragePool,
    ) -> PortResult<PoolInfo> {
        let object = format!("pool {}", pool.name);
        let context = self.speaking(&object);
        let active = calls
            .storage_pool_is_active(pool)
            .await
            .map_err(|e| context.of(&e))?;
        let info = calls
            .storage_pool_get_info(pool)
            .await
            .map_err(|e| context.of(&e))?;
        let (capacity, available) = (info.capacity, info.available);
        Ok(PoolInfo {
            name: pool.name.clone(),
            active,
            capacity,
            available,
        })
    }

    /// Checks that these pools, which libvirt listed and then did not find, were deleted in between: libvirt
    /// does not list them any more.
    pub(super) async fn are_not_listed(
        &self,
        calls: &Calls,
        vanished: &[StoragePool],
    ) -> PortResult<()> {
        if vanished.is_empty() {
            return Ok(());
        }
        let list_reply = calls.connect_list_all_storage_pools(0).await;
        let listed = list_reply.map_err(|e| self.speaking("").of(&e))?;
        match vanished.iter().find(|pool| listed.contains(pool)) {
            None => Ok(()),
            Some(pool) => {
                let object = format!("pool {}", pool.name);
                let words = "libvirt lists the pool, and does not find it";
                Err(self.speaking(&object).error(PortErrorKind::Other, words))
            }
        }
    }

    /// The pool; an error if it is inactive.
    pub(super) async fn active(&self, calls: &Calls, pool: &str) -> PortResult<StoragePool> {
        let object = format!("pool {pool}");
        let context = self.speaking(&object);
        let active_pool = calls
            .storage_pool_lookup_by_name(pool)
            .await
            .map_err(|e| context.of(&e))?;
        if !calls
            .storage_pool_is_active(&active_pool)
            .await
            .map_err(|e| context.of(&e))?
        {
            return Err(context.error(
                PortErrorKind::PoolInactive,
                format!("pool {pool} is inactive"),
            ));
        }
        Ok(active_pool)
    }

    /// Makes libvirt read the pool's directory again. libvirt refuses during a copy in that pool, so this
    /// waits.
    pub(super) async fn refresh(&self, calls: &Calls, pool: &StoragePool) -> PortResult<()> {
        let until = Instant::now() + COPY_WAIT;
        loop {
            let object = format!("pool {}", pool.name);
            let refreshed = calls.storage_pool_refresh(pool).await;
            match refreshed.map_err(|e| self.speaking(&object).of(&e)) {
                Err(error) if error.kind == PortErrorKind::Busy && Instant::now() < until => {
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                refreshed => return refreshed,
            }
        }
    }
}
