//! Passes the secrets of the cluster to the fleet.

use std::time::Duration;

use super::{Controller, by, shard_scope::all_pools};
use crate::{FIELD_MANAGER, translate::Translation};

/// How long after the start namespaces that are not listed yet are waited for.
const TIMEOUT: Duration = Duration::from_secs(30);

impl Controller {
    /// Passes on every secret that resources name now: contracts, image URLs with credentials, and the
    /// credentials of hosts. The fleet holds them in memory, and no longer than the cluster has them.
    pub(super) async fn deliver(&mut self, translation: &Translation) {
        let vsis = translation.vsis.values();
        let own = vsis.flat_map(|vsi| [Some(&vsi.contract), vsi.image_url.as_ref()]);
        let members = all_pools(translation).map(|pool| &pool.template);
        let members = members.flat_map(|vsi| [Some(&vsi.contract), vsi.image_url.as_ref()]);
        let secrets: Vec<_> = own.chain(members).flatten().cloned().collect();
        let hosts = translation.rest.hosts.values().cloned().collect();
        let by = by(FIELD_MANAGER, "its secrets were read in the cluster");
        if let Err(error) = self.fleet.deliver(hosts, secrets, by).await {
            self.unfinished = true;
            tracing::warn!("secrets of the cluster cannot be passed on: {error}");
            return;
        }
        if self.cache.is_complete() || self.begun.elapsed() >= TIMEOUT {
            self.delivered
                .send_if_modified(|done| !std::mem::replace(done, true));
        } else {
            // A namespace may never be listed.
            self.unfinished = true;
        }
    }
}
