//! Snapshots of VSIs: how they are found, taken, put back and deleted.

pub(super) mod clone;
pub(super) mod known;
pub(super) mod names;
pub(super) mod object;
pub(super) mod restore;
pub(super) mod schedule;
pub(super) mod take;
