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
    problem::{Problem, ProblemCode},
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
    // A pool or group is not made while a reference of its documents is unresolved.
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
