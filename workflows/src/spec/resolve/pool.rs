//! Resolves a pool's document: its template as a VSI, and the disks of each member.

use super::super::{
    desired::{DesiredDataDisk, DesiredVsi},
    documents::Document,
    pool::{self, DesiredPool, PoolSpec, ResolvedPool},
    problem::{FieldPath, Problem, ProblemCode},
    template_texts::too_long,
};
use super::{Resolver, addresses::shared_addresses, desired_disk};

impl Resolver<'_> {
    pub(super) fn pool(
        &mut self,
        document: &Document<PoolSpec>,
        problems: &mut Vec<Problem>,
    ) -> ResolvedPool {
        pool::check(document, problems);
        let mut found = Vec::new();
        let template = self.vsi(&pool::template(document), &mut found);
        let within = FieldPath::of(["spec", "template"]);
        let found = found.into_iter();
        problems.extend(found.map(|problem| pool::in_template(problem, &within)));
        for (path, error) in too_long(&document.meta.name, &template) {
            let (message, remedy) = error.in_words();
            let code = ProblemCode::WrongValue;
            let problem = document.problem(code, path, message, &remedy);
            problems.push(pool::in_template(problem, &within));
        }
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
            of_shared_cluster: false,
        };
        ResolvedPool {
            desired,
            template,
            at: document.at.clone(),
        }
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
                // They are placed with the member.
                disks.push(desired_disk(&disk, member.host.clone()));
                continue;
            }
            // Problems of the template's selector were reported already.
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
