//! Pools: numbered virtual servers from one template.
//!
//! A pool is an entity with a stream of its own. Its desired state, a [`PoolRecord`], is recorded like
//! that of a host: no run follows from it. Its members are VSIs like any other, with streams, runs and
//! steps of their own. Each records in its desired state its pool ([`MemberOf`]) and the revision of
//! the template. There is no graph over all of them.
//!
//! The controller (`fleet/pool`) reconciles: it reads the pool's newest desired state and the members
//! in the journal, calls [`decide()`], and records the result as desired states of members in the same
//! way as `apply`, including admission. It has no state that the journal does not have, so a crash
//! between any two members needs no recovery: the next reconciliation continues.
//!
//! [`decide()`] is pure. Its guarantees, in any state:
//! - vsiflow never makes more than `maxUnavailable` members unavailable. A member counts as available
//!   only if its journal says that it is settled and ready, and its host has not been found
//!   silent since: unknown is not ready;
//! - the highest number comes first, in updates and when the pool shrinks;
//! - a failed member of the current revision stops the rollout;
//! - a VSI with a member's name that the pool did not make is never touched.
//!
//! A member leaves a drained host by an [`Eviction`]: the pool records where it will be made again,
//! then deletes it like a replaced member, and makes it under its name once nothing of it is left on
//! the previous host. A member that holds data leaves only with the owner's permission
//! ([`EvictionView`]).

pub mod decide;
mod evict;
mod record;

pub use decide::{
    MemberState, MemberView, PoolAction, PoolDecision, PoolOutcome, PoolView, decide,
};
pub use evict::{EvictedMember, EvictionView, KeepReason};
pub use record::{
    Eviction, PoolRecord, TemplateRecord, member_disk_name, member_name, member_uid, number_of,
};

pub use crate::spec::pool::MemberOf;

/// The workflow name recorded for a pool that is not being deleted; no run follows.
pub const NAME: &str = "pool";

/// The workflow name recorded for a pool that is being deleted with its members.
pub const DELETE: &str = "delete_pool";

/// The workflow name recorded for a pool that is being forgotten with its members.
pub const FORGET: &str = "forget_pool";

/// The label that names a member's pool.
pub const LABEL: &str = "vsiflow.io/pool";

/// The annotation with the UID of a member's pool.
pub const UID_ANNOTATION: &str = "vsiflow.io/pool-uid";

/// The label with a member's number.
pub const INDEX_LABEL: &str = "vsiflow.io/pool-index";

/// The annotation with the UID of a member's VSI, on an object that shows the member elsewhere.
pub const VSI_ANNOTATION: &str = "vsiflow.io/vsi-uid";

/// The annotation with the revision of the template that a member is made from.
pub const REVISION_ANNOTATION: &str = "vsiflow.io/pool-revision";
