//! Pools: numbered virtual servers from one template.
//!
//! A pool is an entity with a stream of its own. Its desired state, a [`PoolRecord`], is recorded like
//! that of a host: no run follows from it. Its members are VSIs like any other, with streams, runs and
//! steps of their own; each says in its desired state whose member it is ([`MemberOf`]) and of which
//! revision of the template. There is no graph over all of them.
//!
//! The controller (`fleet/pool`) compares: it reads the pool's newest desired state and the members that
//! the journal knows, asks [`decide()`] what follows, and records that as desired states of members,
//! on the path of `apply`, admission included. It keeps nothing that the journal does not have, so a
//! crash between any two members needs no recovery: the next comparison continues.
//!
//! [`decide()`] is pure. What it guarantees, whatever the states are:
//! - by our own doing, never more than `maxUnavailable` members are away. A member counts as available
//!   only when its journal says that it is settled and ready, and its host was not found silent since:
//!   unknown is not ready;
//! - the highest number goes first, in updates and when the pool shrinks;
//! - a member of the current revision that failed stops the rollout;
//! - a VSI of a member's name that the pool did not make is never touched.
//!
//! A member leaves a host that is drained by an [`Eviction`]: the pool records where it is to be made again,
//! then it is deleted as one that is replaced, and made under its name once nothing of it is left on the host
//! before. What holds data leaves only with the owner's permission ([`EvictionView`]).

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

/// What is recorded as the workflow of a pool that stays; no run follows.
pub const NAME: &str = "pool";

/// The same of a pool that is being deleted with its members.
pub const DELETE: &str = "delete_pool";

/// The same of a pool that is being forgotten with its members.
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
