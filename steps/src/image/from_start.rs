//! What a source needs that ends early and can be read only from its start, so that reading it again ends as early.

use vsiflow_engine::{model::Failure, step::StepContext};

use crate::{error, ports::pieces::PIECE};

/// From this attempt on, a source that ends where it ended before is blocked. A connection that breaks does so
/// elsewhere each time.
const ATTEMPTS: u32 = 4;

/// The remedy for a source of a transfer.
pub(super) const TRANSFER: &str = "Serve the image from a server that answers ranges and does not end the connection \
     early, unpacked, and with a strong ETag or `imageChecksum`; or copy it to this machine and use a file; then \
     `vsiflow retry`.";

/// The remedy for a source whose content has to be read to know which image it is.
pub(super) const HASH: &str = "Give `imageChecksum`, so that the image need not be read in full before it is sent, or \
     have the server name a strong ETag or Last-Modified; then `vsiflow retry`.";

/// A read of the source from its start.
pub(super) struct StartRead {
    /// How many bytes arrived.
    pub(super) read: u64,
    /// How many bytes arrived in the attempt before.
    pub(super) before: Option<u64>,
    /// What the source needs.
    pub(super) remedy: &'static str,
}

impl StartRead {
    /// The failure of the read, with its remedy; blocked if the source ends at the same place each time.
    pub(super) fn explained(&self, cx: &StepContext, failure: Failure) -> Failure {
        if failure.code.as_str() != error::SOURCE_UNREACHABLE.code || self.read == 0 {
            return failure;
        }
        let is_same = |before: u64| self.read.abs_diff(before) <= PIECE as u64;
        if cx.attempt < ATTEMPTS || !self.before.is_some_and(is_same) {
            return failure.with_remedy(self.remedy);
        }
        let message = format!(
            "the source ends after {} bytes each time, and can be read only from its start: {}",
            self.read, failure.message
        );
        error::SOURCE_INVALID
            .failure(message)
            .of_object(failure.object.as_str())
            .with_remedy(self.remedy)
    }
}
