//! The namespace and name that a domain is adopted under.

use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass};
use vsiflow_steps::ports::DomainInfo;

use super::{Adopting, FleetError, Known};
use crate::fleet::ErrorKind;
use crate::spec::meta;

/// Namespace and name: the requested ones, else those in the domain's title, else `default` and the
/// domain's UUID.
pub(super) fn of(what: &Adopting, domain: &DomainInfo) -> (String, String) {
    let title = domain.title.as_deref();
    let title = title.and_then(|title| title.split_once('/'));
    let is_ours = |(namespace, name): &(&str, &str)| {
        meta::check_label(namespace).is_ok() && meta::check_subdomain(name).is_ok()
    };
    let (namespace, name) = match title.filter(is_ours) {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => ("default".to_owned(), domain.uuid.to_string()),
    };
    (
        what.namespace.clone().unwrap_or(namespace),
        what.name.clone().unwrap_or(name),
    )
}

/// Checks that no other name was requested for a VSI that is already managed.
///
/// # Errors
/// `VSI0710`, if another name was requested.
pub(super) fn check_name_unchanged(what: &Adopting, known: &Known) -> Result<(), FleetError> {
    let vsi = &known.record.vsi;
    let other =
        |requested: &Option<String>, own: &str| requested.as_deref().is_some_and(|a| a != own);
    if !other(&what.name, &vsi.name) && !other(&what.namespace, &vsi.namespace) {
        return Ok(());
    }
    let label = known.label();
    let message = format!("it is already managed as vsi/{label} and keeps that name");
    let remedy = format!(
        "leave --as and --namespace out; for another name forget it first, with `vsiflow delete \
         {label} --orphan`"
    );
    Err(refused(what, known.record.uid, &message, &remedy))
}

/// Checks that no other VSI has the name.
///
/// # Errors
/// `VSI0710`, if another VSI has it.
pub(super) fn is_free(
    what: &Adopting,
    domain: &DomainInfo,
    all: &[Known],
) -> Result<(), FleetError> {
    let (namespace, name) = of(what, domain);
    let has = |known: &&Known| {
        let vsi = &known.record.vsi;
        !known.is_deleted() && (&vsi.namespace, &vsi.name) == (&namespace, &name)
    };
    let other = all.iter().filter(has);
    match other.clone().find(|known| known.record.uid != domain.uuid) {
        None => Ok(()),
        Some(other) => {
            let message = format!("another VSI is vsi/{}", other.label());
            let remedy = "choose a free name with --as";
            Err(refused(what, domain.uuid, &message, remedy))
        }
    }
}

fn refused(what: &Adopting, uid: Uuid, message: &str, remedy: &str) -> FleetError {
    let failure = Failure::new(FailureClass::Blocked, "VSI0710", message)
        .on_host(what.host.id())
        .of_object(format!("domain {uid}"))
        .with_remedy(remedy);
    FleetError::new(ErrorKind::Blocked, failure)
}
