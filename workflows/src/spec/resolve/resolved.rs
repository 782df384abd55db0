//! The result of resolving documents.

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
    recorded::RecordedFields,
    server_type::DesiredServerType,
    snapshot::DesiredSnapshot,
};
use crate::placement::Decision;

/// A VSI, resolved from its document.
#[derive(Clone, Debug)]
pub struct ResolvedVsi {
    /// Its desired state.
    pub desired: DesiredVsi,
    /// Its contract or user-data, verbatim; empty if its guest has none.
    pub contract: Secret,
    /// Whether its user-data cannot be found now, so that the VSI keeps the user-data that it was made
    /// from.
    pub retains_user_data: bool,
    /// What its document says of the recorded state.
    pub recorded: RecordedFields,
    /// The image's URL with its credentials, if it has any; the image is opened with it.
    pub image_url: Option<Secret>,
    /// The document it comes from.
    pub at: DocumentRef,
    /// Whether it selects data disks.
    pub selects_disks: bool,
    /// Whether it selects networks.
    pub selects_networks: bool,
    /// Retained references, as text. Filled in only by comparison with an existing VSI.
    pub retained_refs: Vec<String>,
    /// Its unresolved references. If the host is one, [`DesiredVsi::host`] is empty.
    pub unresolved_refs: Vec<UnresolvedRef>,
    /// The choice of its host; `None` before the choice, and if its document names the host.
    pub placed: Option<Decision>,
}

impl ResolvedVsi {
    /// A recorded VSI, to be applied as if it came from a document. Its selectors are already resolved.
    /// `source` says where it comes from.
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
            recorded: RecordedFields::default(),
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

/// All references in the documents, selected by a VSI or not. Cheap to clone.
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

    /// Whether there is a document of a data disk of that name.
    pub fn has_disk(&self, namespace: &str, name: &str) -> bool {
        self.disks
            .contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether there is a document of a network of that name.
    pub fn has_network_document(&self, namespace: &str, name: &str) -> bool {
        self.network_documents
            .contains(&(namespace.to_owned(), name.to_owned()))
    }

    /// Whether a document refers to that network of a host.
    pub fn has_network(&self, namespace: &str, network: &str) -> bool {
        self.networks
            .contains(&(namespace.to_owned(), network.to_owned()))
    }
}

/// Resolved documents.
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
    /// The data disks to make, used or not, in the order of their documents.
    pub data_disks: Vec<DesiredDataDisk>,
    /// The networks to make where they are used, in the order of their documents.
    pub networks: Vec<DesiredNetwork>,
    /// The hosts that they name, by ID.
    pub hosts: BTreeMap<String, HostSettings>,
    /// All references in the documents.
    pub references: References,
    /// Selectors that match nothing. An existing VSI keeps what they resolved to before; a new one
    /// waits until they match.
    pub unresolved_refs: Vec<Problem>,
    /// What is accepted and probably not meant, to warn of.
    pub doubts: Vec<Problem>,
    /// The directory that the documents were read from, if they are all from one.
    pub directory: Option<Directory>,
}

impl Resolved {
    /// The unresolved references of a document.
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

/// The unresolved reference of a selector that matches nothing.
pub(super) fn unresolved(problem: &Problem) -> UnresolvedRef {
    let field = problem.path.to_string();
    UnresolvedRef {
        field: field.trim_start_matches("spec.").to_owned(),
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
    }
}
