//! Shared code of commands that start work: reading documents, waiting, and reporting outcomes.

pub(crate) mod ask;
pub(crate) mod described;
mod documents;
mod engine_notices;
mod host;
mod one_host;
mod outcome;
mod question;
mod selection;
mod signals;
mod target;
mod wait;
mod watch_hosts;

pub(crate) use crate::{off_runtime::off_runtime, output::label};
pub(crate) use documents::{
    check_before_state, described as described_documents, gather, sent, with_files,
};
pub(crate) use engine_notices::tell;
pub(crate) use host::{host, limit_uploads};
pub(crate) use one_host::one_host;
pub(crate) use outcome::{DELETED, FORGOTTEN, report_not_made, say};
pub(crate) use question::is_agreed;
pub(crate) use selection::{
    Destruction, SelectedObject, SelectedObjects, confirm, names_and_selector, select,
};
pub(crate) use signals::{interrupted, left_alone};
pub(crate) use target::{
    DISK, GROUP, HOST, POOL, QUOTA, SNAPSHOT, TYPE, Target, targets_named, targets_of,
};
pub(crate) use wait::{Reminder, Until, elapsed, report_recorded, until_decided, watch};
pub(crate) use watch_hosts::{keep_current, watch_hosts};
