//! The settings of hosts, including keys, for the adapters.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock, RwLockWriteGuard},
};

use crate::spec::HostSettings;

/// Host settings by host ID. In memory only; the journal and the secret store hold them durably.
#[derive(Debug, Default)]
pub struct HostDirectory {
    known: RwLock<BTreeMap<String, HostSettings>>,
    owners: RwLock<BTreeMap<String, String>>,
    /// The hosts whose settings are not recorded yet.
    offered: RwLock<BTreeMap<String, OfferedHost>>,
}

/// A host whose settings are not recorded yet.
#[derive(Debug, Default)]
struct OfferedHost {
    /// How many [`HostOffer`]s name it.
    offers: usize,
    /// The settings from before the first of them.
    before: Option<HostSettings>,
}

/// Settings that are in the directory although they are not recorded. When the last offer of a host is
/// dropped, and they were not recorded meanwhile, the host has its previous settings again.
#[derive(Debug)]
pub(crate) struct HostOffer<'a> {
    directory: &'a HostDirectory,
    hosts: Vec<String>,
}

impl HostOffer<'_> {
    /// Adds settings, so that the host can be checked.
    pub(crate) fn add(&mut self, settings: HostSettings) {
        self.hosts.push(settings.id());
        self.directory.offer(settings);
    }

    /// Leaves the settings of these hosts in the directory.
    pub(crate) fn keep(&mut self, is_kept: impl Fn(&str) -> bool) {
        let directory = self.directory;
        self.hosts.retain(|id| {
            let is_kept = is_kept(id);
            if is_kept {
                directory.end_offer(id);
            }
            !is_kept
        });
    }
}

impl Drop for HostOffer<'_> {
    fn drop(&mut self) {
        for id in &self.hosts {
            self.directory.withdraw(id);
        }
    }
}

impl HostDirectory {
    /// The settings of the host.
    pub fn get(&self, id: &str) -> Option<HostSettings> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(id)
            .cloned()
    }

    /// Stores settings; newer ones replace older ones. Labels and limits remain if newer settings have
    /// none, such as those from an address.
    pub fn put(&self, mut settings: HostSettings) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = known.get(&settings.id())
            && settings.labels.is_empty()
        {
            settings.labels.clone_from(&before.labels);
        }
        if let Some(before) = known.get(&settings.id())
            && settings.limits.is_none()
        {
            settings.limits.clone_from(&before.limits);
        }
        known.insert(settings.id(), settings);
    }

    /// An offer of no host yet.
    pub(crate) fn new_offer(&self) -> HostOffer<'_> {
        HostOffer {
            directory: self,
            hosts: Vec::new(),
        }
    }

    fn offered(&self) -> RwLockWriteGuard<'_, BTreeMap<String, OfferedHost>> {
        self.offered.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn offer(&self, settings: HostSettings) {
        let before = self.get(&settings.id());
        let mut all = self.offered();
        let offered = all.entry(settings.id()).or_default();
        if offered.offers == 0 {
            offered.before = before;
        }
        offered.offers = offered.offers.saturating_add(1);
        drop(all);
        self.put(settings);
    }

    fn end_offer(&self, id: &str) {
        if let Some(offered) = self.offered().get_mut(id) {
            offered.offers = offered.offers.saturating_sub(1);
        }
    }

    fn withdraw(&self, id: &str) {
        self.end_offer(id);
        let mut all = self.offered();
        if all.get(id).is_none_or(|offered| offered.offers > 0) {
            return;
        }
        let before = all.remove(id).and_then(|offered| offered.before);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match before {
            Some(before) => known.insert(id.to_owned(), before),
            None => known.remove(id),
        };
    }

    /// Marks the settings of the host as recorded.
    pub(crate) fn recorded(&self, id: &str) {
        self.offered().remove(id);
    }

    /// Whether the settings of the host are not recorded yet.
    pub(crate) fn is_offered(&self, id: &str) -> bool {
        let offered = self.offered.read().unwrap_or_else(PoisonError::into_inner);
        offered.contains_key(id)
    }

    /// The namespaces whose settings of a host count, by host. They are known before the settings,
    /// whose secrets may have to be read first.
    pub fn owners(&self) -> BTreeMap<String, String> {
        let owners = self.owners.read();
        owners.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The namespace whose settings of the host count.
    pub fn owner(&self, id: &str) -> Option<String> {
        let owners = self.owners.read();
        let owners = owners.unwrap_or_else(PoisonError::into_inner);
        owners.get(id).cloned()
    }

    /// Sets the namespace whose settings of the host count; `None` for whichever comes first.
    pub(crate) fn set_owner(&self, id: &str, namespace: Option<String>) {
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        match namespace {
            Some(namespace) => owners.insert(id.to_owned(), namespace),
            None => owners.remove(id),
        };
    }

    /// The settings of all hosts with that label, by id.
    pub fn labelled(&self, key: &str, value: &str) -> Vec<HostSettings> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_labelled =
            |host: &&HostSettings| host.labels.get(key).is_some_and(|found| found == value);
        known.values().filter(is_labelled).cloned().collect()
    }

    /// The ids of all hosts.
    pub fn ids(&self) -> Vec<String> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }

    /// The ids of the other hosts whose settings are of the same namespace as those of this one.
    pub(crate) fn others_of_owner(&self, id: &str) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let owner = known.get(id).and_then(|host| host.namespace.as_ref());
        let others = known.iter().filter(|(other, _)| *other != id);
        let others = others.filter(|(_, host)| host.namespace.as_ref() == owner);
        others.map(|(other, _)| other.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use vsiflow_engine::secret::Secret;

    use super::*;
    use crate::spec::documents::KeyValues;

    fn host(name: &str, namespace: Option<&str>) -> HostSettings {
        let name = Secret::new(name.as_bytes().to_vec());
        let keys = KeyValues([("HOSTNAME".to_owned(), name)].into());
        let settings = HostSettings::from_keys(Some(&keys), None).unwrap();
        HostSettings {
            namespace: namespace.map(str::to_owned),
            ..settings
        }
    }

    #[test]
    fn hosts_of_namespaces_that_do_not_trust_one_another_are_not_among_the_others() {
        let directory = HostDirectory::default();
        let tenants = [("sim:a1", "a"), ("sim:a2", "a"), ("sim:b1", "b")];
        for (name, namespace) in tenants {
            directory.put(host(name, Some(namespace)));
        }
        assert_eq!(directory.others_of_owner("sim:a1"), ["sim:a2"]);
        assert!(directory.others_of_owner("sim:b1").is_empty());
        let trusting = HostDirectory::default();
        for name in ["sim:c", "sim:d"] {
            trusting.put(host(name, None));
        }
        assert_eq!(trusting.others_of_owner("sim:c"), ["sim:d"]);
    }
}
