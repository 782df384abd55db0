//! VSIs: how they are adopted, changed, approved, powered and shown.

pub(super) mod adopt;
pub(super) mod approve;
pub(super) mod change;
pub(super) mod conditions;
pub(super) mod console;
pub(super) mod control;
pub(super) mod disk_room;
mod foresee;
pub(super) mod generations;
pub(super) mod object;
pub(super) mod power;
pub(super) mod rebuild;
mod release;
pub(super) mod retained_refs;
pub(super) mod rollback;
pub(super) mod summary;
mod taken_back;
