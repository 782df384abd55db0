//! Holds back what other documents are missing for.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::error;

/// Blocks until documents say all that is needed: what they lack is known before anything is begun,
/// and a later desired state takes this one's place.
///
/// It asks no host and changes nothing, so a crash in its middle leaves nothing.
pub struct RequireReferences;

/// What [`RequireReferences`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// What is lacking.
    pub unresolved_refs: Vec<UnresolvedRef>,
}

/// Something that documents lack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnresolvedRef {
    /// The field that refers to it, such as `diskSelector`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to add.
    pub remedy: String,
}

/// What [`RequireReferences`] found: nothing that others need to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {}

#[async_trait]
impl Step for RequireReferences {
    const NAME: &'static str = "require_references";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, params: &Params) -> Result<Observed<Output>, Failure> {
        match params.unresolved_refs.as_slice() {
            [] => Ok(Observed::Present(Output {})),
            unresolved_refs => Err(failure(unresolved_refs)),
        }
    }

    async fn run(&self, _: &StepContext, _: &Params) -> Result<Done<Output>, Failure> {
        Ok(Done::present(Output {}))
    }
}

fn failure(unresolved_refs: &[UnresolvedRef]) -> Failure {
    let join = |text: fn(&UnresolvedRef) -> &str| {
        let all: Vec<_> = unresolved_refs.iter().map(text).collect();
        all.join("; ")
    };
    let failure = error::REFERENCE_MISSING.failure(join(|lack| &lack.message));
    failure.with_remedy(format!("{}, then apply again", join(|lack| &lack.remedy)))
}
