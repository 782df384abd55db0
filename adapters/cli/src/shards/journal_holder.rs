//! A journal that this process holds, for the code that carries out requests to it.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use vsiflow_postgres::{Held, seal::Sealer};

use super::{Membership, decided::waiting::DecidedResources};
use crate::{args::Common, compose::App};

/// A held journal, for the code that carries out requests to it.
pub(super) struct JournalHolder {
    /// The key that seals requests.
    pub(super) sealer: Sealer,
    pub(super) app: App,
    pub(super) shard: Membership,
    pub(super) held: Arc<Held>,
    /// The options that its commands are opened with.
    pub(super) common: Common,
    /// Decisions that the operator has to record, if a cluster is served.
    pub(super) decided: Option<Arc<DecidedResources>>,
    /// Before this moment the journal does not act on its hosts.
    pub(super) acts_from: Instant,
}

impl JournalHolder {
    /// How long hosts must not be acted on yet; `None` if they may be.
    pub(super) fn is_quiet_for(&self) -> Option<Duration> {
        let left = self.acts_from.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}
