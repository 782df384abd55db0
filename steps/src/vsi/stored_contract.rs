//! Reads a VSI's contract from the secret store: steps have only its random ID.

use vsiflow_engine::{
    model::{Failure, FailureClass, Name},
    secret::{Secret, SecretError, Secrets},
};

use crate::error;

/// The contract, or the user-data, that is stored under that name.
pub(super) async fn read(secrets: &dyn Secrets, name: &Name) -> Result<Secret, Failure> {
    secrets.get(name).await.map_err(|missing| match missing {
        SecretError::Missing(_) => error::CONTRACT_GONE
            .failure("the contract is not in the secret store")
            .of_object(format!("secret {name}")),
        SecretError::Storage(_) | SecretError::Key(_) => store_failure(missing),
    })
}

/// The failure for an error of the secret store.
pub(super) fn store_failure(error: SecretError) -> Failure {
    if let SecretError::Key(_) = error {
        return Failure::new(FailureClass::Blocked, "VSI0835", error.to_string()).with_remedy(
            "Start vsiflow with the key that the secrets were sealed with (--journal-key FILE).",
        );
    }
    let message = format!("the secret store cannot be used: {error}");
    Failure::new(FailureClass::Transient, "VSI0006", message)
        .with_remedy("See that the state directory has room and can be written and read.")
}
