//! Requests to journal 0 about an object with a known UID: from journal 0 itself for a pool, from any journal
//! for a custom resource.
//!
//! Guarantees:
//! - **A request is found again by the UID** in its ID, whichever process sent it. So nothing is requested
//!   again while an earlier request may still be carried out.
//! - **A process that lost the lease of its journal sends nothing.** The statement that sends is fenced.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use uuid::Uuid;
use vsiflow_postgres::{
    Held,
    seal::Sealer,
    shards::{ShardSet, requests::Progress},
};
use vsiflow_workflows::fleet::{FleetError, RequestStatus};

use super::{
    DECIDES,
    ask::{self, CommandPart, ForwardedCommand},
    failure::{failed, unanswered},
    members::stored::MembersAnswer,
    problem,
};
use crate::exit::ExitProblem;

/// The journal that sends a request.
#[derive(Clone, Copy)]
pub(super) struct RequestingJournal<'a> {
    pub(super) set: &'a ShardSet,
    pub(super) sealer: &'a Sealer,
    pub(super) held: &'a Held,
}

/// The requests that this process sent for objects of one kind.
pub(super) struct ObjectRequests {
    kind: &'static str,
    /// The last request for each object, until its answer was returned.
    open: Mutex<BTreeMap<Uuid, String>>,
}

impl ObjectRequests {
    pub(super) fn of(kind: &'static str) -> Self {
        Self {
            kind,
            open: Mutex::default(),
        }
    }

    /// The state of the last request for an object. An answer is returned once.
    pub(super) async fn status_of(
        &self,
        by: RequestingJournal<'_>,
        of: Uuid,
    ) -> Result<RequestStatus, FleetError> {
        if let Some(id) = self.last(of) {
            let progress = by.set.progress(by.sealer, &id).await;
            match progress.map_err(|error| failed(&problem(&error)))? {
                Progress::Waiting | Progress::Begun => return Ok(RequestStatus::Open),
                Progress::Answered(answer) => {
                    self.forget(by.set, of, &id).await;
                    let answer: MembersAnswer = serde_json::from_slice(answer.expose())
                        .map_err(|error| failed(&ExitProblem::defect(error)))?;
                    return Ok(RequestStatus::Answered(answer.refused));
                }
                Progress::Gone => self.remember(of, None),
                Progress::Refused => self.forget(by.set, of, &id).await,
            }
        }
        // A request of another process that held journal 0 before.
        let open = by.set.has_open(&self.beginning(of)).await;
        Ok(if open.map_err(unanswered)? {
            RequestStatus::Open
        } else {
            RequestStatus::Nothing
        })
    }

    /// Forgets a request that is answered or refused.
    async fn forget(&self, set: &ShardSet, of: Uuid, id: &str) {
        self.remember(of, None);
        if set.withdraw(id).await.is_err() {
            tracing::debug!("the answer is forgotten later");
        }
    }

    /// Sends a request to journal 0, as a decision.
    pub(super) async fn ask(
        &self,
        by: RequestingJournal<'_>,
        of: Uuid,
        part: CommandPart,
    ) -> Result<(), FleetError> {
        let id = format!("{}{}", self.beginning(of), ask::id());
        // Before sending: a request that is sent but not remembered could be found by its prefix, but its
        // answer could not.
        self.remember(of, Some(id.clone()));
        let (request, command) = ((id.as_str(), DECIDES), ForwardedCommand::of_engine(part));
        let sent = ask::send(by.set, by.sealer, request, &command, true, Some(by.held)).await;
        sent.map_err(|problem| failed(&problem))
    }

    /// The prefix of the IDs of all requests for an object.
    fn beginning(&self, of: Uuid) -> String {
        format!("{}-{}-", self.kind, of.simple())
    }

    fn last(&self, of: Uuid) -> Option<String> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.get(&of).cloned()
    }

    fn remember(&self, of: Uuid, id: Option<String>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match id {
            Some(id) => open.insert(of, id),
            None => open.remove(&of),
        };
    }
}
