//! Resolves what is attached to a VSI: the disks and networks that its selectors match or its
//! interfaces name.

use std::{collections::BTreeMap, net::Ipv4Addr};

use super::desired::{DesiredDisk, DiskOrigin};
use super::documents::{Document, Documents};
use super::network::{self, DesiredNetwork};
use super::placement::{DesiredPlacement, PlacementSpec};
use super::problem::{FieldPath, Problem, ProblemCode};
use super::selector::{LabelSelector, Labels};
use super::target::{TargetHosts, labelled, list};
use super::vsi::VsiSpec;

/// The network of VSIs that select none.
pub(crate) const DEFAULT_NETWORK: &str = "default";

/// An object that a VSI can select.
struct AttachCandidate<T> {
    namespace: String,
    name: String,
    labels: Labels,
    /// Its host; `None` if its target is a problem that was reported already, or if it has no fixed
    /// host.
    host: Option<String>,
    /// Its kind, name and labels, for messages.
    words: String,
    item: T,
}

/// Everything that VSIs can select, in the order of attachment: by name.
pub(super) struct AttachedRefs {
    disks: Vec<AttachCandidate<DesiredDisk>>,
    networks: Vec<AttachCandidate<AttachedNetwork>>,
}

/// A network that a VSI is on.
#[derive(Clone, Debug)]
pub(super) struct AttachedNetwork {
    /// The document that defines it; `None` for the default network.
    pub(super) document: Option<String>,
    /// Its name on the host.
    pub(super) name: String,
    /// How to make it; `None` for a network that exists.
    pub(super) made: Option<DesiredNetwork>,
    /// The requested address of the VSI's card.
    pub(super) address: Option<Ipv4Addr>,
}

impl AttachedRefs {
    pub(super) fn new(
        documents: &Documents,
        targets: &mut TargetHosts<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut disks = Vec::new();
        for document in &documents.data_disks {
            // Problems of its target were reported with the disk itself.
            let selector = document.spec.target_selector.as_ref();
            let host = targets.of(document, selector, &mut Vec::new());
            disks.push(candidate(document, host, made(document)));
        }
        for document in &documents.data_disk_refs {
            let host = targets.of(document, document.spec.target_selector.as_ref(), problems);
            disks.push(candidate(document, host, existing(document)));
        }
        let mut networks = Vec::new();
        for document in &documents.network_refs {
            let host = targets.of(document, document.spec.target_selector.as_ref(), problems);
            let network = document.spec.network_name.clone();
            let item = AttachedNetwork {
                document: Some(document.meta.name.clone()),
                name: network,
                made: None,
                address: None,
            };
            networks.push(candidate(document, host, item));
        }
        for document in &documents.networks {
            network::check(document, problems);
            let made = DesiredNetwork::of(document);
            let item = AttachedNetwork {
                document: Some(document.meta.name.clone()),
                name: made.on_host(),
                made: Some(made),
                address: None,
            };
            // It is made on every host where a VSI refers to it.
            networks.push(candidate(document, None, item));
        }
        disks.sort_by(|a, b| (&a.name, &a.words).cmp(&(&b.name, &b.words)));
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        Self { disks, networks }
    }

    /// The disks of a VSI.
    pub(super) fn disks(
        &self,
        vsi: &Document<VsiSpec>,
        host: Option<&str>,
        problems: &mut Vec<Problem>,
    ) -> Vec<DesiredDisk> {
        let Some(selector) = &vsi.spec.disk_selector else {
            return Vec::new();
        };
        let request = RequestedAttachment {
            vsi,
            host,
            field: "diskSelector",
            what: "data disk",
        };
        request.select(selector, &self.disks, problems)
    }

    /// The networks of a VSI, in the order of its cards.
    pub(super) fn networks(
        &self,
        vsi: &Document<VsiSpec>,
        host: Option<&str>,
        problems: &mut Vec<Problem>,
    ) -> Vec<AttachedNetwork> {
        if !vsi.spec.interfaces.is_empty() {
            return self.interfaces(vsi, host, problems);
        }
        let Some(selector) = &vsi.spec.network_selector else {
            return vec![AttachedNetwork {
                document: None,
                name: DEFAULT_NETWORK.to_owned(),
                made: None,
                address: None,
            }];
        };
        let request = RequestedAttachment {
            vsi,
            host,
            field: "networkSelector",
            what: "network reference",
        };
        request.select(selector, &self.networks, problems)
    }

    /// The hosts that have every data disk and network that the VSI selects, and why the others are
    /// excluded.
    pub(super) fn candidates(
        &self,
        vsi: &Document<VsiSpec>,
        hosts: Vec<String>,
    ) -> DesiredPlacement {
        let (mut candidates, mut excluded) = (Vec::new(), Vec::new());
        for host in hosts {
            match self.unmatched(vsi, &host) {
                None => candidates.push(host),
                Some(why) => excluded.push((host, why)),
            }
        }
        DesiredPlacement {
            request: PlacementSpec::default(),
            candidates,
            excluded,
        }
    }

    /// The first object that the VSI selects and the host lacks.
    fn unmatched(&self, vsi: &Document<VsiSpec>, host: &str) -> Option<String> {
        let disks = vsi.spec.disk_selector.as_ref();
        let disks = disks.map(|selector| chosen(&self.disks, vsi, selector));
        let mut disks = disks.unwrap_or_default().into_iter();
        if let Some(disk) = disks.find(|disk| disk.host.as_deref() != Some(host)) {
            return Some(format!("{} is not there", disk.words));
        }
        let networks = self.desired_networks(vsi);
        // A network that vsiflow makes is available on every host.
        let is_here = |one: &AttachCandidate<AttachedNetwork>| {
            one.item.made.is_some() || one.host.as_deref() == Some(host)
        };
        let here = |name: &String| {
            let mut all = networks.iter();
            all.any(|one| one.item.name == *name && is_here(one))
        };
        let mut names = networks.iter().map(|network| &network.item.name);
        let away = names.find(|name| !here(name))?;
        Some(format!("no network reference is there for network {away}"))
    }

    /// The networks that the VSI names or selects.
    fn desired_networks(&self, vsi: &Document<VsiSpec>) -> Vec<&AttachCandidate<AttachedNetwork>> {
        if !vsi.spec.interfaces.is_empty() {
            let named = |one: &&AttachCandidate<AttachedNetwork>| {
                let mut cards = vsi.spec.interfaces.iter();
                one.namespace == vsi.meta.namespace && cards.any(|card| card.network == one.name)
            };
            return self.networks.iter().filter(named).collect();
        }
        let selector = vsi.spec.network_selector.as_ref();
        let networks = selector.map(|selector| chosen(&self.networks, vsi, selector));
        networks.unwrap_or_default()
    }

    /// The networks that a VSI's interfaces name.
    fn interfaces(
        &self,
        vsi: &Document<VsiSpec>,
        host: Option<&str>,
        problems: &mut Vec<Problem>,
    ) -> Vec<AttachedNetwork> {
        let mut found: Vec<AttachedNetwork> = Vec::new();
        if vsi.spec.network_selector.is_some() {
            problems.push(vsi.problem(
                ProblemCode::WrongValue,
                FieldPath::of(["spec", "networkSelector"]),
                "the VSI has interfaces, too",
                "remove one of them: interfaces name the networks of a VSI themselves",
            ));
        }
        for (place, interface) in vsi.spec.interfaces.iter().enumerate() {
            let path = || FieldPath::of(["spec", "interfaces"]).index(place);
            let named = |one: &&AttachCandidate<AttachedNetwork>| {
                one.namespace == vsi.meta.namespace && one.name == interface.network
            };
            let Some(candidate) = self.networks.iter().find(named) else {
                problems.push(self.no_network(vsi, path().key("network"), &interface.network));
                continue;
            };
            let request = RequestedAttachment {
                vsi,
                host,
                field: "interfaces",
                what: "network",
            };
            problems.extend(request.elsewhere(candidate));
            let mut network = candidate.item.clone();
            if found.iter().any(|other| other.name == network.name) {
                problems.push(vsi.problem(
                    ProblemCode::Twice,
                    path().key("network"),
                    format!(
                        "another card of the VSI is on network {}",
                        interface.network
                    ),
                    "give each card a network of its own",
                ));
                continue;
            }
            network.address = interface.addresses.first().copied();
            if let Some(why) = refused_address(&network, &interface.addresses) {
                let remedy = "name one address of a VirtualServerNetwork, or none to get one";
                let path = path().key("addresses");
                problems.push(vsi.problem(ProblemCode::WrongValue, path, why, remedy));
            }
            found.push(network);
        }
        found
    }

    fn no_network(&self, vsi: &Document<VsiSpec>, path: FieldPath, name: &str) -> Problem {
        let namespace = &vsi.meta.namespace;
        let here = self.networks.iter();
        let here = here.filter(|candidate| candidate.namespace == *namespace);
        let here: Vec<_> = here.map(|candidate| candidate.words.clone()).collect();
        let remedy = match here.as_slice() {
            [] => "add a VirtualServerNetwork of this name".to_owned(),
            some => format!("there are {}", list(some)),
        };
        let message = format!("there is no network {name} in namespace {namespace}");
        vsi.problem(ProblemCode::MatchesNothing, path, message, remedy)
    }

    /// Reports disks that several VSIs select: two guests on one disk would destroy its file system.
    pub(super) fn check_shared(&self, documents: &Documents, problems: &mut Vec<Problem>) {
        let mut users: BTreeMap<usize, &Document<VsiSpec>> = BTreeMap::new();
        for vsi in &documents.vsis {
            let Some(selector) = &vsi.spec.disk_selector else {
                continue;
            };
            for (index, disk) in self
                .disks
                .iter()
                .enumerate()
                .filter(|(_, d)| d.fits(vsi, selector))
            {
                match users.get(&index) {
                    None => _ = users.insert(index, vsi),
                    Some(first) => problems.push(vsi.problem(
                        ProblemCode::Twice,
                        FieldPath::of(["spec", "diskSelector"]),
                        format!(
                            "{} is selected by {} ({}), too",
                            disk.words,
                            first.meta.full_name(),
                            first.at
                        ),
                        "give each VSI its own disks",
                    )),
                }
            }
        }
    }
}

fn candidate<S, T>(document: &Document<S>, host: Option<String>, item: T) -> AttachCandidate<T> {
    AttachCandidate {
        namespace: document.meta.namespace.clone(),
        name: document.meta.name.clone(),
        labels: document.meta.labels.clone(),
        host,
        words: labelled(document),
        item,
    }
}

impl<T> AttachCandidate<T> {
    fn fits(&self, vsi: &Document<VsiSpec>, selector: &LabelSelector) -> bool {
        self.namespace == vsi.meta.namespace && selector.matches(&self.labels)
    }
}

fn chosen<'a, T>(
    all: &'a [AttachCandidate<T>],
    vsi: &Document<VsiSpec>,
    selector: &LabelSelector,
) -> Vec<&'a AttachCandidate<T>> {
    let fits = |one: &&AttachCandidate<T>| one.fits(vsi, selector);
    all.iter().filter(fits).collect()
}

/// Why a card cannot have these addresses; `None` if it can.
fn refused_address(network: &AttachedNetwork, addresses: &[Ipv4Addr]) -> Option<String> {
    let address = *addresses.first()?;
    if addresses.len() > 1 {
        return Some("a card has one address".to_owned());
    }
    match &network.made {
        Some(made) => made.refuses(address),
        None => Some("the network is the host's own, which gives addresses itself".to_owned()),
    }
}

fn made(document: &Document<super::data_disk::DataDiskSpec>) -> DesiredDisk {
    DesiredDisk {
        name: document.meta.name.clone(),
        pool: document.spec.storage_pool.clone(),
        source: DiskOrigin::Made {
            uid: document.meta.uid,
            size: document.spec.size.bytes(),
            deletion_policy: document.spec.deletion_policy,
        },
    }
}

fn existing(document: &Document<super::data_disk::DataDiskRefSpec>) -> DesiredDisk {
    DesiredDisk {
        name: document.meta.name.clone(),
        pool: document.spec.storage_pool.clone(),
        source: DiskOrigin::Existing {
            volume: document.spec.volume_name.clone(),
        },
    }
}

/// A request of a VSI's selector or interfaces, for messages.
struct RequestedAttachment<'a> {
    vsi: &'a Document<VsiSpec>,
    host: Option<&'a str>,
    field: &'a str,
    what: &'a str,
}

impl RequestedAttachment<'_> {
    fn select<T: Clone>(
        &self,
        selector: &LabelSelector,
        candidates: &[AttachCandidate<T>],
        problems: &mut Vec<Problem>,
    ) -> Vec<T> {
        let found: Vec<_> = candidates
            .iter()
            .filter(|c| c.fits(self.vsi, selector))
            .collect();
        if found.is_empty() {
            problems.push(self.nothing(selector, candidates));
        }
        problems.extend(found.iter().filter_map(|found| self.elsewhere(found)));
        found.into_iter().map(|found| found.item.clone()).collect()
    }

    /// The problem of an object on another host than the VSI.
    fn elsewhere<T>(&self, found: &AttachCandidate<T>) -> Option<Problem> {
        let (there, here) = (found.host.as_deref()?, self.host?);
        (there != here).then(|| {
            self.problem(
                ProblemCode::WrongValue,
                format!("{} is on host {there}, the VSI on {here}", found.words),
                "let both targetSelectors choose the same host".to_owned(),
            )
        })
    }

    fn nothing<T>(&self, selector: &LabelSelector, candidates: &[AttachCandidate<T>]) -> Problem {
        let namespace = &self.vsi.meta.namespace;
        let there: Vec<_> = candidates
            .iter()
            .filter(|candidate| candidate.namespace == *namespace)
            .map(|candidate| candidate.words.clone())
            .collect();
        let remedy = match there.as_slice() {
            [] => format!(
                "add a {} with such labels, or remove {}",
                self.what, self.field
            ),
            some => format!("there are {}; make labels and selector agree", list(some)),
        };
        let message = format!(
            "no {} in namespace {namespace} matches {selector}",
            self.what
        );
        self.problem(ProblemCode::MatchesNothing, message, remedy)
    }

    fn problem(&self, code: ProblemCode, message: String, remedy: String) -> Problem {
        self.vsi
            .problem(code, FieldPath::of(["spec", self.field]), message, remedy)
    }
}
