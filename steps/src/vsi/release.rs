//! Lets go of the secrets that were kept for the VSI.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{Failure, FailureClass, Name},
    secret::{Secret, SecretError, Secrets},
    step::{Done, Observed, Step, StepContext},
};

use crate::error;

/// Erases secrets whose last user is gone.
///
/// A crash in its middle leaves some erased and some not; erasing again is harmless.
pub struct ReleaseSecrets {
    secrets: Arc<dyn Secrets>,
}

/// What [`ReleaseSecrets`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The secrets, by their random ids.
    pub secrets: Vec<Name>,
}

/// What [`ReleaseSecrets`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The secrets that are erased now, by their random ids.
    pub erased: Vec<Name>,
}

impl ReleaseSecrets {
    /// The step, erasing from this store.
    pub fn new(secrets: Arc<dyn Secrets>) -> Self {
        Self { secrets }
    }
}

#[async_trait]
impl Step for ReleaseSecrets {
    const NAME: &'static str = "release";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, params: &Params) -> Result<Observed<Output>, Failure> {
        if params.secrets.is_empty() {
            Ok(Observed::Present(Output { erased: Vec::new() }))
        } else {
            Ok(Observed::Needed)
        }
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        for name in &params.secrets {
            self.secrets.erase(name).await.map_err(store_failure)?;
        }
        Ok(Done::updated(Output {
            erased: params.secrets.clone(),
        }))
    }
}

/// A secret of the store, for the step that needs it.
pub(super) async fn read(secrets: &dyn Secrets, name: &Name) -> Result<Secret, Failure> {
    secrets.get(name).await.map_err(|missing| match missing {
        SecretError::Missing(_) => error::CONTRACT_GONE
            .failure("the contract is not in the secret store")
            .of_object(format!("secret {name}")),
        SecretError::Storage(_) | SecretError::Key(_) => store_failure(missing),
    })
}

fn store_failure(error: SecretError) -> Failure {
    if let SecretError::Key(_) = error {
        return Failure::new(FailureClass::Blocked, "VSI0835", error.to_string()).with_remedy(
            "Start vsiflow with the key that the secrets were sealed with (--journal-key FILE).",
        );
    }
    let message = format!("the secret store cannot be used: {error}");
    Failure::new(FailureClass::Transient, "VSI0006", message)
        .with_remedy("See that the state directory has room and can be written and read.")
}
