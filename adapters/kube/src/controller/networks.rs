//! Networks that resources describe: they are made with the VSIs on them, and removed from all hosts
//! with their resource.
//!
//! If journals share the cluster, journal 0 asks all of them for the state of a network, and has them
//! end it ([`JournalShare::watch_networks`]). If only pools use a network, each journal changes it on
//! its own hosts.

use std::{collections::BTreeMap, sync::Arc};

use vsiflow_engine::model::Hash;
use vsiflow_workflows::{
    fleet::{EntityPresence, ErrorKind, NetworkEnd, NetworkName},
    spec::Resolved,
};

use super::{Controller, apply_request::generation_reason, by, recorded::AppliedGeneration};
use crate::{
    kind::ResourceKind,
    resource::Resource,
    resource_cache::Snapshot,
    share::{DECIDES, JournalShare, NetworkInquiry, NetworkSummary},
};

impl Controller {
    /// Removes a network from all its hosts. Returns whether it is removed; one that was made nowhere
    /// is.
    pub(super) async fn network_may_finalize(&mut self, resource: &Resource) -> bool {
        if let Some(share) = self.share.clone() {
            return self.network_may_finalize_over(&*share, resource);
        }
        let (namespace, name) = (&resource.key.namespace, &resource.key.name);
        let (uid, orphan) = (resource.uid, resource.is_orphaned());
        let found = match self.fleet.networks().find(namespace, name).await {
            Ok(found) => found,
            Err(error) if error.kind == ErrorKind::NotFound => return true,
            Err(error) => {
                self.unfinished = true;
                self.refused.insert(uid, *error.failure);
                return false;
            }
        };
        if self.removals.get(&uid) != Some(&orphan) {
            let by = by(&resource.manager, &resource.deletion_reason());
            let deleted = self
                .fleet
                .networks()
                .delete(namespace, name, orphan, by)
                .await;
            self.removal_requested(uid, orphan, deleted.err());
        }
        // The removal may have been completed immediately.
        let gone = |entity| self.fleet.knowledge(entity) == EntityPresence::Gone;
        found.iter().all(gone)
    }

    /// The same across all journals, by their newest reports.
    fn network_may_finalize_over(&mut self, share: &dyn JournalShare, resource: &Resource) -> bool {
        let Some(summary) = share.network_report(&name_of(resource)) else {
            return false;
        };
        let is_asked = summary.inquiry == asked_of(resource);
        if let Some(failure) = summary.silent.or(summary.refused) {
            self.refused.insert(resource.uid, failure);
            return false;
        }
        self.refused.remove(&resource.uid);
        is_asked && summary.states.is_empty()
    }

    /// Has all journals asked about the networks of the cluster, and updates the status of those with a
    /// new report.
    pub(super) fn watch_networks(&mut self, own: &Snapshot) {
        let Some(share) = self.share.clone().filter(|one| one.number() == DECIDES) else {
            return;
        };
        let networks = own.resources.iter();
        let networks = networks.filter(|one| one.key.kind == ResourceKind::Network);
        let mut inquiries = BTreeMap::new();
        let mut summaries = BTreeMap::new();
        for network in networks {
            let name = name_of(network);
            inquiries.insert(name.clone(), asked_of(network));
            let now = share.network_report(&name);
            if self.network_summaries.get(&name) != now.as_ref() {
                self.status_queue.dirty(network.key.clone());
            }
            summaries.extend(now.map(|now| (name, now)));
        }
        self.network_summaries = summaries;
        share.watch_networks(inquiries);
    }

    /// Changes the networks on the hosts of this journal, if the cluster is shared: a pool that another
    /// journal has may use them.
    pub(super) async fn apply_networks(&mut self, cluster: &Snapshot, networks: &Resolved) {
        if self.share.is_none() || networks.networks.is_empty() {
            return;
        }
        let Ok(places) = self.fleet.networks().places().await else {
            self.unfinished = true;
            return;
        };
        for network in &networks.networks {
            let its = |one: &&Arc<Resource>| {
                one.key.kind == ResourceKind::Network
                    && (&one.key.namespace, &one.key.name) == (&network.namespace, &network.name)
            };
            let Some(resource) = cluster.resources.iter().find(its) else {
                continue;
            };
            let name = name_of(resource);
            let Some(hosts) = places.get(&name).filter(|_| !resource.is_deleting()) else {
                continue;
            };
            let print = Hash::of(&serde_json::to_vec(&(network, hosts)).unwrap_or_default());
            let generation = AppliedGeneration::of(resource, print);
            if self.is_in_fleet(generation) {
                continue;
            }
            let resolved = Resolved {
                networks: vec![network.clone()],
                ..networks.alone()
            };
            let by = by(&resource.manager, &generation_reason(resource.generation));
            let applied = self.fleet.apply(resolved, by).await;
            self.record_result(generation, applied.err());
        }
    }
}

fn name_of(resource: &Resource) -> NetworkName {
    let key = &resource.key;
    (key.namespace.clone(), key.name.clone())
}

fn asked_of(resource: &Resource) -> NetworkInquiry {
    let end = if resource.is_orphaned() {
        NetworkEnd::Orphan
    } else {
        NetworkEnd::Delete
    };
    let ends = resource.is_deleting() && resource.has_finalizer();
    NetworkInquiry {
        uid: resource.uid,
        end: ends.then_some(end),
    }
}

/// Reports about networks, by their names.
pub(super) type NetworkSummaries = BTreeMap<NetworkName, NetworkSummary>;
