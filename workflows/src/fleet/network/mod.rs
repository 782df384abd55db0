//! Networks: those that vsiflow makes, the addresses of VSIs in them, and all networks as their hosts show
//! them.

pub(super) mod addresses;
pub(super) mod apply;
pub(super) mod object;
pub(super) mod over_journals;
pub(in crate::fleet) mod room;
