//! A journal that this process has, as those need it who do what is asked of it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use vsiflow_postgres::{Held, seal::Sealer};

use super::{Membership, decided::waiting::DecidedResources};
use crate::{args::Common, compose::App};

/// A journal that is held, as those need it who do what is asked of it.
pub(super) struct JournalHolder {
    /// What requests are sealed with.
    pub(super) sealer: Sealer,
    pub(super) app: App,
    pub(super) shard: Membership,
    pub(super) held: Arc<Held>,
    /// What its commands are opened with.
    pub(super) common: Common,
    /// What the operator is to record on hosts that were chosen, where a cluster is served.
    pub(super) decided: Option<Arc<DecidedResources>>,
    /// Until then hosts are left alone.
    pub(super) acts_from: Instant,
}

impl JournalHolder {
    /// How long hosts are still left alone; none where they are not.
    pub(super) fn is_quiet_for(&self) -> Option<Duration> {
        let left = self.acts_from.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}
