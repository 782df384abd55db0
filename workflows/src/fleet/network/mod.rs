//! Networks: those that vsiflow makes, the addresses that VSIs have there, and all of them as their hosts
//! show them.

pub(super) mod addresses;
pub(super) mod apply;
pub(super) mod object;
pub(super) mod over_journals;
mod room;
