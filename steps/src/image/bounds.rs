//! How much is read and sent of an image whose length nobody knows before its end.

use bytes::Bytes;
use vsiflow_engine::model::Failure;

use super::pieces::{PiecePart, parts};
use crate::{error, ports::HostPorts};

/// So much of a pool stays free, and no more than a twentieth of it: guests write there, too.
const RESERVE: u64 = 10 << 30;

/// What may still come. Zeros cost nothing where holes are passed over, and do not count; how
/// many there may be of them is bounded where they are unpacked.
pub(super) struct Bounds {
    left: Option<u64>,
    allowed: u64,
    place: String,
}

impl Bounds {
    /// What the pool has room for; without a bound where the source says how long the image is, since
    /// that was compared with the pool before.
    ///
    /// # Errors
    /// Those of the host.
    pub(super) async fn of_room(
        ports: &HostPorts,
        pool: &str,
        length: Option<u64>,
    ) -> Result<Self, Failure> {
        let room =
            |available: u64, capacity: u64| available.saturating_sub(RESERVE.min(capacity / 20));
        Self::of(ports, pool, length, room).await
    }

    /// What the pool could hold were it empty: more than that is no image of its own.
    ///
    /// # Errors
    /// Those of the host.
    pub(super) async fn of_pool(ports: &HostPorts, pool: &str) -> Result<Self, Failure> {
        Self::of(ports, pool, None, |_, capacity| capacity).await
    }

    async fn of(
        ports: &HostPorts,
        pool: &str,
        length: Option<u64>,
        most: impl Fn(u64, u64) -> u64,
    ) -> Result<Self, Failure> {
        let found = match length {
            Some(_) => None,
            None => ports.storage.pool(pool).await?,
        };
        let left = found.map(|info| most(info.available, info.capacity));
        Ok(Self {
            left,
            allowed: left.unwrap_or_default(),
            place: format!("pool {pool} of {}", ports.host.name()),
        })
    }

    /// Takes in what comes next.
    ///
    /// # Errors
    /// Blocked, once it is too much.
    pub(super) fn take(&mut self, piece: &Bytes) -> Result<(), Failure> {
        let Some(left) = &mut self.left else {
            return Ok(());
        };
        let data = parts(piece).iter().fold(0_u64, |sum, part| match part {
            PiecePart::Data(bytes) => sum.saturating_add(bytes.len() as u64),
            PiecePart::Hole(_) => sum,
        });
        match left.checked_sub(data) {
            Some(rest) => *left = rest,
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
