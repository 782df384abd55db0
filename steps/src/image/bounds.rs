//! Limits how much is read and sent of an image whose length is unknown before its end.

use bytes::Bytes;
use vsiflow_engine::model::Failure;

use super::pieces::{PiecePart, parts};
use crate::{error, ports::HostPorts};

/// Bytes of a pool that stay free for guests' writes; at most a twentieth of the pool.
const RESERVE: u64 = 10 << 30;

/// The number of bytes that may still come. Long runs of zeros do not count: holes take no space. The
/// code that unpacks images limits their number.
pub(super) struct Bounds {
    left: Option<u64>,
    allowed: u64,
    place: String,
}

impl Bounds {
    /// The room in the pool. There is no limit if the source reports the image's length, since that was
    /// compared with the pool before.
    ///
    /// # Errors
    /// Port errors of the host.
    pub(super) async fn of_room(
        ports: &HostPorts,
        pool: &str,
        length: Option<u64>,
    ) -> Result<Self, Failure> {
        let room =
            |available: u64, capacity: u64| available.saturating_sub(RESERVE.min(capacity / 20));
        Self::of(ports, pool, length, room).await
    }

    /// The whole capacity of the pool: a larger image cannot be meant.
    ///
    /// # Errors
    /// Port errors of the host.
    pub(super) async fn of_pool(ports: &HostPorts, pool: &str) -> Result<Self, Failure> {
        Self::of(ports, pool, None, |_, capacity| capacity).await
    }

    async fn of(
        ports: &HostPorts,
        pool: &str,
        length: Option<u64>,
        most: impl Fn(u64, u64) -> u64,
    ) -> Result<Self, Failure> {
        let pool_info = match length {
            Some(_) => None,
            None => ports.storage.pool(pool).await?,
        };
        let allowance = pool_info.map(|info| most(info.available, info.capacity));
        Ok(Self {
            left: allowance,
            allowed: allowance.unwrap_or_default(),
            place: format!("pool {pool} of {}", ports.host.name()),
        })
    }

    /// Counts the next piece.
    ///
    /// # Errors
    /// Blocked, once the limit is exceeded.
    pub(super) fn take(&mut self, piece: &Bytes) -> Result<(), Failure> {
        let Some(allowance) = &mut self.left else {
            return Ok(());
        };
        let data = parts(piece).iter().fold(0_u64, |sum, part| match part {
            PiecePart::Data(bytes) => sum.saturating_add(bytes.len() as u64),
            PiecePart::Hole(_) => sum,
        });
        match allowance.checked_sub(data) {
            Some(rest) => *allowance = rest,
            None => return Err(self.exceeded()),
        }
        Ok(())
    }

    fn exceeded(&self) -> Failure {
        let message = format!(
            "the length of the image is unknown, and it has more than the {} bytes that {} has for it",
            self.allowed, self.place
        );
        error::SOURCE_TOO_LARGE.failure(message)
    }
}
