//! Base images: uploads, their progress, and removal.

pub(super) mod local;
pub(super) mod meter;
pub(super) mod object;
pub(super) mod policy;
pub(super) mod progress;
mod recorded;
pub(super) mod sourced;
pub(super) mod upload;
