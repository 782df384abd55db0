//! The hosts' settings, keys included, as adapters ask for them.

use std::{
    collections::BTreeMap,
    sync::{PoisonError, RwLock},
};

use crate::spec::HostSettings;

/// Settings by host id. Kept in memory; the journal and the secret store are where they last.
#[derive(Debug, Default)]
pub struct HostDirectory {
    known: RwLock<BTreeMap<String, HostSettings>>,
    owners: RwLock<BTreeMap<String, String>>,
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

    /// Takes in settings; newer ones take the place of older ones.
    pub fn put(&self, settings: HostSettings) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.insert(settings.id(), settings);
    }

    /// The namespaces whose settings count, by host. They are known before the settings are, whose
    /// secrets may have to be read anew.
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

    /// From now on the settings of that namespace count, or of whichever comes first.
    pub(crate) fn give(&self, id: &str, namespace: Option<String>) {
        let mut owners = self.owners.write().unwrap_or_else(PoisonError::into_inner);
        match namespace {
            Some(namespace) => owners.insert(id.to_owned(), namespace),
            None => owners.remove(id),
        };
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
