//! A view of the cluster for plans: adds its objects to the documents of a plan.

use std::{collections::BTreeSet, sync::Arc};

use serde::de::DeserializeOwned;
use vsiflow_workflows::spec::{Document, DocumentRef, Documents, HostSettings, documents};

use crate::{
    document,
    kind::ResourceKind,
    resource::{Resource, Settings},
    resource_cache::ResourceCache,
};

/// The first index of documents that come from the cluster, not from a file.
const FIRST: usize = usize::MAX / 2;

/// The cached cluster, for planning what files would change in it.
pub struct View {
    pub(crate) cache: Arc<ResourceCache>,
    pub(crate) host: Option<HostSettings>,
}

impl View {
    /// The host that every VSI lives on, whatever documents say.
    pub fn host(&self) -> Option<&HostSettings> {
        self.host.as_ref()
    }

    /// Whether a document comes from the cluster, not from a file.
    pub fn is_of_cluster(document: &DocumentRef) -> bool {
        document.index > FIRST
    }

    /// Adds host settings, disks and networks of the cluster to the documents, except those whose name
    /// is in the documents: as if the documents were applied to the cluster. Only namespaces with
    /// documents are considered.
    pub fn complete(&self, all: &mut Documents) {
        let mut snapshot = self.cache.snapshot();
        let concerned = namespaces(all);
        let is_concerned = |namespace: &String| concerned.contains(namespace);
        snapshot
            .resources
            .retain(|one| is_concerned(&one.key.namespace));
        snapshot
            .config_maps
            .retain(|one| is_concerned(&one.namespace));
        snapshot.secrets.retain(|one| is_concerned(&one.namespace));
        let mut next = FIRST;
        let mut at = |source: String| {
            next = next.saturating_add(1);
            DocumentRef {
                index: next,
                source,
                line: None,
            }
        };
        add_settings(
            &mut all.config_maps,
            &snapshot.config_maps,
            documents::CONFIG_MAP,
            &mut at,
        );
        add_settings(
            &mut all.secrets,
            &snapshot.secrets,
            documents::SECRET,
            &mut at,
        );
        let there = snapshot.resources.iter().filter(|one| !one.is_deleting());
        for one in there {
            match one.key.kind {
                ResourceKind::Vsi
                | ResourceKind::VirtualServer
                | ResourceKind::Pool
                | ResourceKind::Group
                // The fleet has the quotas and snapshots.
                | ResourceKind::Quota
                | ResourceKind::Snapshot => {}
                ResourceKind::DataDisk => add(&mut all.data_disks, one, &mut at),
                ResourceKind::DataDiskRef => add(&mut all.data_disk_refs, one, &mut at),
                ResourceKind::Network => add(&mut all.networks, one, &mut at),
                ResourceKind::NetworkRef => add(&mut all.network_refs, one, &mut at),
            }
        }
    }
}

fn namespaces(all: &Documents) -> BTreeSet<String> {
    let vsis = all.vsis.iter().map(|one| &one.meta);
    let disks = all.data_disks.iter().map(|one| &one.meta);
    let references = all.data_disk_refs.iter().map(|one| &one.meta);
    let networks = all.network_refs.iter().map(|one| &one.meta);
    let metas = vsis.chain(disks).chain(references).chain(networks);
    metas.map(|meta| meta.namespace.clone()).collect()
}

fn add_settings(
    to: &mut Vec<Document<vsiflow_workflows::spec::KeyValues>>,
    there: &[Arc<Settings>],
    kind: &'static str,
    at: &mut impl FnMut(String) -> DocumentRef,
) {
    let names: BTreeSet<_> = to.iter().map(|one| one.meta.full_name()).collect();
    for one in there {
        let name = format!("{}/{}", one.namespace, one.name);
        if !names.contains(&name) {
            to.push(document::settings(one, kind, at(format!("{kind} {name}"))));
        }
    }
}

/// Adds a document, unless its resource cannot be read.
fn add<T: DeserializeOwned>(
    to: &mut Vec<Document<T>>,
    resource: &Resource,
    at: &mut impl FnMut(String) -> DocumentRef,
) {
    let key = &resource.key;
    let same = |one: &Document<T>| one.meta.namespace == key.namespace && one.meta.name == key.name;
    if to.iter().any(same) {
        return;
    }
    if let Ok((document, _)) = document::read(resource, at(key.to_string())) {
        to.push(document);
    }
}
