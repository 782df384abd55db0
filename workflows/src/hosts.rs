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
