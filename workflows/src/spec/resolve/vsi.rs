//! Resolves a VSI's document: host, disks, networks and guest.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use vsiflow_engine::secret::Secret;
use vsiflow_steps::{guest::GuestType, vsi::define_domain::Secure};

use super::super::{
    attach::AttachedNetwork,
    desired::{DesiredBootDisk, DesiredImage, DesiredMachine, DesiredVsi},
    documents::Document,
    guest::{self, GuestFields},
    network::DesiredNetwork,
    placement::{self, DesiredPlacement},
    problem::{FieldPath, Problem, ProblemCode},
    ready,
    recorded::RecordedFields,
    vsi::{BootDiskMode, VsiSpec},
};
use super::{Resolver, resolved::ResolvedVsi};

impl Resolver<'_> {
    pub(super) fn vsi(
        &mut self,
        document: &Document<VsiSpec>,
        problems: &mut Vec<Problem>,
    ) -> ResolvedVsi {
        let selector = document.spec.target_selector.as_ref();
        problems.extend(placement::check(document));
        let chosen = document.spec.placement.as_ref();
        let is_fixed = self.targets.is_fixed();
        let recorded = document.spec.host.clone();
        let recorded = recorded.filter(|_| selector.is_none() && !is_fixed);
        let (host, placement) = match chosen.filter(|_| !is_fixed) {
            _ if recorded.is_some() => (recorded, None),
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
        let mut networks = match &document.spec.networks {
            Some(_) => Vec::new(),
            None => self.attached.networks(document, host.as_deref(), problems),
        };
        recorded_or_chosen(document, problems);
        if placement.is_some() {
            // Each candidate has all of them, from whichever document.
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
        if guest.is_none() {
            guest::check_network_of_vsi(document, problems);
        }
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
        resolved(document, desired, guest)
    }
}

/// Refuses what is recorded together with what chooses it anew.
fn recorded_or_chosen(document: &Document<VsiSpec>, problems: &mut Vec<Problem>) {
    let spec = &document.spec;
    let chooses_networks = spec.network_selector.is_some() || !spec.interfaces.is_empty();
    for (field, is_given, selector, chooses) in [
        (
            "host",
            spec.host.is_some(),
            "targetSelector",
            spec.target_selector.is_some(),
        ),
        (
            "disks",
            spec.disks.is_some(),
            "diskSelector",
            spec.disk_selector.is_some(),
        ),
        (
            "networks",
            spec.networks.is_some(),
            "networkSelector or interfaces",
            chooses_networks,
        ),
    ] {
        if is_given && chooses {
            problems.push(document.problem(
                ProblemCode::WrongValue,
                FieldPath::of(["spec", field]),
                format!("{field} is what is recorded, and {selector} chooses it anew"),
                "remove one of them",
            ));
        }
    }
}

/// Refuses a screen for a guest that is protected from its host.
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

/// Refuses an ephemeral boot disk for a guest that stores its data on it.
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

/// Removes duplicates of networks from several documents.
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

/// The desired state of the document itself; disks and networks come from other documents.
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
            memory_is_rounded: spec.machine.memory.is_rounded(),
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
    guest: Option<GuestFields>,
) -> ResolvedVsi {
    let spec = &document.spec;
    let (contract, recorded) = match guest {
        Some(guest) => (Some(guest.user_data), guest.recorded),
        None => (
            spec.contract.secret().cloned(),
            spec.contract.recorded().cloned(),
        ),
    };
    ResolvedVsi {
        desired,
        contract: contract.unwrap_or_else(|| Secret::new(Vec::new())),
        retains_user_data: false,
        recorded: RecordedFields {
            secret: recorded,
            host: spec.host.clone(),
            disks: spec.disks.clone(),
            networks: spec.networks.clone(),
        },
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
