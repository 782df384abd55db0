//! Data disks: applying their documents, their records, exports, and how they are shown.

pub(super) mod apply;
pub(super) mod export;
pub(super) mod formats;
pub(super) mod known;
pub(super) mod object;
pub(super) mod reserved;
mod source;
pub(super) mod updates;
mod users;
