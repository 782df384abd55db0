//! Networks as their hosts show them.

pub(super) mod object;
