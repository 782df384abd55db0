//! On which host a VSI is made. Pure: no input or output, no clock, no random number; the same hosts,
//! the same VSIs on them and the same requests in the same order give the same choices.
//!
//! A choice is made once and recorded with its VSI, before anything is made on any host. From then on the
//! record decides: this room is not asked again for a VSI that has a host.

mod board;
mod host;
mod promise;
mod reason;
mod record;

pub use promise::{OpenRequest, PromiseRecord, PromiseState, count};

pub use board::{PlacementBoard, PlacementRequest, Unplaced};
pub use host::{Needs, PlacedVsi, PlacementHost, Promised};
pub use reason::PlacementObstacle;
pub use record::{CapacityRecord, Decision, PoolCapacity, Rejected};

#[cfg(test)]
mod tests;
