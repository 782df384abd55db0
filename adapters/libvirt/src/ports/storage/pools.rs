//! Pools: what they have, and that libvirt looks at them anew.

use std::time::Duration;

use tokio::time::Instant;
use vsiflow_steps::ports::{PoolInfo, PortErrorKind, PortResult};

use super::LibvirtHost;
use crate::{connection::Calls, protocol::StoragePool};

/// How long a copy in the pool may keep a look at it waiting.
const COPYING: Duration = Duration::from_secs(120);

const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl LibvirtHost {
    pub(super) async fn pool_info(
        &self,
        calls: &Calls,
        pool: &StoragePool,
    ) -> PortResult<PoolInfo> {
        let object = format!("pool {}", pool.name);
        let at = self.speaking(&object);
        let active = calls
            .storage_pool_is_active(pool)
            .await
            .map_err(|e| at.of(&e))?;
        let info = calls
            .storage_pool_get_info(pool)
            .await
            .map_err(|e| at.of(&e))?;
        let (capacity, available) = (info.capacity, info.available);
        Ok(PoolInfo {
            name: pool.name.clone(),
            active,
            capacity,
            available,
        })
    }

    /// The pool, which must be active.
    pub(super) async fn active(&self, calls: &Calls, pool: &str) -> PortResult<StoragePool> {
        let object = format!("pool {pool}");
        let at = self.speaking(&object);
        let found = calls
            .storage_pool_lookup_by_name(pool)
            .await
            .map_err(|e| at.of(&e))?;
        if !calls
            .storage_pool_is_active(&found)
            .await
            .map_err(|e| at.of(&e))?
        {
            return Err(at.error(
                PortErrorKind::PoolInactive,
                format!("pool {pool} is inactive"),
            ));
        }
        Ok(found)
    }

    /// Makes libvirt look at the pool's folder again. While it copies in there it will not look:
    /// then this waits.
    pub(super) async fn refresh(&self, calls: &Calls, pool: &StoragePool) -> PortResult<()> {
        let until = Instant::now() + COPYING;
        loop {
            let object = format!("pool {}", pool.name);
            let refreshed = calls.storage_pool_refresh(pool).await;
            match refreshed.map_err(|e| self.speaking(&object).of(&e)) {
                Err(error) if error.kind == PortErrorKind::Busy && Instant::now() < until => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                refreshed => return refreshed,
            }
        }
    }
}
