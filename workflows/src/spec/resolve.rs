//! From documents to desired state: selectors are followed, and what does not fit is said, all of
//! it at once.

mod addresses;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use vsiflow_engine::secret::Secret;
use vsiflow_steps::{
    guest::GuestType,
    vsi::{define_domain::Secure, require_references::UnresolvedRef},
};

use self::addresses::{addresses_twice, shared_addresses};
use super::attach::{AttachedNetwork, AttachedRefs};
use super::data_disk::DataDiskSpec;
use super::desired::{DesiredBootDisk, DesiredDataDisk, DesiredImage, DesiredMachine, DesiredVsi};
use super::directory::Directory;
use super::documents::{Document, Documents};
use super::group::{self, GroupSpec, Release, ResolvedGroup, ResolvedItem, ResolvedWave};
use super::group_check::GroupCheck;
use super::host::HostSettings;
use super::network::DesiredNetwork;
use super::placement::{self, DesiredPlacement};
use super::pool::{self, DesiredPool, PoolSpec, ResolvedPool};
use super::problem::{DocumentRef, FieldPath, Problem, ProblemCode};
use super::quota::{self, DesiredQuota};
use super::server_type::{self, DesiredServerType};
use super::snapshot::DesiredSnapshot;
use super::target::TargetHosts;
use super::vsi::{BootDiskMode, VsiSpec};
use super::{guest, ready, unique};
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
    fn of(documents: &Documents) -> Self {
        let name = |meta: &super::meta::ObjectMeta| (meta.namespace.clone(), meta.name.clone());
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
    pub fn lacking_of(&self, kind: &str, namespace: &str, name: &str) -> Vec<UnresolvedRef> {
        let object = format!("{namespace}/{name}");
        let its = |problem: &&Problem| problem.kind == kind && problem.object == object;
        self.unresolved_refs.iter().filter(its).map(lack).collect()
    }
}

fn lack(problem: &Problem) -> UnresolvedRef {
    let field = problem.path.to_string();
    UnresolvedRef {
        field: field.trim_start_matches("spec.").to_owned(),
        message: problem.message.clone(),
        remedy: problem.remedy.clone(),
    }
}

/// Follows every selector. With `host`, everything lives there, and what documents say of hosts
/// is not looked at.
///
/// # Errors
/// With all problems at once, unless selectors that match nothing are all there is.
pub fn resolve(
    documents: &Documents,
    host: Option<&HostSettings>,
) -> Result<Resolved, Vec<Problem>> {
    let mut problems = unique::check(documents);
    let mut targets = TargetHosts::new(documents, host);
    let types = server_type::of(documents, &mut problems);
    let quotas = quota::of(documents, &mut problems);
    let data_disks = data_disks(documents, &mut targets, &mut problems);
    let attached = AttachedRefs::new(documents, &mut targets, &mut problems);
    let mut resolver = Resolver {
        documents,
        targets,
        attached,
    };
    let vsis = documents.vsis.iter();
    let vsis = vsis.map(|document| resolver.vsi(document, &mut problems));
    let mut vsis: Vec<_> = vsis.collect();
    let mut of_pools = Vec::new();
    let pools = documents.pools.iter();
    let pools = pools.map(|document| resolver.pool(document, &mut of_pools));
    let pools: Vec<_> = pools.collect();
    let groups = documents.groups.iter();
    let groups = groups.map(|document| resolver.group(document, &mut of_pools));
    let groups: Vec<_> = groups.collect();
    let Resolver {
        targets: resolved_targets,
        attached: resolved_refs,
        ..
    } = resolver;
    // Nothing of a pool or a group is made while its documents lack something.
    let pools_are_whole = of_pools.is_empty();
    problems.append(&mut of_pools);
    resolved_refs.check_shared(documents, &mut problems);
    addresses_twice(documents, &vsis, &mut problems);
    problems.sort_by(|a, b| (a.document.index, &a.path).cmp(&(b.document.index, &b.path)));
    problems.dedup();
    let lacks = |problem: &Problem| problem.code == ProblemCode::MatchesNothing;
    if problems.iter().all(lacks) && pools_are_whole {
        for vsi in &mut vsis {
            let its = |problem: &&Problem| problem.document.index == vsi.at.index;
            vsi.unresolved_refs = problems.iter().filter(its).map(lack).collect();
        }
        return Ok(Resolved {
            vsis,
            pools,
            groups,
            snapshots: documents
                .snapshots
                .iter()
                .map(DesiredSnapshot::of)
                .collect(),
            types,
            quotas,
            data_disks,
            networks: documents.networks.iter().map(DesiredNetwork::of).collect(),
            hosts: resolved_targets.into_hosts(),
            references: References::of(documents),
            unresolved_refs: problems,
            directory: None,
        });
    }
    Err(problems)
}

/// What resolves one document after another.
struct Resolver<'a> {
    documents: &'a Documents,
    targets: TargetHosts<'a>,
    attached: AttachedRefs,
}

impl Resolver<'_> {
    fn vsi(&mut self, document: &Document<VsiSpec>, problems: &mut Vec<Problem>) -> ResolvedVsi {
        let selector = document.spec.target_selector.as_ref();
        problems.extend(placement::check(document));
        let chosen = document.spec.placement.as_ref();
        let (host, placement) = match chosen.filter(|_| !self.targets.is_fixed()) {
            None => (self.targets.of(document, selector, problems), None),
            Some(request) => {
                let candidates = self.targets.all_of(document, selector, problems);
                let found = self.attached.candidates(document, candidates);
                (
                    None,
                    Some(DesiredPlacement {
                        request: request.clone(),
                        ..found
                    }),
                )
            }
        };
        let disks = self.attached.disks(document, host.as_deref(), problems);
        let mut networks = self.attached.networks(document, host.as_deref(), problems);
        if placement.is_some() {
            // Each candidate has them all, whichever document says so there.
            networks = by_name(networks);
        }
        let placement = placement.or_else(|| {
            chosen.map(|request| DesiredPlacement {
                request: request.clone(),
                ..DesiredPlacement::default()
            })
        });
        let guest = guest::of(document, self.documents, problems);
        lasting_boot_disk(document, problems);
        readable_screen(document, problems);
        let guest_type = guest.as_ref().map(|guest| guest.desired.guest_type);
        let ready = ready::of(document, guest_type, problems);
        let network_config = match &guest {
            Some(guest) => guest.network_config.clone(),
            None => document.spec.network_config.clone(),
        };
        let desired = DesiredVsi {
            guest: guest.as_ref().map(|guest| guest.desired.clone()),
            ready,
            network_config,
            disks,
            networks: networks.iter().map(|one| one.name.clone()).collect(),
            network_refs: networks.iter().filter_map(by_document).collect(),
            addresses: networks.iter().filter_map(address).collect(),
            made_networks: networks.into_iter().filter_map(made_network).collect(),
            placement,
            ..desired(document, host.unwrap_or_default())
        };
        resolved(document, desired, guest.map(|guest| guest.user_data))
    }

    fn pool(&mut self, document: &Document<PoolSpec>, problems: &mut Vec<Problem>) -> ResolvedPool {
        pool::check(document, problems);
        let mut found = Vec::new();
        let template = self.vsi(&pool::template(document), &mut found);
        let within = FieldPath::of(["spec", "template"]);
        let found = found.into_iter();
        problems.extend(found.map(|problem| pool::in_template(problem, &within)));
        shared_addresses(document, &template.desired, problems);
        let disks = self.disk_templates(document, &template.desired, problems);
        let (meta, spec) = (&document.meta, &document.spec);
        let desired = DesiredPool {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid,
            labels: meta.labels.clone(),
            replicas: spec.replicas,
            strategy: spec.strategy,
            update_policy: spec.update_policy,
            disks,
            names_guests: spec.template.spec.guest.hostname.is_none(),
            evictable: spec.template.evictable,
            of_group: None,
        };
        ResolvedPool {
            desired,
            template,
            at: document.at.clone(),
        }
    }

    fn group(
        &mut self,
        document: &Document<GroupSpec>,
        problems: &mut Vec<Problem>,
    ) -> ResolvedGroup {
        let mut check = GroupCheck { document, problems };
        check.form();
        let (meta, spec) = (&document.meta, &document.spec);
        let release = spec.release.iter().map(|(name, release)| {
            let checksum = release.checksum.as_ref().map(ToString::to_string);
            let image = release.image.stored().to_owned();
            (name.clone(), Release { image, checksum })
        });
        let mut resolved = ResolvedGroup {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid,
            labels: meta.labels.clone(),
            release: release.collect(),
            waves: Vec::new(),
            outputs: Vec::new(),
            at: document.at.clone(),
        };
        let mut paths = Vec::new();
        for (place, wave) in spec.waves.iter().enumerate() {
            let (mut items, mut of_wave) = (Vec::new(), Vec::new());
            for item in group::items(document, place) {
                let mut found = Vec::new();
                let pool = self.pool(&item.pool, &mut found);
                let found = found.into_iter();
                let found = found.map(|problem| group::in_item(problem, document, &item.path));
                problems.extend(found);
                of_wave.push(item.path);
                items.push(ResolvedItem {
                    name: item.name,
                    single: item.single,
                    remove_after: item.remove_after,
                    pool,
                });
            }
            let guests = items
                .iter()
                .map(|item| item.pool.template.desired.guest_type());
            let guests: Vec<_> = guests.collect();
            let gate = GroupCheck { document, problems }.gate(place, &guests);
            let name = wave.name.clone();
            resolved.waves.push(ResolvedWave { name, gate, items });
            paths.push(of_wave);
        }
        let placed = resolved.waves.iter().enumerate();
        let placed =
            placed.flat_map(|(place, wave)| wave.items.iter().map(move |item| (place, item)));
        let placed: Vec<_> = placed.collect();
        let outputs = GroupCheck { document, problems }.outputs(&placed);
        resolved.outputs = outputs;
        for (place, (wave, item_paths)) in resolved.waves.iter().zip(&paths).enumerate() {
            for (item, path) in wave.items.iter().zip(item_paths) {
                GroupCheck { document, problems }.references(&resolved, place, item, path);
            }
        }
        resolved
    }

    fn disk_templates(
        &mut self,
        document: &Document<PoolSpec>,
        member: &DesiredVsi,
        problems: &mut Vec<Problem>,
    ) -> Vec<DesiredDataDisk> {
        let mut disks = Vec::new();
        for (index, template) in document.spec.disk_templates.iter().enumerate() {
            let disk = pool::disk(document, template);
            let within = FieldPath::of(["spec", "diskTemplates"]).index(index);
            if member.placement.is_some() && template.spec.target_selector.is_none() {
                // They follow the member.
                disks.push(desired_disk(&disk, member.host.clone()));
                continue;
            }
            // That of the template was complained about already.
            let mut found = Vec::new();
            let host = self
                .targets
                .of(&disk, disk.spec.target_selector.as_ref(), &mut found);
            if template.spec.target_selector.is_some() {
                let found = found.into_iter();
                problems.extend(found.map(|problem| pool::in_template(problem, &within)));
            }
            let host = host.unwrap_or_default();
            if host != member.host {
                problems.push(document.problem(
                    ProblemCode::WrongValue,
                    within.key("spec").key("targetSelector"),
                    format!("the disk is on host {host}, the members on {}", member.host),
                    "remove it: a member's disks are on its host",
                ));
            }
            disks.push(desired_disk(&disk, host));
        }
        disks
    }
}

fn data_disks(
    documents: &Documents,
    targets: &mut TargetHosts<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<DesiredDataDisk> {
    let disks = documents.data_disks.iter().map(|document| {
        let host = targets.of(document, document.spec.target_selector.as_ref(), problems);
        desired_disk(document, host.unwrap_or_default())
    });
    disks.collect()
}

fn desired_disk(document: &Document<DataDiskSpec>, host: String) -> DesiredDataDisk {
    let (meta, spec) = (&document.meta, &document.spec);
    DesiredDataDisk {
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid,
        labels: meta.labels.clone(),
        host,
        pool: spec.storage_pool.clone(),
        size: spec.size.bytes(),
        deletion_policy: spec.deletion_policy,
        member_of: None,
        copy_of: None,
        source: spec.source.clone(),
    }
}

/// A guest that is protected from its host shows it nothing.
fn readable_screen(document: &Document<VsiSpec>, problems: &mut Vec<Problem>) {
    let spec = &document.spec;
    let guest = spec.guest.as_ref().and_then(|guest| guest.guest_type);
    let is_protected = guest == Some(GuestType::HyperProtect)
        || spec.platform.secure_execution == Secure::Required;
    if is_protected && !spec.platform.graphics.is_none() {
        problems.push(document.problem(
            ProblemCode::WrongValue,
            FieldPath::of(["spec", "machine", "graphics"]),
            "a guest that is protected from its host has no screen there",
            "remove it; `vsiflow console` opens the serial console",
        ));
    }
}

/// A guest that keeps its data on its boot disk must not lose it at its next start.
fn lasting_boot_disk(document: &Document<VsiSpec>, problems: &mut Vec<Problem>) {
    let spec = &document.spec;
    if spec.guest.is_none() && spec.boot_disk.mode == BootDiskMode::Ephemeral {
        problems.push(document.problem(
            ProblemCode::WrongValue,
            FieldPath::of(["spec", "bootDisk", "mode"]),
            "the boot disk of a Hyper Protect VSI is not ephemeral",
            "write copy or overlay; kind VirtualServer takes ephemeral",
        ));
    }
}

/// Each network once, whichever documents give it.
fn by_name(mut networks: Vec<AttachedNetwork>) -> Vec<AttachedNetwork> {
    let mut seen = BTreeSet::new();
    networks.retain(|network| seen.insert(network.name.clone()));
    for network in networks.iter_mut().filter(|network| network.made.is_none()) {
        network.document = None;
    }
    networks
}

fn by_document(network: &AttachedNetwork) -> Option<(String, String)> {
    Some((network.document.clone()?, network.name.clone()))
}

fn address(network: &AttachedNetwork) -> Option<(String, Ipv4Addr)> {
    Some((network.name.clone(), network.address?))
}

fn made_network(network: AttachedNetwork) -> Option<(String, DesiredNetwork)> {
    Some((network.name, network.made?))
}

/// What the document says by itself; disks and networks come from other documents.
fn desired(document: &Document<VsiSpec>, host: String) -> DesiredVsi {
    let (meta, spec) = (&document.meta, &document.spec);
    DesiredVsi {
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid,
        labels: meta.labels.clone(),
        host,
        pool: spec.storage_pool.clone(),
        image: DesiredImage {
            url: spec.image_url.for_arch(&spec.machine.arch),
            file_name: spec.image_url.file_name().to_owned(),
            checksum: spec.image_checksum.clone(),
        },
        boot_disk: DesiredBootDisk {
            mode: spec.boot_disk.mode,
            size: spec.boot_disk.size.map(|size| size.bytes()),
            copy_of: None,
        },
        machine: DesiredMachine {
            arch: spec.machine.arch.clone(),
            cpus: spec.machine.cpus,
            memory_mib: spec.machine.memory.mib(),
            cpu: spec.platform.cpu.clone(),
            firmware: spec.platform.firmware,
            secure_execution: spec.platform.secure_execution,
            graphics: spec.platform.graphics,
        },
        networks: Vec::new(),
        network_refs: BTreeMap::new(),
        made_networks: BTreeMap::new(),
        addresses: BTreeMap::new(),
        disks: Vec::new(),
        network_config: None,
        guest: None,
        ready: None,
        power_state: spec.power_state,
        restarted_at: meta.restarted_at(),
        on_drift: spec.on_drift,
        update_policy: spec.update_policy,
        deletion_policy: spec.deletion_policy,
        snapshot_policy: spec.snapshot_policy.clone().map(Into::into),
        member_of: None,
        placement: None,
    }
}

fn resolved(
    document: &Document<VsiSpec>,
    desired: DesiredVsi,
    user_data: Option<Secret>,
) -> ResolvedVsi {
    let contract = || document.spec.contract.secret().clone();
    ResolvedVsi {
        desired,
        contract: user_data.unwrap_or_else(contract),
        retains_user_data: false,
        image_url: document.spec.image_url.with_credentials().cloned(),
        at: document.at.clone(),
        selects_disks: document.spec.disk_selector.is_some(),
        selects_networks: document.spec.network_selector.is_some()
            || !document.spec.interfaces.is_empty(),
        retained_refs: Vec::new(),
        unresolved_refs: Vec::new(),
        placed: None,
    }
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
