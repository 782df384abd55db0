//! Groups: what is asked of them, and the look at one (see [`crate::group`]). The task that looks is that of
//! pools: a group's look comes before those of its pools.

pub(in crate::fleet) mod apply;
mod control;
mod gate;
pub(in crate::fleet) mod known;
mod object;
mod outputs;
pub(in crate::fleet) mod over_journals;
mod reconcile;
mod restore;
mod values;

pub use object::{GroupItem, GroupMember, GroupObject, GroupOutput, GroupStatus, GroupWave};
pub use outputs::FoundOutput;

use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};

/// Who acts for a group.
pub(in crate::fleet) fn controller(group: &str, what: &str) -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new(format!("{what} of group/{group}")),
    }
}
