//! The registry of the steps that this binary has, by name.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::{
    model::{Failure, FailureClass, Name},
    step::{Done, Observed, Step, StepContext},
};

/// A step whose parameters and output are JSON bytes.
#[async_trait]
pub(crate) trait AnyStep: Send + Sync {
    fn version(&self) -> u16;
    /// Observes and, if there is work to do, calls `intend` and then acts.
    async fn attempt(
        &self,
        cx: &StepContext,
        params: &[u8],
        intend: Intend<'_>,
    ) -> Result<Done<Vec<u8>>, Failure>;
}

/// Makes durable that the step is about to act.
pub(crate) type Intend<'a> = BoxFuture<'a, Result<(), Failure>>;

/// The steps that this binary has.
#[derive(Clone, Default)]
pub struct Registry {
    steps: BTreeMap<Name, Arc<dyn AnyStep>>,
}

impl Registry {
    /// Adds a step under its name.
    pub fn add<S: Step>(&mut self, step: S) -> &mut Self {
        self.steps.insert(Name::of(S::NAME), Arc::new(Typed(step)));
        self
    }

    /// The step with that name, if this binary can read parameters of that version.
    pub(crate) fn find(&self, step: &Name, version: u16) -> Result<Arc<dyn AnyStep>, Failure> {
        match self.steps.get(step) {
            Some(code) if version <= code.version() => Ok(code.clone()),
            Some(code) => Err(unknown_step(format!(
                "this run needs version {version} of step {step}; this binary has {}",
                code.version()
            ))),
            None => Err(unknown_step(format!(
                "this run needs step {step}, which this binary lacks"
            ))),
        }
    }
}

fn unknown_step(message: String) -> Failure {
    Failure::new(FailureClass::Blocked, "VSI0005", message)
        .with_remedy("run the vsiflow that started it, or `vsiflow cancel` the run and apply again")
}

struct Typed<S>(S);

#[async_trait]
impl<S: Step> AnyStep for Typed<S> {
    fn version(&self) -> u16 {
        S::VERSION
    }

    async fn attempt(
        &self,
        cx: &StepContext,
        params: &[u8],
        intend: Intend<'_>,
    ) -> Result<Done<Vec<u8>>, Failure> {
        let params: S::Params = serde_json::from_slice(params).map_err(|e| {
            Failure::defect(format!("the parameters of {} are unreadable: {e}", S::NAME))
        })?;
        let completion = match self.0.observe(cx, &params).await? {
            Observed::Present(output) => Done::present(output),
            Observed::Needed => {
                intend.await?;
                self.0.run(cx, &params).await?
            }
        };
        let output = serde_json::to_vec(&completion.output).map_err(|e| {
            Failure::defect(format!("the output of {} cannot be written: {e}", S::NAME))
        })?;
        Ok(Done {
            outcome: completion.outcome,
            output,
        })
    }
}
