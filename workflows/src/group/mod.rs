//! Groups: virtual servers that come up in waves, behind gates.
//!
//! A group is an entity with a stream of its own, as a [pool](crate::pool) is, and it makes pools: each
//! member and each pool of a wave is a pool `GROUP-NAME` with a stream of its own. There is no graph
//! over all of them. The group counts them and opens the gates between the waves. It records what it
//! has opened, read and removed as part of its desired state ([`GroupRecord`]), before anything follows
//! from it.
//!
//! The controller (`fleet/group`) reconciles: it reads the group's newest record and its pools, calls
//! [`decide()`], and records the result in the same way as `apply`. A crash between any two pools needs
//! no recovery: the next reconciliation continues.
//!
//! [`decide()`] is pure. Its guarantees, in any state:
//! - nothing of a wave is made or changed before the gate of the previous wave is open;
//! - of the pools that a change concerns, one is changed at a time, in the order of the document;
//! - an item that was removed after its wave is never made again;
//! - a deletion starts with the newest wave, and deletes a wave only after those that follow it.

pub mod decide;
mod record;

pub use decide::{
    GroupAction, GroupDecision, GroupOutcome, GroupView, ItemState, ItemView, WaveView, decide,
};
pub use record::{FilledOutput, GroupRecord, ItemRecord, OutputValue, WaveRecord, is_same_place};

pub use crate::spec::group::OfGroup;

/// The workflow name recorded for a group that is not being deleted; no run follows.
pub const NAME: &str = "group";

/// The workflow name recorded for a group that is being deleted with everything that was made for it.
pub const DELETE: &str = "delete_group";

/// The workflow name recorded for a group that is being forgotten with everything that was made for it.
pub const FORGET: &str = "forget_group";

/// The label that names a member's group.
pub const LABEL: &str = "vsiflow.io/group";

/// The annotation with the UID of a pool's group.
pub const UID_ANNOTATION: &str = "vsiflow.io/group-uid";

/// The name of a group's pool.
pub fn pool_name(group: &str, item: &str) -> String {
    format!("{group}-{item}")
}
