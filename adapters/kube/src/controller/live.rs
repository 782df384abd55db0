//! Checks with the API server that resources still exist before they are recorded for the first time.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{TryStreamExt as _, stream};
use kube::Client;
use vsiflow_engine::model::{Failure, FailureClass};
use vsiflow_workflows::fleet::{ErrorKind, FleetError};

use crate::{
    api::{self, CallError},
    resource::Resource,
    share::StillRequested,
};

/// Concurrent calls to the API server.
const MAX_CALLS: usize = 8;
/// How long the API server may take to confirm that resources still exist.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Resources that are about to be recorded for the first time; they are checked just before.
pub(super) struct LiveResources {
    pub(super) client: Client,
    pub(super) resources: Vec<Arc<Resource>>,
}

impl LiveResources {
    async fn is_there(&self, resource: &Resource) -> Result<(), FleetError> {
        match api::is_there(&self.client, resource).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(CallError::Gone) => Err(deleted_meanwhile(&resource.key)),
            Err(error) => {
                let why = format!("whether it is still there is not known: {error}");
                Err(not_recorded(resource, &why))
            }
        }
    }
}

#[async_trait]
impl StillRequested for LiveResources {
    async fn check(&self) -> Result<(), FleetError> {
        let all = stream::iter(self.resources.iter().map(Ok));
        let checks = all.try_for_each_concurrent(MAX_CALLS, |resource| self.is_there(resource));
        match tokio::time::timeout(TIMEOUT, checks).await {
            Ok(found) => found,
            // Other journals wait for the names during this check.
            Err(_) => match self.resources.first() {
                Some(resource) => Err(not_recorded(
                    resource,
                    "the API server does not answer in time",
                )),
                None => Ok(()),
            },
        }
    }
}

/// The refusal of what was deleted before it was recorded.
pub(super) fn deleted_meanwhile(object: impl ToString) -> FleetError {
    refusal(object, "it was deleted meanwhile")
}

fn not_recorded(resource: &Resource, why: &str) -> FleetError {
    refusal(&resource.key, why)
}

fn refusal(object: impl ToString, why: &str) -> FleetError {
    let failure = Failure::new(FailureClass::Transient, "VSI0769", why);
    FleetError {
        kind: ErrorKind::Blocked,
        failure: Box::new(failure.of_object(object.to_string())),
    }
}
