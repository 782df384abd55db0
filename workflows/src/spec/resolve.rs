//! Resolves documents to desired state: follows selectors, and collects all problems.

mod addresses;
mod group;
mod pool;
mod resolved;
mod vsi;

use self::addresses::addresses_twice;
pub use self::resolved::{References, Resolved, ResolvedVsi};
use super::{
    attach::AttachedRefs,
    data_disk::DataDiskSpec,
    desired::DesiredDataDisk,
    documents::{Document, Documents},
    guest,
    host::HostSettings,
    network::DesiredNetwork,
    problem::{AllProblems, Problem, ProblemCode},
    quota, server_type,
    snapshot::DesiredSnapshot,
    target::TargetHosts,
    unique,
};

/// Follows every selector. With `host`, everything is on that host, and host settings of documents are
/// ignored.
///
/// # Errors
/// With all problems together, unless the only ones are selectors that match nothing.
pub fn resolve(
    documents: &Documents,
    host: Option<&HostSettings>,
) -> Result<Resolved, Vec<Problem>> {
    let mut all = AllProblems::from(unique::check(documents));
    let found = all.found();
    let mut targets = TargetHosts::new(documents, host);
    let types = server_type::of(documents, found);
    let quotas = quota::of(documents, found);
    let data_disks = data_disks(documents, &mut targets, found);
    let attached = AttachedRefs::new(documents, &mut targets, found);
    let mut resolver = Resolver {
        documents,
        targets,
        attached,
    };
    let vsis = documents.vsis.iter().map(|document| {
        all.of_document(document, |list| {
            let mut own = Vec::new();
            let vsi = resolver.vsi(document, &mut own);
            list.extend(own);
            vsi
        })
    });
    let mut vsis: Vec<_> = vsis.collect();
    let mut of_pools = AllProblems::default();
    let pools = documents.pools.iter().map(|document| {
        of_pools.of_document(document, |list| {
            let mut own = Vec::new();
            let pool = resolver.pool(document, &mut own);
            list.extend(own);
            pool
        })
    });
    let pools: Vec<_> = pools.collect();
    let groups = documents
        .groups
        .iter()
        .map(|document| of_pools.of_document(document, |list| resolver.group(document, list)));
    let groups: Vec<_> = groups.collect();
    let Resolver {
        targets: resolved_targets,
        attached: resolved_refs,
        ..
    } = resolver;
    // A pool or group is not made while a reference of its documents is unresolved.
    let pools_are_whole = of_pools.is_empty();
    all.append(of_pools);
    resolved_refs.check_shared(documents, all.found());
    addresses_twice(documents, &vsis, all.found());
    let problems = all.sorted();
    let lacks = |problem: &Problem| problem.code == ProblemCode::MatchesNothing;
    if problems.iter().all(lacks) && pools_are_whole {
        for vsi in &mut vsis {
            let its = |problem: &&Problem| problem.document.index == vsi.at.index;
            vsi.unresolved_refs = problems
                .iter()
                .filter(its)
                .map(resolved::unresolved)
                .collect();
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
            doubts: doubts(documents),
            unresolved_refs: problems,
            directory: None,
        });
    }
    Err(problems)
}

/// What is accepted and probably not meant.
fn doubts(documents: &Documents) -> Vec<Problem> {
    let vsis = documents.vsis.iter();
    vsis.flat_map(|document| guest::doubts(document, documents))
        .collect()
}

/// Resolves one document after another.
struct Resolver<'a> {
    documents: &'a Documents,
    targets: TargetHosts<'a>,
    attached: AttachedRefs,
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

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
