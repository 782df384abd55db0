//! Blocks a VSI whose documents have unresolved references.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::error;

/// Blocks until the documents are complete: missing ones are known before anything is begun, and a later
/// desired state supersedes this one.
///
/// The step asks no host and changes nothing, so a crash during it leaves nothing.
pub struct RequireReferences;

/// Parameters of [`RequireReferences`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The unresolved references.
    pub unresolved_refs: Vec<UnresolvedRef>,
}

/// A reference in a document that leads to no document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnresolvedRef {
    /// The field with the reference, such as `diskSelector`.
    pub field: String,
    /// What is wrong.
    pub message: String,
    /// What to add.
    pub remedy: String,
}

/// No output.
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
        let texts: Vec<_> = unresolved_refs.iter().map(text).collect();
        texts.join("; ")
    };
    let failure = error::REFERENCE_MISSING.failure(join(|lack| &lack.message));
    failure.with_remedy(format!("{}, then apply again", join(|lack| &lack.remedy)))
}
