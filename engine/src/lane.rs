//! Lanes: what many runs share, and what may be out of reach for all of them at once (a host).
//!
//! While a lane is out of reach nothing in it is attempted again by itself: one probe a lane looks,
//! with growing delays, and once it answers everything that waited continues at once. So a dead host
//! costs one small question now and then, however many wait for it, and delays nobody else.

use async_trait::async_trait;

use crate::model::{Failure, Text};

/// Who knows whether a lane is in reach.
#[async_trait]
pub trait Lanes: Send + Sync + 'static {
    /// Whether the failure says that nothing can be done in its lane just now, whatever it be.
    fn is_down(&self, failure: &Failure) -> bool;

    /// Looks whether the lane answers. It has a deadline of its own. Cancel safe.
    ///
    /// # Errors
    /// What keeps it from answering.
    async fn probe(&self, lane: &Text) -> Result<(), Failure>;

    /// Is told when a lane goes out of reach, why it still is, and when it is back.
    fn note(&self, lane: &Text, down: Option<&Failure>);
}

/// Lanes that are always in reach: every failure is its node's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct AlwaysUp;

#[async_trait]
impl Lanes for AlwaysUp {
    fn is_down(&self, _: &Failure) -> bool {
        false
    }

    async fn probe(&self, _: &Text) -> Result<(), Failure> {
        Ok(())
    }

    fn note(&self, _: &Text, _: Option<&Failure>) {}
}
