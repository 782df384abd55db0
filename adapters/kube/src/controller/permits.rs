//! Permits: on which hosts members of the cluster's pools may be, if journals share it. Journal 0 makes
//! the members, and each journal judges by the settings of its own hosts.

use std::collections::BTreeSet;

use vsiflow_engine::model::{Failure, FailureClass};

use super::{Controller, shard_scope::all_pools};
use crate::{resource_cache::Snapshot, share::PoolPermits, translate::Translation};

/// The pools that the cluster asks for.
#[derive(Default)]
pub(super) struct DesiredPools {
    /// Namespace, name and possible hosts of each pool.
    pools: Vec<(String, String, BTreeSet<String>)>,
    /// Namespace and name of invalid pools, and what is wrong.
    wrong: Vec<(String, String, Failure)>,
}

impl Controller {
    /// The pools that the cluster asks for, before those of other journals are left out.
    pub(super) fn desired_pools(
        &self,
        cluster: &Snapshot,
        translation: &Translation,
    ) -> DesiredPools {
        let mut desired = DesiredPools::default();
        if self.share.is_none() {
            return desired;
        }
        for pool in all_pools(translation) {
            let hosts = pool.template.desired.possible_hosts().map(str::to_owned);
            let (namespace, name) = (&pool.desired.namespace, &pool.desired.name);
            let place = (namespace.clone(), name.clone(), hosts.collect());
            desired.pools.push(place);
        }
        for resource in &cluster.resources {
            let key = &resource.key;
            let problems = translation.problems.get(key);
            let problem = problems.and_then(|problems| problems.first());
            if let Some(problem) = problem.filter(|_| key.kind.has_members()) {
                let failure = Failure::new(
                    FailureClass::Blocked,
                    problem.code.as_str(),
                    &problem.message,
                )
                .of_object(key.to_string())
                .with_remedy(&problem.remedy);
                let place = (key.namespace.clone(), key.name.clone(), failure);
                desired.wrong.push(place);
            }
        }
        desired
    }

    /// Reports which pools may have members on which hosts of this journal. A host counts once its
    /// settings are recorded.
    pub(super) fn permit(&self, desired: DesiredPools) {
        let Some(share) = &self.share else { return };
        let mut permits = PoolPermits::default();
        for (namespace, name, hosts) in &desired.pools {
            for host in hosts.iter().filter(|host| self.decisions.has_host(host)) {
                permits.permit((namespace, name), host);
            }
        }
        for (namespace, name, failure) in desired.wrong {
            permits.refuse((&namespace, &name), failure);
        }
        share.permit(permits);
    }
}
