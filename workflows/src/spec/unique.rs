//! Checks that no object occurs twice.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::documents::{Document, Documents};
use super::problem::{DocumentRef, FieldPath, Problem, ProblemCode};

/// The problems of objects that occur twice: by kind, namespace and name, or by UID.
pub(super) fn check(documents: &Documents) -> Vec<Problem> {
    let mut problems = Vec::new();
    names(&documents.vsis, &mut problems);
    names(&documents.pools, &mut problems);
    names(&documents.groups, &mut problems);
    names(&documents.snapshots, &mut problems);
    names(&documents.types, &mut problems);
    names(&documents.quotas, &mut problems);
    names(&documents.data_disks, &mut problems);
    names(&documents.data_disk_refs, &mut problems);
    names(&documents.network_refs, &mut problems);
    names(&documents.networks, &mut problems);
    networks(documents, &mut problems);
    names(&documents.config_maps, &mut problems);
    names(&documents.secrets, &mut problems);
    uids(documents, &mut problems);
    problems
}

fn names<T>(documents: &[Document<T>], problems: &mut Vec<Problem>) {
    let mut seen: BTreeMap<(&str, &str), &DocumentRef> = BTreeMap::new();
    for document in documents {
        match seen.entry((&document.meta.namespace, &document.meta.name)) {
            Entry::Vacant(free) => _ = free.insert(&document.at),
            Entry::Occupied(taken) => problems.push(document.problem(
                ProblemCode::Twice,
                FieldPath::of(["metadata", "name"]),
                format!("this name occurs twice, first at {}", taken.get()),
                "remove one of them, or give it another name or namespace",
            )),
        }
    }
}

/// A card refers to its network by name only, so both kinds of networks share their names.
fn networks(documents: &Documents, problems: &mut Vec<Problem>) {
    for document in &documents.networks {
        let mut refs = documents.network_refs.iter();
        let same = refs.find(|other| {
            (&other.meta.namespace, &other.meta.name)
                == (&document.meta.namespace, &document.meta.name)
        });
        if let Some(same) = same {
            problems.push(document.problem(
                ProblemCode::Twice,
                FieldPath::of(["metadata", "name"]),
                format!("the network reference at {} has this name, too", same.at),
                "give one of them another name",
            ));
        }
    }
}

/// UIDs name volumes and domains on hosts, so VSIs and disks may not share one.
fn uids(documents: &Documents, problems: &mut Vec<Problem>) {
    let mut seen = BTreeMap::new();
    for document in &documents.vsis {
        uid(document, &mut seen, problems);
    }
    for document in &documents.pools {
        uid(document, &mut seen, problems);
    }
    for document in &documents.groups {
        uid(document, &mut seen, problems);
    }
    for document in &documents.snapshots {
        uid(document, &mut seen, problems);
    }
    for document in &documents.data_disks {
        uid(document, &mut seen, problems);
    }
}

fn uid<'a, T>(
    document: &'a Document<T>,
    seen: &mut BTreeMap<uuid::Uuid, &'a DocumentRef>,
    problems: &mut Vec<Problem>,
) {
    let Some(uid) = document.meta.uid else { return };
    match seen.entry(uid) {
        Entry::Vacant(free) => _ = free.insert(&document.at),
        Entry::Occupied(taken) => problems.push(document.problem(
            ProblemCode::Twice,
            FieldPath::of(["metadata", "uid"]),
            format!("this UID occurs twice, first at {}", taken.get()),
            "remove the uid of the copy; it gets its own",
        )),
    }
}
