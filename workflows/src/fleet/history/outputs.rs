//! The outputs of steps that people read.

use serde::de::DeserializeOwned;
use serde_json::Value;
use vsiflow_engine::{
    model::{EntityId, EntityState, Name, NodeState},
    step::Step as _,
};
use vsiflow_steps::vsi::{AwaitReady, CheckContract};

use crate::fleet::{Fleet, FleetError, HistoryHandle};

impl HistoryHandle<'_> {
    /// The doubts about a VSI's contract, and the warnings of its guest during boot.
    ///
    /// # Errors
    /// When an output cannot be read.
    pub async fn warnings(self, entity: &EntityId) -> Result<Vec<String>, FleetError> {
        let Some(state) = self.fleet.engine.entity(entity) else {
            return Ok(Vec::new());
        };
        let ready = self.fleet.output_of(AwaitReady::NAME, &state).await?;
        self.fleet.warnings_of(&state, &ready).await
    }
}

impl Fleet {
    pub(in crate::fleet) async fn warnings_of(
        &self,
        state: &EntityState,
        ready: &Value,
    ) -> Result<Vec<String>, FleetError> {
        let contract = self.output_of(CheckContract::NAME, state).await?;
        Ok([texts(&contract, "doubts"), texts(ready, "warnings")].concat())
    }

    /// The output of the newest success of this step, as JSON.
    pub(in crate::fleet) async fn output_of(
        &self,
        step: &str,
        state: &EntityState,
    ) -> Result<Value, FleetError> {
        self.output_of_newest(&[step], state).await
    }

    /// The output of the newest success of any of these steps, as a `T`. The default of `T` if there is no
    /// such output, or it cannot be parsed.
    pub(in crate::fleet) async fn output_of_newest<T: DeserializeOwned + Default>(
        &self,
        steps: &[&str],
        state: &EntityState,
    ) -> Result<T, FleetError> {
        let runs = state
            .runs
            .iter()
            .rev()
            .filter_map(|run| self.engine.run(*run));
        let outputs = runs.flat_map(|run| {
            let nodes = steps.iter().map(|step| run.nodes.get(&Name::of(step)));
            let outputs = nodes.filter_map(|node| match node {
                Some(NodeState::Succeeded { output, .. }) => Some(output.clone()),
                _ => None,
            });
            outputs.collect::<Vec<_>>()
        });
        let Some(output) = outputs.take(1).next() else {
            return Ok(T::default());
        };
        let bytes = self.blobs.get(&output).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

pub(in crate::fleet) fn texts(output: &Value, key: &str) -> Vec<String> {
    let list = output.get(key).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
