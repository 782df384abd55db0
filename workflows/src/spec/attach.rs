//! What is attached to a VSI: the disks and networks that its selectors choose.

use std::collections::BTreeMap;

use super::desired::{DesiredDisk, DiskOrigin};
use super::documents::{Document, Documents};
use super::problem::{FieldPath, Problem, ProblemCode};
use super::selector::{LabelSelector, Labels};
use super::target::{TargetHosts, labelled, list};
use super::vsi::VsiSpec;

/// The network of VSIs that select none.
const DEFAULT_NETWORK: &str = "default";

/// Something a VSI can select.
struct AttachCandidate<T> {
    namespace: String,
    name: String,
    labels: Labels,
    /// Its host; `None` where that is a problem, which was said already.
    host: Option<String>,
    /// Its kind, name and labels, for people.
    words: String,
    item: T,
}

/// Everything that VSIs can select, in the order in which it is attached: by name.
pub(super) struct AttachedRefs {
    disks: Vec<AttachCandidate<DesiredDisk>>,
    networks: Vec<AttachCandidate<(Option<String>, String)>>,
}

impl AttachedRefs {
    pub(super) fn new(
        documents: &Documents,
        targets: &mut TargetHosts<'_>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut disks = Vec::new();
        for document in &documents.data_disks {
            // Its target was looked at, and complained about, with the disk itself.
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
            let item = (Some(document.meta.name.clone()), network);
            networks.push(candidate(document, host, item));
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
        let wanted = WantedAttachment {
            vsi,
            host,
            field: "diskSelector",
            what: "data disk",
        };
        wanted.select(selector, &self.disks, problems)
    }

    /// The networks of a VSI, each with the name of the document that gives it.
    pub(super) fn networks(
        &self,
        vsi: &Document<VsiSpec>,
        host: Option<&str>,
        problems: &mut Vec<Problem>,
    ) -> Vec<(Option<String>, String)> {
        let Some(selector) = &vsi.spec.network_selector else {
            return vec![(None, DEFAULT_NETWORK.to_owned())];
        };
        let wanted = WantedAttachment {
            vsi,
            host,
            field: "networkSelector",
            what: "network reference",
        };
        wanted.select(selector, &self.networks, problems)
    }

    /// Two guests on one disk would ruin its file system.
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

/// What a VSI asks for with one of its selectors.
struct WantedAttachment<'a> {
    vsi: &'a Document<VsiSpec>,
    host: Option<&'a str>,
    field: &'a str,
    what: &'a str,
}

impl WantedAttachment<'_> {
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

    /// The problem of something on another host than the VSI.
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
