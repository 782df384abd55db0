//! Resolves a group's document: the items of each wave as pools, the gates, and the outputs.

use super::super::{
    documents::Document,
    group::{self, GroupSpec, LateProblem, Release, ResolvedGroup, ResolvedItem, ResolvedWave},
    group_check::GroupCheck,
    problem::{PathSegment, Problem, ProblemCode, ProblemList},
};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn group(
        &mut self,
        document: &Document<GroupSpec>,
        problems: &mut ProblemList,
    ) -> ResolvedGroup {
        let mut late = Vec::new();
        GroupCheck::new(document, problems, &mut late).form();
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
            late: Vec::new(),
            of_shared_cluster: false,
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
                let (lacking, wrong): (Vec<_>, Vec<_>) =
                    found.partition(|one| item.remove_after.is_some() && is_of_others(one));
                problems.extend(wrong);
                late.extend(lacking.into_iter().map(|problem| LateProblem {
                    problem,
                    item: item.name.clone(),
                    value: None,
                }));
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
            let gate = GroupCheck::new(document, problems, &mut late).gate(place, &guests);
            let name = wave.name.clone();
            resolved.waves.push(ResolvedWave { name, gate, items });
            paths.push(of_wave);
        }
        let placed = resolved.waves.iter().enumerate();
        let placed =
            placed.flat_map(|(place, wave)| wave.items.iter().map(move |item| (place, item)));
        let placed: Vec<_> = placed.collect();
        let mut check = GroupCheck::new(document, problems, &mut late);
        resolved.outputs = check.outputs(&placed);
        for (place, (wave, item_paths)) in resolved.waves.iter().zip(&paths).enumerate() {
            for (item, path) in wave.items.iter().zip(item_paths) {
                check.references(&resolved, place, item, path);
            }
        }
        resolved.late = late;
        resolved
    }
}

/// Whether a problem comes from what a selector matches or a field names in other documents. Those may go with
/// the item that needed them.
fn is_of_others(problem: &Problem) -> bool {
    let fields = [
        "targetSelector",
        "networkSelector",
        "diskSelector",
        "interfaces",
    ];
    let is_selector = |segment: &PathSegment| matches!(segment, PathSegment::Key(key) if fields.contains(&&**key));
    let codes = [ProblemCode::MatchesNothing, ProblemCode::HostSettings];
    codes.contains(&problem.code) || problem.path.0.iter().any(is_selector)
}
