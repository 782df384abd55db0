//! Translates a snapshot of the cluster to the desired state, and to the problems of each resource.
//!
//! Everything is resolved together, so that two VSIs never get the same disk, and two namespaces cannot
//! have different settings for one host unnoticed. A problem affects only the resources that it
//! concerns: they are left out, and the rest is resolved again. Of two conflicting resources the older
//! one remains.

mod claims;
mod permitted;
mod text_turns;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use uuid::Uuid;
use vsiflow_workflows::spec::{
    DataDiskSpec, Document, DocumentRef, Documents, HostSettings, LabelSelector, Permits, Problem,
    Resolved, ResolvedGroup, ResolvedPool, ResolvedVsi, VsiSpec, documents, group, network, pool,
    resolve,
};

pub(crate) use self::text_turns::TextTurns;
use crate::{
    document,
    kind::ResourceKind,
    resource::{Resource, ResourceKey, Settings},
    resource_cache::Snapshot,
};

/// The most problems that are noted of one resource. Its own document has fewer; the rest is of settings that it selects.
const NOTED_MAX: usize = 64;

/// Converts a resource of one kind to a document.
type DocumentReader<T> = fn(&Resource, DocumentRef) -> Result<document::Read<T>, Box<Problem>>;

/// The numbers of documents, by namespace and name.
type NamedDocuments<'a> = BTreeMap<(&'a str, Cow<'a, str>), Vec<usize>>;

/// The desired state of the cluster.
#[derive(Debug, Default)]
pub(crate) struct Translation {
    /// Valid VSIs, by UID.
    pub(crate) vsis: BTreeMap<Uuid, ResolvedVsi>,
    /// Valid pools, by the UID of their resource.
    pub(crate) pools: BTreeMap<Uuid, ResolvedPool>,
    /// Valid groups, by the UID of their resource.
    pub(crate) groups: BTreeMap<Uuid, ResolvedGroup>,
    /// Everything except VSIs, pools and groups.
    pub(crate) rest: Resolved,
    /// Problems, by resource.
    pub(crate) problems: BTreeMap<ResourceKey, Vec<Problem>>,
    /// Warnings, by resource.
    pub(crate) warnings: BTreeMap<ResourceKey, Vec<String>>,
    /// The hosts of data disks and references, as far as they are known.
    pub(crate) hosts: BTreeMap<ResourceKey, String>,
    /// The VSIs that use a disk, a network or a reference, by its resource.
    pub(crate) used_by: BTreeMap<ResourceKey, Vec<String>>,
    /// Hosts whose namespaces do not select them any more, and that other namespaces ask for: host and
    /// namespace.
    pub(crate) stale: Vec<(String, String)>,
    /// Whether resources were left out because their texts for guests are not checked yet.
    pub(crate) has_unchecked: bool,
}

/// The input of a translation besides the snapshot.
pub(crate) struct TranslationRules<'a> {
    /// The host that every VSI lives on, whatever resources say.
    pub(crate) host: Option<&'a HostSettings>,
    /// The files, images and bridges that resources may name.
    pub(crate) permits: &'a dyn Permits,
    /// The namespaces that own hosts, by host.
    pub(crate) owners: BTreeMap<String, String>,
    /// Returns the known settings of a host.
    pub(crate) known: &'a dyn Fn(&str) -> Option<HostSettings>,
    /// The turns of namespaces in checks that take long.
    pub(crate) text_turns: Arc<TextTurns>,
}

/// Translates a snapshot.
pub(crate) fn translate(snapshot: &Snapshot, rules: &TranslationRules<'_>) -> Translation {
    let mut reading = TranslationPass::default();
    reading.settings(&snapshot.config_maps, documents::CONFIG_MAP);
    reading.settings(&snapshot.secrets, documents::SECRET);
    for resource in &snapshot.resources {
        reading.resource(resource);
    }
    let problems = reading.not_permitted(rules);
    reading.refuse(problems);
    reading.settle_claims(rules);
    reading.check_texts(&rules.text_turns);
    reading.resolve(rules.host)
}

/// The source of a document.
#[derive(Clone)]
enum SettingsOwner {
    Resource(Arc<Resource>),
    Settings,
}

#[derive(Default)]
struct TranslationPass {
    documents: Documents,
    owners: Vec<SettingsOwner>,
    /// VSIs, pools and groups whose usage counts, but which are not part of the desired state.
    silent: BTreeSet<usize>,
    /// The namespaces that own hosts, by host.
    owned: BTreeMap<String, String>,
    translation: Translation,
}

impl TranslationPass {
    fn number(&mut self, owner: SettingsOwner, source: String) -> DocumentRef {
        self.owners.push(owner);
        DocumentRef {
            index: self.owners.len().saturating_sub(1),
            source,
            line: None,
        }
    }

    fn settings(&mut self, all: &[Arc<Settings>], kind: &'static str) {
        for one in all {
            let source = format!("{kind} {}/{}", one.namespace, one.name);
            let at = self.number(SettingsOwner::Settings, source);
            let document = document::settings(one, kind, at);
            match kind {
                documents::SECRET => self.documents.secrets.push(document),
                _ => self.documents.config_maps.push(document),
            }
        }
    }

    fn resource(&mut self, resource: &Arc<Resource>) {
        let owner = SettingsOwner::Resource(resource.clone());
        let at = self.number(owner, resource.key.to_string());
        match resource.key.kind {
            ResourceKind::Vsi | ResourceKind::VirtualServer => self.vsi(resource, at),
            ResourceKind::Pool => {
                self.silence(resource, &at);
                let found = self.read(resource, at);
                self.documents.pools.extend(found);
            }
            ResourceKind::Group => {
                self.silence(resource, &at);
                let found = self.read(resource, at);
                self.documents.groups.extend(found);
            }
            ResourceKind::DataDisk => {
                let found = self.read(resource, at);
                self.documents.data_disks.extend(found);
            }
            ResourceKind::DataDiskRef => {
                let found = self.read(resource, at);
                self.documents.data_disk_refs.extend(found);
            }
            ResourceKind::Network => {
                let found = self.read(resource, at);
                self.documents.networks.extend(found);
            }
            ResourceKind::NetworkRef => {
                let found = self.read(resource, at);
                self.documents.network_refs.extend(found);
            }
            ResourceKind::Snapshot => {
                let found = self.read(resource, at);
                self.documents.snapshots.extend(found);
            }
            // A quota that is being deleted limits nothing any more.
            ResourceKind::Quota if resource.is_deleting() => {}
            ResourceKind::Quota => {
                let found = self.read(resource, at);
                self.documents.quotas.extend(found);
            }
        }
    }

    /// What is being deleted still counts as using disks and networks.
    fn silence(&mut self, resource: &Resource, at: &DocumentRef) {
        if resource.is_deleting() {
            self.silent.insert(at.index);
        }
    }

    /// The documents of a member and of its data disks, for each pool and for each pool of a group.
    fn within_pools(&self) -> Vec<(Document<VsiSpec>, Vec<Document<DataDiskSpec>>)> {
        let of_groups = self.documents.groups.iter().flat_map(group::pools);
        let of_groups = of_groups.map(|one| pool::parts(&one));
        let pools = self.documents.pools.iter().map(pool::parts);
        pools.chain(of_groups).collect()
    }

    fn vsi(&mut self, resource: &Arc<Resource>, at: DocumentRef) {
        let index = at.index;
        let found = self.taken(resource, at.clone(), document::vsi);
        if found.is_none() || resource.is_deleting() {
            self.silent.insert(index);
        }
        let found = found.or_else(|| document::stand_in(resource, at));
        self.documents.vsis.extend(found);
    }

    fn read<T: DeserializeOwned>(
        &mut self,
        resource: &Resource,
        at: DocumentRef,
    ) -> Option<Document<T>> {
        self.taken(resource, at, document::read)
    }

    fn taken<T>(
        &mut self,
        resource: &Resource,
        at: DocumentRef,
        read: DocumentReader<T>,
    ) -> Option<Document<T>> {
        let key = resource.key.clone();
        // A panic while reading one resource affects only that resource.
        let read = || read(resource, at.clone());
        let read = catch_unwind(AssertUnwindSafe(read));
        match read.unwrap_or_else(|_| Err(Box::new(document::panicked(resource, at)))) {
            Ok((document, warnings)) => {
                if !warnings.is_empty() {
                    self.translation.warnings.insert(key, warnings);
                }
                Some(document)
            }
            Err(problem) => {
                self.translation
                    .problems
                    .entry(key)
                    .or_default()
                    .push(*problem);
                None
            }
        }
    }

    /// Adds problems to the resources that they concern, and leaves these out.
    fn refuse(&mut self, problems: Vec<Problem>) {
        let mut wrong = BTreeSet::new();
        for problem in problems {
            for index in self.concerned(&problem) {
                wrong.insert(index);
                self.note(index, problem.clone());
            }
        }
        self.leave_out(&wrong);
    }

    fn settle_claims(&mut self, rules: &TranslationRules<'_>) {
        let claims = self.claims(rules);
        let wrong: BTreeSet<_> = claims.wrong.iter().map(|(index, _)| *index).collect();
        for (index, problem) in claims.wrong {
            self.note(index, problem);
        }
        self.leave_out(&wrong);
        for (index, warning) in claims.warnings {
            if let Some(resource) = self.owner(index) {
                let warnings = self.translation.warnings.entry(resource.key.clone());
                warnings.or_default().push(warning);
            }
        }
        self.translation.stale = claims.stale;
        self.owned = claims.owners;
    }

    /// Resolves, leaving out resources with problems until the rest has none.
    fn resolve(mut self, host: Option<&HostSettings>) -> Translation {
        loop {
            let problems = match resolve(&self.documents, host) {
                Ok(resolved) if resolved.unresolved_refs.is_empty() => {
                    return self.finish(resolved, host);
                }
                // What a resource lacks is reported at the resource, which is left as it is.
                Ok(resolved) => resolved.unresolved_refs,
                Err(problems) => problems,
            };
            let before = self.documents.len();
            self.refuse(problems);
            if self.documents.len() == before {
                // The problem concerns nothing that can be left out: nothing is requested.
                return self.translation;
            }
        }
    }

    fn note(&mut self, index: usize, problem: Problem) {
        let Some(SettingsOwner::Resource(resource)) = self.owners.get(index) else {
            return;
        };
        if self.silent.contains(&index) {
            return;
        }
        let problems = self.translation.problems.entry(resource.key.clone());
        let problems = problems.or_default();
        if problems.len() < NOTED_MAX && !problems.contains(&problem) {
            problems.push(problem);
        }
    }

    /// The documents that a problem concerns: its own document, or, for host settings, the documents
    /// that select them.
    fn concerned(&self, problem: &Problem) -> Vec<usize> {
        let own = problem.document.index;
        match self.owners.get(own) {
            Some(SettingsOwner::Settings) => self.selecting(own),
            _ => vec![own],
        }
    }

    fn selecting(&self, settings: usize) -> Vec<usize> {
        let all = &self.documents;
        let found = all.config_maps.iter().chain(&all.secrets);
        let Some(found) = found.into_iter().find(|one| one.at.index == settings) else {
            return Vec::new();
        };
        let selects = |namespace: &str, selector: Option<&LabelSelector>| {
            namespace == found.meta.namespace
                && selector.is_some_and(|selector| selector.matches(&found.meta.labels))
        };
        let mut indexes = Vec::new();
        macro_rules! among {
            ($list:expr) => {
                for one in $list {
                    if selects(&one.meta.namespace, one.spec.target_selector.as_ref()) {
                        indexes.push(one.at.index);
                    }
                }
            };
        }
        among!(&all.vsis);
        among!(&all.data_disks);
        among!(&all.data_disk_refs);
        among!(&all.network_refs);
        for (member, disks) in self.within_pools() {
            among!([member]);
            among!(disks);
        }
        indexes
    }

    fn leave_out(&mut self, wrong: &BTreeSet<usize>) {
        let all = &mut self.documents;
        let fits = |at: &DocumentRef| !wrong.contains(&at.index);
        all.vsis.retain(|one| fits(&one.at));
        all.pools.retain(|one| fits(&one.at));
        all.groups.retain(|one| fits(&one.at));
        all.data_disks.retain(|one| fits(&one.at));
        all.data_disk_refs.retain(|one| fits(&one.at));
        all.network_refs.retain(|one| fits(&one.at));
        all.networks.retain(|one| fits(&one.at));
        all.quotas.retain(|one| fits(&one.at));
        all.snapshots.retain(|one| fits(&one.at));
    }

    fn finish(mut self, mut resolved: Resolved, host: Option<&HostSettings>) -> Translation {
        for (id, record) in &mut resolved.hosts {
            record.namespace = self.owned.get(id).cloned();
        }
        self.users(&resolved.vsis);
        self.hosts(host);
        for vsi in std::mem::take(&mut resolved.vsis) {
            let Some(SettingsOwner::Resource(resource)) = self.owners.get(vsi.at.index) else {
                continue;
            };
            if !self.silent.contains(&vsi.at.index) {
                self.translation.vsis.insert(resource.uid, vsi);
            }
        }
        for pool in std::mem::take(&mut resolved.pools) {
            if let Some(SettingsOwner::Resource(resource)) = self.owners.get(pool.at.index)
                && !self.silent.contains(&pool.at.index)
            {
                self.translation.pools.insert(resource.uid, pool);
            }
        }
        for group in std::mem::take(&mut resolved.groups) {
            if let Some(SettingsOwner::Resource(resource)) = self.owners.get(group.at.index)
                && !self.silent.contains(&group.at.index)
            {
                self.translation.groups.insert(resource.uid, group);
            }
        }
        self.translation.rest = resolved;
        self.translation
    }

    fn owner(&self, index: usize) -> Option<Arc<Resource>> {
        match self.owners.get(index)? {
            SettingsOwner::Resource(resource) => Some(resource.clone()),
            SettingsOwner::Settings => None,
        }
    }

    /// Finds which VSIs use each disk and network.
    fn users(&mut self, vsis: &[ResolvedVsi]) {
        let all = &self.documents;
        let disks = all
            .data_disks
            .iter()
            .map(|one| (&one.meta, one.at.index, &one.meta.name));
        let refs = all.data_disk_refs.iter();
        let refs = refs.map(|one| (&one.meta, one.at.index, &one.meta.name));
        let networks = all.network_refs.iter();
        let networks = networks.map(|one| {
            let name = one.spec.network_name.clone();
            (&one.meta, one.at.index, name)
        });
        let made = all.networks.iter().map(|one| {
            let name = network::name_on_host(&one.meta);
            (&one.meta, one.at.index, name)
        });
        let (mut disks_named, mut networks_named) = (NamedDocuments::new(), NamedDocuments::new());
        for (meta, index, name) in disks.chain(refs) {
            let named = (meta.namespace.as_str(), name.as_str().into());
            disks_named.entry(named).or_default().push(index);
        }
        for (meta, index, name) in networks.chain(made) {
            let named = (meta.namespace.as_str(), name.into());
            networks_named.entry(named).or_default().push(index);
        }
        let mut used_by: BTreeMap<ResourceKey, Vec<String>> = BTreeMap::new();
        for vsi in vsis {
            let desired = &vsi.desired;
            let numbers_of = |documents: &NamedDocuments<'_>, name: &str| {
                let named = (desired.namespace.as_str(), name.into());
                documents.get(&named).cloned().unwrap_or_default()
            };
            let own_disks = desired.disks.iter();
            let own_disks = own_disks.flat_map(|disk| numbers_of(&disks_named, &disk.name));
            let own_networks = desired.networks.iter().filter(|_| vsi.selects_networks);
            let own_networks =
                own_networks.flat_map(|network| numbers_of(&networks_named, network));
            let used: BTreeSet<usize> = own_disks.chain(own_networks).collect();
            for resource in used.into_iter().filter_map(|index| self.owner(index)) {
                let users = used_by.entry(resource.key.clone()).or_default();
                users.push(desired.name.clone());
            }
        }
        self.translation.used_by = used_by;
    }

    /// Finds the hosts of data disks and references.
    fn hosts(&mut self, fixed: Option<&HostSettings>) {
        let all = &self.documents;
        let mut hosts = BTreeMap::new();
        macro_rules! among {
            ($list:expr) => {
                for one in $list {
                    let selector = one.spec.target_selector.as_ref();
                    let host = match fixed {
                        Some(host) => Some(host.id()),
                        None => self.host_of(&one.meta.namespace, selector),
                    };
                    if let (Some(resource), Some(host)) = (self.owner(one.at.index), host) {
                        hosts.insert(resource.key.clone(), host);
                    }
                }
            };
        }
        among!(&all.data_disks);
        among!(&all.data_disk_refs);
        among!(&all.network_refs);
        self.translation.hosts = hosts;
    }

    fn host_of(&self, namespace: &str, selector: Option<&LabelSelector>) -> Option<String> {
        self.selected(namespace, selector)
            .map(|settings| settings.id())
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
