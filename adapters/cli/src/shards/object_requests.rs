//! What journal 0 is asked about an object whose UID is known: by itself for a pool, by any journal for a custom resource.
//!
//! Guarantees:
//! - **What is asked is found again by the UID** in the request's id, whichever process asked it. So nothing is asked anew
//!   while something of it may still be carried out.
//! - **Who lost the lease of its journal asks nothing.** Its statement to do so is fenced.

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

/// A journal, as it asks.
#[derive(Clone, Copy)]
pub(super) struct RequestingJournal<'a> {
    pub(super) set: &'a ShardSet,
    pub(super) sealer: &'a Sealer,
    pub(super) held: &'a Held,
}

/// What this process asked for objects of one kind.
pub(super) struct ObjectRequests {
    kind: &'static str,
    /// What was asked last for each, and whose answer was not told.
    open: Mutex<BTreeMap<Uuid, String>>,
}

impl ObjectRequests {
    pub(super) fn of(kind: &'static str) -> Self {
        Self {
            kind,
            open: Mutex::default(),
        }
    }

    /// What became of what was asked for an object. An answer is told once.
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
                    self.remember(of, None);
                    if by.set.withdraw(&id).await.is_err() {
                        tracing::debug!("the answer is forgotten later");
                    }
                    let answer: MembersAnswer = serde_json::from_slice(answer.expose())
                        .map_err(|error| failed(&ExitProblem::defect(error)))?;
                    return Ok(RequestStatus::Answered(answer.refused));
                }
                Progress::Gone => self.remember(of, None),
            }
        }
        // What another process asked, that had journal 0 before.
        let open = by.set.has_open(&self.beginning(of)).await;
        Ok(if open.map_err(unanswered)? {
            RequestStatus::Open
        } else {
            RequestStatus::Nothing
        })
    }

    /// Asks journal 0, as a decision.
    pub(super) async fn ask(
        &self,
        by: RequestingJournal<'_>,
        of: Uuid,
        part: CommandPart,
    ) -> Result<(), FleetError> {
        let id = format!("{}{}", self.beginning(of), ask::id());
        // Before: what is sent and not remembered would be found by its beginning, but not its answer.
        self.remember(of, Some(id.clone()));
        let (request, command) = ((id.as_str(), DECIDES), ForwardedCommand::of_engine(part));
        let sent = ask::send(by.set, by.sealer, request, &command, true, Some(by.held)).await;
        sent.map_err(|problem| failed(&problem))
    }

    /// How the ids of what is asked for an object begin.
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
