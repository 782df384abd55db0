//! Lanes: a resource that many runs share, such as a host, and that may stop answering for all of
//! them.
//!
//! While a lane does not answer, no step in it is attempted again automatically. One probe per lane
//! checks with growing delays, and once the lane answers all waiting steps continue immediately. So
//! a dead host costs one small request now and then, however many steps wait for it, and delays no
//! other host.

use async_trait::async_trait;

use crate::model::{Failure, Text};

/// Probes lanes and knows which failures mean that a lane does not answer.
#[async_trait]
pub trait Lanes: Send + Sync + 'static {
    /// Whether the failure means that no work at all is possible in its lane now.
    fn is_down(&self, failure: &Failure) -> bool;

    /// Checks whether the lane answers. Has its own deadline. Cancel safe.
    ///
    /// # Errors
    /// Why the lane does not answer.
    async fn probe(&self, lane: &Text) -> Result<(), Failure>;

    /// Called when a lane stops answering, with the reason each time it still does not, and when it
    /// answers again.
    fn note(&self, lane: &Text, down: Option<&Failure>);
}

/// Lanes that always answer: every failure concerns only its own node.
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
