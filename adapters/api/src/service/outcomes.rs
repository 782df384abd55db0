//! The request for the outcomes of work: whether they are decided, and what it waits for otherwise.

use std::time::Duration;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use vsiflow_engine::model::{EntityId, Name};
use vsiflow_workflows::{
    fleet::{Fleet, FleetError, Verdict},
    kinds::ObjectKind,
};

use super::{Operation, ServiceRequest};
use crate::{Caller, ForwardedRequest, JournalSet, Problem, Rights, api::Api};

/// The longest that an answer waits.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How work came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Outcome")]
pub enum AwaitedOutcome {
    /// It is as it is to be.
    Reached,
    /// It failed.
    Failed,
    /// Something has to be removed or decided first.
    Blocked,
    /// Somebody cancelled it.
    Cancelled,
}

impl AwaitedOutcome {
    /// The outcome in a verdict, and why it is none that was asked for.
    pub fn of(verdict: &Verdict) -> (Self, Option<Problem>) {
        let problem = |failure| Some(Problem::of(StatusCode::CONFLICT, failure));
        match verdict {
            Verdict::Reached => (Self::Reached, None),
            Verdict::Cancelled => (Self::Cancelled, None),
            Verdict::Failed(failure) => (Self::Failed, problem(failure)),
            Verdict::Blocked(failure) => (Self::Blocked, problem(failure)),
        }
    }
}

/// An object whose outcome is awaited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AwaitedObject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its UID.
    pub uid: String,
    /// The journal of a set that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u16>,
}

/// Asks for the outcomes of the newest work on objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutcomesRequest {
    /// The objects.
    pub objects: Vec<AwaitedObject>,
    /// How long to wait until all are decided, in seconds, 20 at most.
    #[serde(default)]
    pub wait_seconds: u64,
    /// Tell the warnings about contracts, and those of guests, too.
    #[serde(default)]
    pub warnings: bool,
}

/// How the newest work on an object came out, or what it waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ObjectOutcome {
    /// The outcome; none while it is not decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<AwaitedOutcome>,
    /// Why it failed or is blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Problem>,
    /// The phase of a VSI.
    pub phase: String,
    /// What its work waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Problem>,
    /// The step in progress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// When a failed boot is tried again, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_try: Option<u64>,
    /// Whether it was deleted without asking its host.
    pub is_forgotten: bool,
    /// Warnings about the contract of a VSI, and those of its guest, if they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ObjectOutcome {
    /// The outcome of an entity's newest work.
    pub fn of(fleet: &Fleet, entity: &EntityId) -> Self {
        let verdict = fleet.verdict(entity);
        let (outcome, failure) = verdict.as_ref().map(AwaitedOutcome::of).unzip();
        let obstacle = fleet.obstacle(entity);
        Self {
            outcome,
            failure: failure.flatten(),
            phase: fleet.phase(entity).to_string(),
            obstacle: obstacle.map(|waits| Problem::of(StatusCode::CONFLICT, &waits)),
            step: fleet.step(entity),
            next_try: fleet.next_try(entity).map(|due| due.0),
            is_forgotten: fleet.is_forgotten(entity),
            warnings: Vec::new(),
        }
    }
}

/// The outcomes, in the order of the objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObjectOutcomes {
    /// The outcomes.
    pub outcomes: Vec<ObjectOutcome>,
}

impl ServiceRequest for OutcomesRequest {
    type Answer = ObjectOutcomes;
    const OPERATION: Operation = Operation {
        id: "getOutcomes",
        path: "/v1/outcomes",
        summary: "Show how the newest work on objects came out, or what it waits for",
    };
    const NEEDS: Rights = Rights::Look;

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ObjectOutcomes, Problem> {
        if let Some(set) = api.set() {
            return self.answer_of_set(set.as_ref(), caller).await;
        }
        let fleet = api.fleet()?;
        let entities = self.objects.iter().map(AwaitedObject::entity);
        let entities: Vec<_> = entities.collect::<Result<_, _>>()?;
        let wait = Duration::from_secs(self.wait_seconds).min(LONGEST_WAIT);
        if let Ok(decided) = timeout(wait, all_decided(fleet, &entities)).await {
            decided?;
        }
        let mut outcomes = Vec::new();
        for entity in &entities {
            let mut outcome = ObjectOutcome::of(fleet, entity);
            if self.warnings {
                outcome.warnings = fleet.history().warnings(entity).await?;
            }
            outcomes.push(outcome);
        }
        Ok(ObjectOutcomes { outcomes })
    }
}

async fn all_decided(fleet: &Fleet, entities: &[EntityId]) -> Result<(), FleetError> {
    for entity in entities {
        fleet.decided(entity).await?;
    }
    Ok(())
}

impl AwaitedObject {
    fn entity(&self) -> Result<EntityId, Problem> {
        let entity = EntityId::new(Name::of(self.kind.word()), &self.uid);
        entity.map_err(|error| Problem::wrong(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
    }
}

impl OutcomesRequest {
    /// The process that has a journal knows the outcomes of its objects.
    async fn answer_of_set(
        self,
        set: &dyn JournalSet,
        caller: &Caller,
    ) -> Result<ObjectOutcomes, Problem> {
        let mut outcomes = vec![ObjectOutcome::default(); self.objects.len()];
        let mut journals: Vec<u16> = self.objects.iter().filter_map(|one| one.journal).collect();
        journals.sort_unstable();
        journals.dedup();
        let asking = journals.into_iter().map(|journal| {
            let of_journal =
                |(_, object): &(usize, &AwaitedObject)| object.journal == Some(journal);
            let own: Vec<_> = self.objects.iter().enumerate().filter(of_journal).collect();
            async move {
                let (places, objects): (Vec<_>, Vec<_>) = own.into_iter().unzip();
                let request = Self {
                    objects: objects.into_iter().cloned().collect(),
                    wait_seconds: self.wait_seconds,
                    warnings: self.warnings,
                };
                let forwarded = ForwardedRequest::asking(&request, caller)?;
                let answer = set.answer(journal, forwarded).await?.answer_to::<Self>()?;
                Ok::<_, Problem>((places, answer.outcomes))
            }
        });
        for answer in futures::future::join_all(asking).await {
            let (places, own) = answer?;
            for (place, outcome) in places.into_iter().zip(own) {
                if let Some(slot) = outcomes.get_mut(place) {
                    *slot = outcome;
                }
            }
        }
        Ok(ObjectOutcomes { outcomes })
    }
}
