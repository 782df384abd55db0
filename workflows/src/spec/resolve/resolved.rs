//! What documents ask for, once their selectors are followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use vsiflow_engine::secret::Secret;
use vsiflow_steps::vsi::require_references::UnresolvedRef;

use super::super::{
    desired::{DesiredDataDisk, DesiredVsi},
    directory::Directory,
    documents::Documents,
    group::ResolvedGroup,
    host::HostSettings,
    network::DesiredNetwork,
    pool::ResolvedPool,
    problem::{DocumentRef, Problem},
    quota::DesiredQuota,
    server_type::DesiredServerType,
    snapshot::DesiredSnapshot,
};
use crate::placement::Decision;

/// A VSI with everything it takes.
#[derive(Clone, Debug)]
pub struct ResolvedVsi {
    /// What it is to be.
    pub desired: DesiredVsi,
    /// Its contract or user-data, verbatim; empty where its guest takes none.
    pub contract: Secret,
    /// Whether its user-data cannot be found now, and the one it was made from stays.
    pub retains_user_data: bool,
    /// The image's URL with its credentials, where it has any: what to open it by.
    pub image_url: Option<Secret>,
    /// The document it comes from.
    pub at: DocumentRef,
    /// Whether it chooses data disks.
    pub selects_disks: bool,
    /// Whether it chooses networks.
    pub selects_networks: bool,
    /// References whose documents are away, in words. Only who knows the VSI can tell.
    pub retained_refs: Vec<String>,
    /// What its selectors find nothing for. Where that is its host, [`DesiredVsi::host`] is empty.
    pub unresolved_refs: Vec<UnresolvedRef>,
    /// Which host was chosen for it; none before, and where its document names one.
    pub placed: Option<Decision>,
}

impl ResolvedVsi {
    /// What a journal holds, to be applied as if a document said it. What selectors chose then is
    /// what it has. `source` says where it comes from.
    pub fn of_record(
        desired: DesiredVsi,
        contract: Secret,
        image_url: Option<Secret>,
        source: String,
    ) -> Self {
        Self {
            desired,
            contract,
            retains_user_data: false,
            image_url,
            at: DocumentRef {
                index: 0,
                source,
                line: None,
            },
            selects_disks: false,
            selects_networks: false,
            retained_refs: Vec::new(),
            unresolved_refs: Vec::new(),
            placed: None,
        }
    }
}

/// The references that there are, chosen by a VSI or not. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct References {
    disks: Arc<BTreeSet<(String, String)>>,
    networks: Arc<BTreeSet<(String, String)>>,
    network_documents: Arc<BTreeSet<(String, String)>>,
}

impl References {
    pub(super) fn of(documents: &Documents) -> Self {
        let name =
            |meta: &super::super::meta::ObjectMeta| (meta.namespace.clone(), meta.name.clone());
        let made = documents.data_disks.iter().map(|d| name(&d.meta));
        let existing = documents.data_disk_refs.iter().map(|d| name(&d.meta));
        let networks = documents.network_refs.iter();
        let made_networks = documents.networks.iter().map(|n| name(&n.meta));
        let network_documents = networks.clone().map(|n| name(&n.meta));
        let network_documents: BTreeSet<_> = network_documents.chain(made_networks).collect();
        let disks: BTreeSet<_> = made.chain(existing).collect();
        let networks = networks.map(|n| (n.meta.namespace.clone(), n.spec.network_name.clone()));
        let made_names = documents.networks.iter().map(|document| {
            let network = DesiredNetwork::of(document);
            (network.namespace.clone(), network.on_host())
        });
        let networks: BTreeSet<_> = networks.chain(made_names).collect();
        Self {
            disks: disks.into(),
            networks: networks.into(),
            network_documents: network_documents.into(),
        }
    }

    /// Whether there is a data disk's document of that name.
    pub fn has_disk(&self, namespace: &str, name: &str) -> bool {
        self.disks
            .contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether there is a network's document of that name.
    pub fn has_network_document(&self, namespace: &str, name: &str) -> bool {
        self.network_documents
            .contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether some document refers to that network of a host.
    pub fn has_network(&self, namespace: &str, network: &str) -> bool {
        self.networks
            .contains(&(namespace.to_owned(), network.to_owned()))
    }
}

/// What documents ask for.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The VSIs, in the order of their documents.
    pub vsis: Vec<ResolvedVsi>,
    /// The pools, in the order of their documents.
    pub pools: Vec<ResolvedPool>,
    /// The groups, in the order of their documents.
    pub groups: Vec<ResolvedGroup>,
    /// The snapshots, in the order of their documents.
    pub snapshots: Vec<DesiredSnapshot>,
    /// The types of virtual servers, in the order of their documents.
    pub types: Vec<DesiredServerType>,
    /// The quotas, in the order of their documents.
    pub quotas: Vec<DesiredQuota>,
    /// The data disks that are made, used or not, in the order of their documents.
    pub data_disks: Vec<DesiredDataDisk>,
    /// The networks that are made where something is on them, in the order of their documents.
    pub networks: Vec<DesiredNetwork>,
    /// The hosts they name, by id.
    pub hosts: BTreeMap<String, HostSettings>,
    /// The references that there are.
    pub references: References,
    /// Selectors that match nothing. What is there keeps what they gave it; what is new waits for
    /// what they are to find.
    pub unresolved_refs: Vec<Problem>,
    /// The directory they were read from, where that is one and the only one.
    pub directory: Option<Directory>,
}

impl Resolved {
    /// What a document's selectors find nothing for.
    pub fn unmatched_selectors(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Vec<UnresolvedRef> {
        let object = format!("{namespace}/{name}");
        let its = |problem: &&Problem| problem.kind == kind && problem.object == object;
        self.unresolved_refs
            .iter()
            .filter(its)
            .map(unresolved)
            .collect()
    }
}

/// A selector that matches nothing, as the VSI or disk that has it says so.
pub(super) fn unresolved(problem: &Problem) -> UnresolvedRef {
    let field = problem.path.to_string();
    UnresolvedRef {
        field: field.trim_start_matches("spec.").to_owned(),
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
    }
}
