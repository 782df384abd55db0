//! Groups: their commands and their reconciliation (see [`crate::group`]). The task that reconciles
//! pools also reconciles groups: a group comes before its pools.

pub(in crate::fleet) mod apply;
mod control;
mod earlier;
mod gate;
pub(in crate::fleet) mod known;
mod object;
mod outputs;
pub(in crate::fleet) mod over_journals;
mod plan;
mod questions;
mod read;
mod reconcile;
mod restore;
mod values;

pub use object::{GroupItem, GroupMember, GroupObject, GroupOutput, GroupStatus, GroupWave};
pub use outputs::FoundOutput;
pub(in crate::fleet) use questions::ReadOutputs;

use vsiflow_engine::{
    executor::By,
    model::{Actor, Text},
};

/// The actor and reason of what vsiflow does for a group.
pub(in crate::fleet) fn controller(group: &str, what: &str) -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new(format!("{what} of group/{group}")),
    }
}
