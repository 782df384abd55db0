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
#[derive(Clone)]
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

/// The namespaces of all documents whose plans need settings, disks or networks. Each field is named, so
/// that a new kind of document is not forgotten here.
fn namespaces(all: &Documents) -> BTreeSet<String> {
    fn of<T>(all: &[Document<T>]) -> impl Iterator<Item = String> {
        all.iter().map(|one| one.meta.namespace.clone())
    }
    let Documents {
        vsis,
        pools,
        groups,
        data_disks,
        data_disk_refs,
        networks,
        network_refs,
        snapshots: _,
        types: _,
        quotas: _,
        config_maps: _,
        secrets: _,
    } = all;
    let makers = of(vsis).chain(of(pools)).chain(of(groups));
    let disks = of(data_disks).chain(of(data_disk_refs));
    let networks = of(networks).chain(of(network_refs));
    makers.chain(disks).chain(networks).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        resource_cache::{CacheUpdate, ObjectSource, WatchedKind},
        sample,
    };

    fn documents<T: DeserializeOwned>(spec: serde_json::Value) -> Vec<Document<T>> {
        vec![Document {
            at: DocumentRef {
                index: 0,
                source: "a.yaml".to_owned(),
                line: None,
            },
            kind: "kind",
            meta: serde_json::from_value(json!({"name": "web"})).unwrap(),
            spec: serde_json::from_value(spec).unwrap(),
        }]
    }

    fn view() -> View {
        let source: ObjectSource = (WatchedKind::ConfigMaps, Some("default".to_owned()));
        let cache = Arc::new(ResourceCache::new(vec![source.clone()]));
        let settings = sample::config_map(json!({}));
        cache.replace(&source, vec![CacheUpdate::Settings(settings)]);
        View { cache, host: None }
    }

    #[test]
    fn a_plan_of_any_kind_finds_the_settings_of_its_namespace() {
        let template = json!({"imageURL": "http://images.example/a.qcow2",
            "targetSelector": {"matchLabels": {"config": "lpar1"}}, "guest": {"type": "none"}});
        let pool = json!({"replicas": 1, "template": {"spec": template}});
        let item = json!({"name": "a", "template": {"spec": template}});
        let group = json!({"waves": [{"name": "one", "members": [item]}]});
        let plans = [
            Documents {
                pools: documents(pool),
                ..Documents::default()
            },
            Documents {
                groups: documents(group),
                ..Documents::default()
            },
            Documents {
                networks: documents(json!({"cidr": "192.168.9.0/24"})),
                ..Documents::default()
            },
        ];
        for mut plan in plans {
            view().complete(&mut plan);
            assert_eq!(plan.config_maps.len(), 1, "{plan:?}");
        }
        let mut nothing = Documents::default();
        view().complete(&mut nothing);
        assert!(nothing.config_maps.is_empty());
    }
}
