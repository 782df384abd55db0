//! Detects domains that were moved to another host.

use vsiflow_engine::model::Failure;

use crate::{
    error,
    ports::{DomainInfo, HostPorts},
};

/// Refuses a domain that is off here because its guest was moved. The guest may run on the other host, on
/// the same disks: it must not be started here, and its disks must not be deleted.
///
/// # Errors
/// Blocked, `VSI0217`.
pub(super) fn refused(ports: &HostPorts, domain: Option<&DomainInfo>) -> Result<(), Failure> {
    match domain.filter(|domain| domain.moved) {
        None => Ok(()),
        Some(domain) => Err(error::MOVED
            .failure("the guest was moved to another host, and may run there")
            .on_host(ports.host.name())
            .of_object(format!("domain {}", domain.uuid))),
    }
}
