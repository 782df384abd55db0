//! Splits resolved documents into parts, so that a problem of one part does not block the others.

use std::collections::{BTreeMap, BTreeSet};

use super::{host::HostSettings, network::DesiredNetwork, resolve::Resolved};

impl Resolved {
    /// A part without objects, with what every part needs.
    pub fn alone(&self) -> Self {
        Self {
            references: self.references.clone(),
            unresolved_refs: self.unresolved_refs.clone(),
            directory: self.directory.clone(),
            ..Self::default()
        }
    }

    /// The settings of these hosts only, because a problem with one host must not block parts on
    /// others.
    pub fn hosts_of<'a>(
        &self,
        hosts: impl IntoIterator<Item = &'a str>,
    ) -> BTreeMap<String, HostSettings> {
        let found = hosts
            .into_iter()
            .filter_map(|id| self.hosts.get_key_value(id));
        found.map(|(id, host)| (id.clone(), host.clone())).collect()
    }

    /// The networks that no VSI and no template of these documents uses.
    pub fn unused_networks(&self) -> impl Iterator<Item = &DesiredNetwork> {
        let vsis = self.vsis.iter().map(|vsi| &vsi.desired);
        let items = self.groups.iter().flat_map(|group| group.items());
        let pools = self.pools.iter().chain(items.map(|item| &item.pool));
        let all = vsis.chain(pools.map(|pool| &pool.template.desired));
        let used: BTreeSet<_> = all.flat_map(|vsi| vsi.made_networks.keys()).collect();
        let networks = self.networks.iter();
        networks.filter(move |network| !used.contains(&network.on_host()))
    }

    /// One part for each object: data disks before the VSIs that use them, and snapshots after their
    /// VSIs.
    pub fn parts(&self) -> Vec<Self> {
        let disks = self.data_disks.iter().map(|disk| Self {
            data_disks: vec![disk.clone()],
            hosts: self.hosts_of([disk.host.as_str()]),
            ..self.alone()
        });
        let vsis = self.vsis.iter().map(|vsi| Self {
            vsis: vec![vsi.clone()],
            hosts: self.hosts_of(vsi.desired.possible_hosts()),
            ..self.alone()
        });
        let pools = self.pools.iter().map(|pool| Self {
            pools: vec![pool.clone()],
            hosts: self.hosts_of(pool.template.desired.possible_hosts()),
            ..self.alone()
        });
        let groups = self.groups.iter().map(|group| Self {
            groups: vec![group.clone()],
            hosts: self.hosts.clone(),
            ..self.alone()
        });
        let snapshots = self.snapshots.iter().map(|snapshot| Self {
            snapshots: vec![snapshot.clone()],
            ..self.alone()
        });
        let types = self.types.iter().map(|one| Self {
            types: vec![one.clone()],
            ..self.alone()
        });
        let quotas = self.quotas.iter().map(|one| Self {
            quotas: vec![one.clone()],
            ..self.alone()
        });
        let networks = self.networks.iter().map(|one| Self {
            networks: vec![one.clone()],
            ..self.alone()
        });
        let disks = types.chain(quotas).chain(networks).chain(disks);
        let made = disks.chain(vsis).chain(pools).chain(groups);
        made.chain(snapshots).collect()
    }
}
