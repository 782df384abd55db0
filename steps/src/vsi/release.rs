//! Erases the secrets that were stored for a VSI.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{Failure, Name},
    secret::Secrets,
    step::{Done, Observed, Step, StepContext},
};

use super::stored_contract::store_failure;

/// Erases secrets whose last user was deleted.
///
/// A crash during the step leaves some erased and some not; erasing again is harmless.
pub struct ReleaseSecrets {
    secrets: Arc<dyn Secrets>,
}

/// Parameters of [`ReleaseSecrets`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The secrets, by their random IDs.
    pub secrets: Vec<Name>,
}

/// What [`ReleaseSecrets`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The secrets that this step erased, by their random IDs.
    pub erased: Vec<Name>,
}

impl ReleaseSecrets {
    /// The step, erasing secrets of this store.
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
