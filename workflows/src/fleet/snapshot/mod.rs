//! Snapshots of VSIs: looks them up, takes, restores and deletes them.

pub(super) mod clone;
pub(super) mod known;
pub(super) mod names;
pub(super) mod object;
pub(super) mod restore;
pub(super) mod schedule;
pub(super) mod take;
