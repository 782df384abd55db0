//! The settings of hosts, including keys, for the adapters.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

use crate::spec::HostSettings;

/// Host settings by host ID. In memory only; the journal and the secret store hold them durably.
#[derive(Debug, Default)]
pub struct HostDirectory {
    known: RwLock<BTreeMap<String, HostSettings>>,
    owners: RwLock<BTreeMap<String, String>>,
    /// The hosts whose settings are not recorded yet.
    offered: RwLock<BTreeSet<String>>,
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

    /// Adds settings that are not recorded yet, so that the host can be checked. Returns the previous
    /// ones, for [`HostDirectory::withdraw`].
    pub(crate) fn offer(&self, settings: HostSettings) -> Option<HostSettings> {
        let before = self.get(&settings.id());
        let mut offered = self.offered.write().unwrap_or_else(PoisonError::into_inner);
        offered.insert(settings.id());
        drop(offered);
        self.put(settings);
        before
    }

    /// Reverts [`HostDirectory::offer`].
    pub(crate) fn withdraw(&self, id: &str, before: Option<HostSettings>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match before {
            Some(before) => _ = known.insert(id.to_owned(), before),
            None => _ = known.remove(id),
        }
        drop(known);
        self.recorded(id);
    }

    /// Marks the settings of the host as recorded.
    pub(crate) fn recorded(&self, id: &str) {
        let mut offered = self.offered.write().unwrap_or_else(PoisonError::into_inner);
        offered.remove(id);
    }

    /// Whether the settings of the host are not recorded yet.
    pub(crate) fn is_offered(&self, id: &str) -> bool {
        let offered = self.offered.read().unwrap_or_else(PoisonError::into_inner);
        offered.contains(id)
    }

    /// The namespaces whose settings of a host count, by host. They are known before the settings,
    /// whose secrets may have to be read first.
    pub fn owners(&self) -> BTreeMap<String, String> {
        let owners = self.owners.read();
        owners.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The namespace whose settings of the host count.
    pub(crate) fn owner(&self, id: &str) -> Option<String> {
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
}
