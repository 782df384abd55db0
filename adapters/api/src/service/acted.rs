//! What requests that have something done with objects are answered with: an effect for each object.
//!
//! In a set of journals each journal does its own part, and what one of them refuses does not stop the others.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::{By, Retried},
    journal::Offset,
    model::{EntityId, Name},
};
use vsiflow_workflows::{
    fleet::{DrainedVsi, ErrorKind, Fleet, Fleets, NamedObject},
    kinds::ObjectKind,
    plan::Plan,
};

use super::{
    ServiceRequest,
    documented::{DocumentNotes, DocumentedChange},
};
use crate::{Caller, ForwardedRequest, JournalSet, Problem, api::Api};

/// What was done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ActEffect {
    /// It is recorded, and worked on.
    Recorded,
    /// There was nothing to do.
    NothingToDo,
    /// `cancel`: no run is open; what was ordered to be deleted, made anew or restored is not done any more.
    OrdersVoided,
    /// `cancel`: no run is open, and no order that could be taken back; what needs no order is still done.
    NothingTakenBack,
    /// `cancel`: the deletion of a pool or a group is taken back.
    DeletionTakenBack,
    /// Its change waits for approval.
    AwaitsApproval,
    /// It was refused, as the problem says.
    Refused,
    /// `delete`: it is recorded, and what it has on its host stays there.
    Forgotten,
    /// `delete`: its record could not be read, and it is forgotten at once; what it has on its host stays there.
    UnreadableForgotten,
    /// `delete`: it is gone at once.
    Gone,
    /// `delete`: it is a pool that makes deleted members again.
    MakesAgain,
    /// It is a host that takes no new VSIs.
    Cordoned,
    /// It is a host that takes new VSIs again.
    Uncordoned,
    /// It is a host, and the machine that answers is accepted as it.
    Accepted,
}

impl From<Retried> for ActEffect {
    fn from(retried: Retried) -> Self {
        match retried {
            Retried::NothingToDo => Self::NothingToDo,
            Retried::Signalled | Retried::Reopened => Self::Recorded,
        }
    }
}

/// What was done with one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActedObject {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty of one that has none.
    pub uid: String,
    /// The journal of a set that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u16>,
    /// What was done.
    pub effect: ActEffect,
    /// Where events of what follows begin in its journal.
    pub since: Offset,
    /// Why it was refused, or why there was nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The machine that is accepted as a host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The members that were named, of a pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
    /// What changes and what is lost, if that was worked out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What documents change about it, if documents were applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documented: Option<Box<DocumentedChange>>,
    /// What stays on a host because the `deletionPolicy` says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained: Option<RetainedOnHost>,
}

/// What stays on a host of an object that is deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetainedOnHost {
    /// The host.
    pub host: String,
    /// The volume of a data disk; a VSI keeps everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
}

/// What was done with each object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActAnswer {
    /// The objects.
    pub objects: Vec<ActedObject>,
    /// Journals of a set that did not do their part.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// What is done about each VSI of a host from which members are moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drained: Vec<DrainedVsi>,
    /// What could not be read, and may be concerned as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Problem>,
    /// What is said of documents that were applied, beside what becomes of their objects.
    #[serde(default, skip_serializing_if = "DocumentNotes::is_empty")]
    pub notes: DocumentNotes,
    /// Whether the process that answers continues with the work; otherwise it works as long as it has work of its own.
    pub stays: bool,
}

impl ActAnswer {
    /// What was done with objects of one journal.
    pub(super) fn of(objects: Vec<ActedObject>) -> Self {
        Self {
            objects,
            ..Self::default()
        }
    }

    /// The same with where the events of what follows begin, and whether the process of the journal stays.
    pub(super) fn since(mut self, since: Offset, stays: bool) -> Self {
        for object in &mut self.objects {
            object.since = since;
        }
        Self { stays, ..self }
    }
}

impl ActedObject {
    /// An object that is no entity, or not any more.
    pub(super) fn without_entity(
        kind: ObjectKind,
        namespace: &str,
        name: &str,
        effect: ActEffect,
    ) -> Self {
        Self {
            kind,
            uid: String::new(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            journal: None,
            effect,
            since: 0,
            problem: None,
            machine: None,
            members: Vec::new(),
            plan: None,
            documented: None,
            retained: None,
        }
    }

    /// Its entity.
    ///
    /// # Errors
    /// A defect, if it has none.
    pub fn entity(&self) -> Result<EntityId, Problem> {
        let entity = EntityId::new(Name::of(self.kind.word()), &self.uid);
        entity.map_err(|error| Problem::defect(&error))
    }

    pub(super) fn of(object: NamedObject, effect: ActEffect) -> Self {
        Self {
            uid: object.entity.id().to_owned(),
            ..Self::without_entity(kind_of(&object), &object.namespace, &object.name, effect)
        }
    }
}

/// The journal of a set that has an object, named as `web`, `disk/data` or `snapshot/before`. Snapshots of schedules may have
/// the name of another journal's: the one for which the name is claimed comes first.
///
/// # Errors
/// `VSI0703` if there is none; or that the one with the claimed name cannot be read.
pub(crate) async fn journal_of(
    set: &dyn JournalSet,
    fleets: &Fleets,
    namespace: &str,
    name: &str,
) -> Result<u16, Problem> {
    let (kind, bare) = ObjectKind::of_name(name);
    let (own_namespace, own_name) = bare.split_once('/').unwrap_or((namespace, bare));
    let claimed = set.claimed_by(kind, own_namespace, own_name).await?;
    let claimer = claimed.and_then(|journal| fleets.all().nth(journal.into()));
    if let (Some(journal), Some(fleet)) = (claimed, claimer) {
        let alone = Fleets::from(fleet.clone());
        match kind.check_exists(&alone, own_namespace, own_name).await {
            Err(error) if error.kind == ErrorKind::NotFound => {}
            // What cannot be read is not absent: another journal's object is not the one that is meant.
            exists => return Ok(exists.map(|()| journal)?),
        }
    }
    let fleet = fleets.that_has(namespace, qualified(name)).await?;
    Ok(fleets.number_of(fleet).unwrap_or_default())
}

/// A request that has something done with objects, in the journals that have them.
pub(super) trait JournalRequest: ServiceRequest<Answer = ActAnswer> {
    /// Refuses what is asked of other objects than the request is for.
    fn check(&self) -> Result<(), Problem> {
        Ok(())
    }

    /// Why it is asked.
    fn reason(&self) -> &str;

    /// The part of each journal of a set that has one.
    fn parts(
        &self,
        api: &Api,
        set: &dyn JournalSet,
    ) -> impl Future<Output = Result<BTreeMap<u16, Self>, Problem>> + Send;

    /// Has it done in one journal, whose process `stays` or not.
    fn carry_out(
        &self,
        fleet: &Fleet,
        by: By,
        stays: bool,
    ) -> impl Future<Output = Result<ActAnswer, Problem>> + Send;

    /// The answer of all journals together.
    fn merged(&self, answer: ActAnswer) -> Result<ActAnswer, Problem> {
        Ok(answer)
    }
}

/// Answers a request, also in a set of journals.
pub(super) async fn answer<R: JournalRequest>(
    request: R,
    api: &Api,
    caller: &Caller,
) -> Result<ActAnswer, Problem> {
    request.check()?;
    if let Some(set) = api.set() {
        let parts = Box::pin(request.parts(api, set.as_ref())).await?;
        let answer = answer_of_parts(set.as_ref(), parts, caller).await?;
        return request.merged(answer);
    }
    let fleet = api.fleet()?;
    let (since, stays) = (fleet.history().end(), api.commands().stays());
    let by = caller.by(request.reason());
    let answer = Box::pin(request.carry_out(fleet, by, stays)).await?;
    Ok(answer.since(since, stays))
}

/// Has each journal of a set do its part of a request.
///
/// # Errors
/// The only problem, if nothing was done.
async fn answer_of_parts<R: ServiceRequest<Answer = ActAnswer>>(
    set: &dyn JournalSet,
    parts: BTreeMap<u16, R>,
    caller: &Caller,
) -> Result<ActAnswer, Problem> {
    let asking = parts.into_iter().map(|(journal, part)| async move {
        let forwarded = ForwardedRequest::asking(&part, caller)?;
        let answer = set.answer(journal, forwarded).await?;
        let mut answer = answer.answer_to::<R>()?;
        for object in &mut answer.objects {
            object.journal = Some(journal);
        }
        Ok::<_, Problem>(answer)
    });
    let answers = futures::future::join_all(asking).await;
    let mut merged = ActAnswer {
        stays: true,
        ..ActAnswer::default()
    };
    for answer in answers {
        match answer {
            Ok(answer) => {
                merged.objects.extend(answer.objects);
                merged.drained.extend(answer.drained);
                merged.warnings.extend(answer.warnings);
            }
            Err(problem) => merged.problems.push(problem),
        }
    }
    match merged.problems.pop() {
        // A single problem is the answer, unless something was done.
        Some(problem) if merged.objects.is_empty() && merged.problems.is_empty() => Err(problem),
        problem => {
            merged.problems.extend(problem);
            Ok(merged)
        }
    }
}

/// The kind of an object that a request named.
pub(super) fn kind_of(object: &NamedObject) -> ObjectKind {
    ObjectKind::named(object.entity.kind().as_str()).unwrap_or(ObjectKind::Vsi)
}

/// `vsi/NAME` as `NAME`, and other names as they are.
pub(super) fn qualified(name: &str) -> &str {
    match ObjectKind::of_name(name) {
        (ObjectKind::Vsi, bare) => bare,
        _ => name,
    }
}
