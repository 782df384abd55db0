//! Hosts: checks, inventory, identity, maintenance, and scans for drift.

pub(super) mod check;
pub(super) mod drain;
pub(super) mod guests;
pub(super) mod identity;
pub(super) mod inventory;
pub(super) mod maintenance;
pub(super) mod ownership;
pub(super) mod scan;
pub(super) mod usage;
pub(super) mod watch;
