//! What a process that serves does beside its engine: the cluster's resources and subresources, the API over
//! TCP, and traces. `serve` has one journal for it, `serve --shards` several.

pub(crate) mod cluster;
pub(crate) mod listen;
pub(crate) mod subresources;
pub(crate) mod traces;
