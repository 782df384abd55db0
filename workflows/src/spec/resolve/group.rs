//! Resolves a group's document: the items of each wave as pools, the gates, and the outputs.

use super::super::{
    documents::Document,
    group::{self, GroupSpec, Release, ResolvedGroup, ResolvedItem, ResolvedWave},
    group_check::GroupCheck,
    problem::Problem,
};
use super::Resolver;

impl Resolver<'_> {
    pub(super) fn group(
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
}
