//! Fills the values of a pool into the texts of its members.

use vsiflow_engine::{
    model::{Failure, FailureClass},
    secret::Secret,
};

use crate::fleet::{ErrorKind, FleetError};
use crate::{
    pool::PoolRecord,
    spec::{DesiredVsi, substitute::TooLong, template_texts::PoolValues},
};

/// Fills the pool's values into the texts of a member. Returns its contract.
///
/// # Errors
/// With the field whose text becomes too long.
pub(super) fn fill(
    record: &PoolRecord,
    number: u32,
    vsi: &mut DesiredVsi,
    contract: &Secret,
) -> Result<Secret, FleetError> {
    let object = format!("vsi/{}", vsi.full_name());
    fill_shown(&record.name, number, vsi)?;
    let values = PoolValues {
        pool: &record.name,
        number,
    };
    let contract = filled_contract(values, contract);
    contract.map_err(|error| too_long(object, "userData", error))
}

/// Fills the pool's values into the texts of a member that are no secrets.
///
/// # Errors
/// With the field whose text becomes too long.
pub(super) fn fill_shown(pool: &str, number: u32, vsi: &mut DesiredVsi) -> Result<(), FleetError> {
    let object = format!("vsi/{}", vsi.full_name());
    let values = PoolValues { pool, number };
    let fill = |field: &str, text: &str| {
        let filled = values.fill(field, text);
        filled.map_err(|error| too_long(object.clone(), field, error))
    };
    if let Some(text) = &mut vsi.network_config {
        *text = fill("networkConfig", text)?;
    }
    if let Some(guest) = &mut vsi.guest {
        for key in &mut guest.ssh_keys {
            *key = fill("sshKeys", key)?;
        }
        if let Some(text) = &mut guest.vendor_data {
            *text = fill("vendorData", text)?;
        }
    }
    Ok(())
}

/// The contract of a member. An encrypted contract, or one that is not text, is unchanged.
///
/// # Errors
/// When it becomes too long.
pub(super) fn filled_contract(
    values: PoolValues<'_>,
    contract: &Secret,
) -> Result<Secret, TooLong> {
    match contract.expose_str() {
        Some(text) if text.contains("$(") => {
            let filled = values.fill("userData", text)?;
            Ok(Secret::new(filled.into_bytes()))
        }
        _ => Ok(contract.clone()),
    }
}

/// A text of a template that is too long for its field, with values filled in.
pub(in crate::fleet) fn too_long(object: String, field: &str, error: TooLong) -> FleetError {
    let (message, remedy) = error.in_words();
    let message = format!("{field}: {message}");
    let failure = Failure::new(FailureClass::Blocked, "VSI0734", message)
        .of_object(object)
        .with_remedy(remedy);
    FleetError::new(ErrorKind::Blocked, failure)
}
