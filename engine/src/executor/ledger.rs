//! The ledger through which an attempt records what it does to objects.

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{error::EngineError, request::EngineRequest, timers::Waiter};
use crate::{
    model::{EntityId, Failure, FailureClass, Objects},
    step::{ObjectFact, ObjectLedger},
};

/// The ledger of one attempt: what it records goes through the control loop.
pub(super) struct AttemptLedger {
    pub(super) entity: EntityId,
    pub(super) waiter: Waiter,
    pub(super) objects: Objects,
    pub(super) engine: mpsc::Sender<EngineRequest>,
}

#[async_trait]
impl ObjectLedger for AttemptLedger {
    fn objects(&self) -> &Objects {
        &self.objects
    }

    async fn record(&self, fact: ObjectFact) -> Result<(), Failure> {
        let (reply, durable) = oneshot::channel();
        let request = EngineRequest::Object {
            entity: self.entity.clone(),
            waiter: self.waiter.clone(),
            fact,
            reply,
        };
        self.engine.send(request).await.map_err(|_| ended())?;
        match durable.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(EngineError::Refused(failure))) => Err(failure),
            Ok(Err(_)) | Err(_) => Err(ended()),
        }
    }
}

fn ended() -> Failure {
    Failure::new(
        FailureClass::Transient,
        "VSI0007",
        "the engine ended before the step acted",
    )
    .with_remedy("start again; nothing was done yet")
}
