//! Reads the state of a simulated host from its files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The state of a simulated host.
#[derive(Debug)]
pub struct Sim {
    folder: PathBuf,
    state: Value,
}

impl Sim {
    pub(crate) fn read(state: &Path) -> Self {
        Self::of(state, "sim")
    }

    /// Reads the simulated host with this name.
    pub(crate) fn of(state: &Path, name: &str) -> Self {
        let folder = state.join("sim").join(format!("host-{name}"));
        let text = std::fs::read(folder.join("state.json")).unwrap_or_default();
        let stored = serde_json::from_slice(&text).unwrap_or_default();
        Self {
            folder,
            state: stored,
        }
    }

    pub(crate) fn change(mut sim: Self, change: impl FnOnce(&mut Value)) {
        change(&mut sim.state);
        let text = serde_json::to_vec(&sim.state).unwrap();
        std::fs::write(sim.folder.join("state.json"), text).unwrap();
    }

    /// The whole state.
    pub fn state(&self) -> &Value {
        &self.state
    }

    /// A network; null if there is none.
    pub fn network(&self, name: &str) -> &Value {
        &self.state["networks"][name]
    }

    /// The one domain with this title.
    ///
    /// # Panics
    /// When there is none.
    pub fn domain(&self, title: &str) -> &Value {
        let domains = self.state["domains"].as_object();
        let mut domains = domains.into_iter().flatten().map(|(_, domain)| domain);
        let found = domains.find(|domain| domain["spec"]["title"] == title);
        found.unwrap_or_else(|| panic!("no domain {title} in {:?}", self.domains()))
    }

    /// The name of the volume that the domain with this title boots from.
    ///
    /// # Panics
    /// When there is no such domain, or it has no disk.
    pub fn boot_disk(&self, title: &str) -> String {
        let path = &self.domain(title)["spec"]["disks"][0]["path"];
        let name = path.as_str().unwrap().rsplit('/').next();
        name.unwrap().to_owned()
    }

    /// A volume of pool `images`.
    pub fn volume(&self, name: &str) -> &Value {
        &self.state["pools"]["images"]["volumes"][name]
    }

    fn all(&self) -> BTreeMap<&str, &Value> {
        let volumes = self.state["pools"]["images"]["volumes"].as_object();
        volumes
            .into_iter()
            .flatten()
            .map(|(name, volume)| (name.as_str(), volume))
            .collect()
    }

    /// The names of the volumes of pool `images`, except the hidden ones that hold claims of images.
    pub fn volumes(&self) -> Vec<&str> {
        let names = self.all().into_keys();
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// The names of all volumes of pool `images`.
    pub fn all_volumes(&self) -> Vec<&str> {
        self.all().into_keys().collect()
    }

    /// The titles of the domains.
    pub fn domains(&self) -> Vec<&str> {
        let domains = self.state["domains"].as_object();
        domains
            .into_iter()
            .flatten()
            .filter_map(|(_, domain)| domain["spec"]["title"].as_str())
            .collect()
    }

    /// The bytes of the one volume whose name begins with `prefix`.
    ///
    /// # Panics
    /// When there is not exactly one, or it was not uploaded.
    pub fn content(&self, prefix: &str) -> Vec<u8> {
        let all = self.all();
        let mut found = all.iter().filter(|(name, _)| name.starts_with(prefix));
        let (Some((_, volume)), None) = (found.next(), found.next()) else {
            panic!("not one {prefix} in {:?}", self.volumes());
        };
        let id = &volume["content"]["Stored"]["id"];
        std::fs::read(self.folder.join(format!("volume-{id}"))).unwrap()
    }

    /// Asserts that the host has only the domains and volumes of these VSIs, and their one base image.
    ///
    /// # Panics
    /// When something is missing, or there is something else.
    #[track_caller]
    pub fn assert_vsis(&self, titles: &[&str]) {
        let mut domains = self.domains();
        domains.sort_unstable();
        assert_eq!(domains, titles);
        assert_eq!(self.volumes().len(), titles.len() * 3 + 1);
    }

    /// Asserts that the host has only the domain and volumes of one VSI, and its base image.
    ///
    /// # Panics
    /// When something is missing, or there is something else.
    #[track_caller]
    pub fn assert_one_vsi(&self, title: &str) {
        assert_eq!(self.domains(), [title]);
        let volumes = self.volumes();
        for prefix in ["boot-", "cidata-", "console-"] {
            let count = volumes
                .iter()
                .filter(|name| name.starts_with(prefix))
                .count();
            assert_eq!(count, 1, "{prefix} in {volumes:?}");
        }
        assert_eq!(volumes.len(), 4, "one base image beside them: {volumes:?}");
    }
}
