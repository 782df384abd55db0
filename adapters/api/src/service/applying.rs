//! The request that documents are applied, and that what has no document any more is deleted.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    JournalUse, Operation, ServiceRequest,
    acted::{ActAnswer, ActedObject},
    deleting::DeleteRequest,
    documented::PrunedObject,
    documents::{
        DocumentRequest, DocumentUse, ReadDocuments, SentDocuments, answers_of_set, left_out,
        refuse_present,
    },
};
use crate::{Caller, JournalSet, Problem, Rights, api::Api, routes::RequestLimits};

/// Asks that objects are brought to the state that documents describe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ApplyRequest {
    /// The documents.
    pub documents: SentDocuments,
    /// Delete what was applied from the directory before and has no document there any more, if that is not more than so many
    /// objects.
    pub prune: Option<usize>,
    /// Refuse VSIs that exist.
    pub only_new: bool,
    /// Why; stored in the history.
    pub reason: String,
}

impl ServiceRequest for ApplyRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "applyDocuments",
        path: "/v1/apply-documents",
        summary: "Bring objects to the state that documents describe",
    };
    const NEEDS: Rights = Rights::Everything;
    const USE: JournalUse = JournalUse::Work;
    const LIMITS: RequestLimits = RequestLimits::OF_DOCUMENTS;

    fn asks_hosts(&self) -> bool {
        true
    }

    fn is_repeatable(&self) -> bool {
        // It would refuse what it has made itself.
        !self.only_new && !self.documents.is_relative()
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        if let Some(set) = api.set() {
            return self.answer_of_set(Arc::clone(set).as_ref(), caller).await;
        }
        let turn = api.turns().command(caller).await?;
        let (api, caller) = (api.clone(), caller.clone());
        // What is recorded is also begun, if the caller waits for the answer or not.
        let applying = tokio::spawn(async move {
            let _turn = turn;
            Box::pin(self.applied(&api, &caller)).await
        });
        applying
            .await
            .unwrap_or_else(|error| Err(Problem::defect(&error)))
    }
}

impl DocumentRequest for ApplyRequest {
    fn documents(&self) -> &SentDocuments {
        &self.documents
    }

    fn records(&self) -> Option<&str> {
        Some(&self.reason)
    }

    fn prunes(&self) -> bool {
        self.prune.is_some()
    }
}

impl ApplyRequest {
    async fn applied(self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        let (fleet, work) = (api.fleet()?, api.documents());
        let ReadDocuments {
            resolved,
            mut notes,
            preparation,
        } = work.read(&self.documents, DocumentUse::Apply).await?;
        if self.only_new {
            refuse_present(fleet, &resolved).await?;
        }
        notes.pruned = left_out(fleet, self.prune, &resolved).await?;
        if let Some(preparation) = preparation {
            preparation.await?;
        }
        let since = fleet.history().end();
        let applied = work.apply(resolved, caller.by(&self.reason)).await?;
        let mut objects: Vec<_> = applied.into_iter().map(ActedObject::applied).collect();
        notes.leave_made(&objects);
        let mut problems = Vec::new();
        match pruned(&notes.pruned, &self.reason, api, caller).await {
            Ok(deleted) => objects.extend(deleted),
            // What was applied is reported all the same.
            Err(problem) => problems.push(problem),
        }
        Ok(ActAnswer {
            problems,
            notes,
            ..ActAnswer::of(objects).since(since, api.commands().stays())
        })
    }

    async fn answer_of_set(
        &self,
        set: &dyn JournalSet,
        caller: &Caller,
    ) -> Result<ActAnswer, Problem> {
        let parts = answers_of_set(set, self, caller).await?;
        let mut merged = ActAnswer {
            notes: parts.notes,
            problems: parts.problems,
            stays: true,
            ..ActAnswer::default()
        };
        for (journal, answer) in parts.answers {
            merged.notes.add(answer.notes);
            let objects = answer.objects.into_iter();
            merged.objects.extend(objects.map(|object| ActedObject {
                journal: Some(journal),
                ..object
            }));
            merged.problems.extend(answer.problems);
        }
        merged.notes.leave_made(&merged.objects);
        Ok(merged)
    }
}

/// Has what has no document any more deleted.
async fn pruned(
    left_out: &[PrunedObject],
    reason: &str,
    api: &Api,
    caller: &Caller,
) -> Result<Vec<ActedObject>, Problem> {
    if left_out.is_empty() {
        return Ok(Vec::new());
    }
    let request = DeleteRequest::of_pruned(left_out, reason);
    Ok(request.answer(api, caller).await?.objects)
}
