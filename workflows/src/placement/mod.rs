//! Chooses the host of a VSI. Pure: no input or output, no clock, no random number. The same hosts, the
//! same VSIs on them and the same requests in the same order give the same choices.
//!
//! A choice is made once and recorded with its VSI, before anything is made on any host. Afterwards the
//! record decides: a VSI that has a host is not placed again.

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
