//! Ownership of host settings: which namespace's settings apply if namespaces do not trust one another.
//!
//! An engine identifies a host by its id, and connects to it with one set of settings. The namespace whose
//! settings were accepted first has the host as long as it has something on it. Other namespaces may use
//! the host with the same settings, which they can only get from someone who may share them.

use vsiflow_engine::model::{Failure, FailureClass};

use crate::fleet::{ErrorKind, FleetError, HostHandle};
use crate::{hosts::HostDirectory, spec::HostSettings};

/// The namespace that has the host, if the settings are from another one.
pub(in crate::fleet) fn others(directory: &HostDirectory, host: &HostSettings) -> Option<String> {
    let claimant = host.namespace.as_ref()?;
    let owner = directory.owner(&host.id());
    owner.filter(|owner| owner != claimant)
}

pub(in crate::fleet) fn refused(host: &HostSettings, owner: &str) -> FleetError {
    let id = host.id();
    let message = format!(
        "namespace {owner} has other settings for host {id}, and had them first; these are not used"
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0612", message)
        .on_host(&id)
        .with_remedy(
            "make the settings equal, or name the host otherwise; it is free once that namespace \
             has nothing left on it",
        );
    FleetError::new(ErrorKind::Blocked, failure)
}

impl HostHandle<'_> {
    /// The namespaces whose settings apply, by host.
    pub fn owners(self) -> std::collections::BTreeMap<String, String> {
        self.fleet.directory.owners()
    }

    /// Releases a host that a namespace has settings of but nothing on, so that another namespace may have
    /// it. Returns whether it did.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn release(self, id: &str, namespace: &str) -> Result<bool, FleetError> {
        let is_its = |host: &str, place: &str| host == id && place == namespace;
        let vsis = self.fleet.known().await?;
        let mut vsis = vsis.iter().filter(|one| !one.is_deleted());
        let disks = self.fleet.known_disks().await?;
        let mut disks = disks.iter().filter(|one| !one.is_deleted());
        let used = vsis.any(|one| is_its(&one.record.vsi.host, &one.record.vsi.namespace))
            || disks.any(|one| is_its(&one.record.disk.host, &one.record.disk.namespace));
        if used || self.fleet.directory.owner(id).as_deref() != Some(namespace) {
            return Ok(false);
        }
        self.fleet.directory.set_owner(id, None);
        Ok(true)
    }
}
