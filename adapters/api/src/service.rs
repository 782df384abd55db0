//! The service: typed requests, answered here, over a socket or from another machine.
//!
//! A [`ServiceRequest`] states once what a request carries, what its answer is, who may send it, and how it is answered
//! from the journals. Whoever has the journals open calls [`Api::call`]; everybody else sends the same request with
//! [`call_daemon`]. Both get the same answer, so that clients parse, call and print, and know no other difference.
//!
//! ```text
//! POST /v1/table      a list of objects of any kind, as rows
//! POST /v1/describe   everything known about an object
//! POST /v1/history    events of an object or of everything, page by page
//! POST /v1/graph      the steps of an object's newest run, or its members
//! POST /v1/console-log, /v1/boot-evidence
//!                     what a guest wrote to its console, piece by piece; what is stored of a failed boot
//! POST /v1/overview   VSIs, steps that are not done, uploads and hosts, as they are now
//! POST /v1/plan-documents, /v1/apply-documents
//!                     what documents would change, and that objects are brought to what they describe
//! POST /v1/act        power, retry, cancel and approve
//! POST /v1/delete, /v1/rebuild
//!                     what destroys: deletion, and boot disks that are made anew
//! POST /v1/plan-restoration, /v1/restore-snapshot
//!                     VSIs that are put back to snapshots
//! POST /v1/maintain-host
//!                     hosts as wholes
//! POST /v1/scale, /v1/rollback-pool, /v1/cordon-members
//!                     pools and groups as wholes
//! POST /v1/outcomes   how the newest work on objects came out, or what it waits for
//! POST /v1/refresh    scans the hosts, and records how VSIs differ from what was written
//! POST /v1/diff       what differs in an object between two moments
//! POST /v1/audit/verify, /v1/audit/head, /v1/replay
//!                     whether the journals are sound, their anchors, and what their events lead to
//! ```
//!
//! What a request never does: read a file of the caller, format text for people, or evaluate an expression of the
//! caller. That is the client's work, with the client's time and memory.

mod acted;
mod acting;
mod agreed;
mod applying;
mod audit;
mod console_log;
mod deleting;
mod diff;
mod documented;
mod documents;
mod events;
mod maintenance;
mod outcomes;
mod overview;
mod planning;
mod pools;
mod reading;
mod rebuilding;
mod refresh;
mod remote;
mod restoring;

use std::marker::PhantomData;

use aide::{
    axum::{ApiRouter, routing::post_with},
    generate::GenContext,
    openapi,
    operation::OperationOutput,
};
use axum::{
    Extension, Json,
    extract::{DefaultBodyLimit, State},
    middleware,
    response::{IntoResponse, Response},
};
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use tokio::task::spawn_blocking;
use vsiflow_engine::low_priority;

pub(crate) use self::acted::journal_of;
pub use self::{
    acted::{ActAnswer, ActEffect, ActedObject, RetainedOnHost},
    acting::{Act, ActRequest},
    applying::ApplyRequest,
    audit::{
        AnchorRequest, JournalAnchor, JournalAnchors, JournalAudits, NoAudits, RemovedEvents,
        ReplayRequest, ReplaySummary, ReplayedJournal, ReplayedJournals, VerifiedJournal,
        VerifiedJournals, VerifyRequest,
    },
    console_log::{
        BootEvidence, BootEvidenceRequest, ConsoleLogPiece, ConsoleLogRequest, StoredEvidence,
    },
    deleting::{DeleteRequest, DeletionTarget},
    diff::{DiffRequest, Differences},
    documented::{
        DocumentNotes, DocumentedChange, Foreseen, ForeseenWork, PrunedObject, UnusedNetwork,
    },
    documents::{
        BundleFile, DocumentUse, DocumentWork, EarlierState, JournalPart, NoDocuments, Preparation,
        ReadDocuments, SentDocuments, SentFile, SetAnswer, SetWork, SnapshotCopies,
    },
    events::{DrawnObject, EventsRequest, GraphRequest},
    maintenance::{HostAct, MaintainHostRequest},
    outcomes::{AwaitedObject, AwaitedOutcome, ObjectOutcome, ObjectOutcomes, OutcomesRequest},
    overview::OverviewRequest,
    planning::{PlanRequest, PlannedDocuments},
    pools::{CordonMembersRequest, RollbackPoolRequest, ScaleRequest},
    reading::{AsOf, DescribeRequest, DescribedObject, ListedObjects, TableRequest},
    rebuilding::{RebuildRequest, RebuildTarget},
    refresh::{RefreshRequest, RefreshedHosts, UnreachableHost},
    remote::{DaemonError, call_daemon},
    restoring::{PlanRestorationRequest, PlannedRestoration, Restoration, RestoreSnapshotRequest},
};
use crate::{
    Caller, Problem, Rights,
    api::{Api, places::Place},
    caller,
    json_body::JsonBody,
    routes::RequestLimits,
    v1::about,
};

/// How a request is called in the API.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// Its name in the description.
    pub id: &'static str,
    /// Its path.
    pub path: &'static str,
    /// What it does, in a sentence.
    pub summary: &'static str,
}

/// What the process that answers a request here does with the journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalUse {
    /// It opens the fleets, and records nothing.
    Read,
    /// As `Read`, but in a set of journals the processes that have them answer.
    Ask,
    /// It opens the fleets, and records something.
    Record,
    /// As `Record`, and work on hosts follows.
    Work,
    /// It reads all of the journals as they are stored, damaged or not, and opens no fleet.
    Inspect,
}

/// A request to the service.
pub trait ServiceRequest:
    Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static
{
    /// The answer to it.
    type Answer: Serialize + DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// How it is called.
    const OPERATION: Operation;
    /// What is done with the journals for it.
    const USE: JournalUse = JournalUse::Read;

    /// The rights that every such request needs. They are checked before the request is read.
    const NEEDS: Rights;

    /// How long it may be, and how long its answer may take to begin.
    const LIMITS: RequestLimits = RequestLimits::SHORT;

    /// The rights that this one needs.
    fn needs(&self) -> Rights {
        Self::NEEDS
    }

    /// Whether a host is asked for the answer, so that it may be long in coming.
    fn asks_hosts(&self) -> bool {
        false
    }

    /// Whether the request may be sent again if it is not known whether it was carried out.
    fn is_repeatable(&self) -> bool {
        true
    }

    /// The request as it is answered again, if it may have been carried out before.
    #[must_use]
    fn repeated(self) -> Self {
        self
    }

    /// Whether all callers who ask at the same time share one answer. Of others that read whole journals, a caller has
    /// one answered at a time.
    fn is_shared(&self) -> bool {
        false
    }

    /// Answers it, for a caller with the rights. Cancel safe.
    fn answer(
        self,
        api: &Api,
        caller: &Caller,
    ) -> impl Future<Output = Result<Self::Answer, Problem>> + Send;
}

impl Api {
    /// Answers a request of this caller.
    ///
    /// # Errors
    /// The caller may not send it, or as the request says.
    pub async fn call<R: ServiceRequest>(
        &self,
        caller: &Caller,
        request: R,
    ) -> Result<R::Answer, Problem> {
        let (answer, _place) = self.placed_call(caller, request).await?;
        Ok(answer)
    }

    /// The answer, and the place that is held until it is written.
    async fn placed_call<R: ServiceRequest>(
        &self,
        caller: &Caller,
        request: R,
    ) -> Result<(R::Answer, Place), Problem> {
        if caller.rights < request.needs() {
            return Err(caller.refused());
        }
        let is_long = R::USE == JournalUse::Inspect;
        let _audit = if is_long && !request.is_shared() {
            Some(self.turns().audit(caller).await?)
        } else {
            None
        };
        let place = if is_long || request.asks_hosts() {
            self.turns().reader(caller).await?
        } else {
            self.turns().request(caller).await?
        };
        Ok((request.answer(self, caller).await?, place))
    }
}

/// Marks a request that another process has begun to answer, and may have carried out.
#[derive(Clone, Copy)]
pub(crate) struct IsRepeated;

/// The routes of all requests.
pub(crate) fn routes() -> ApiRouter<Api> {
    route_of::<TableRequest>()
        .merge(route_of::<DescribeRequest>())
        .merge(route_of::<EventsRequest>())
        .merge(route_of::<GraphRequest>())
        .merge(route_of::<ConsoleLogRequest>())
        .merge(route_of::<BootEvidenceRequest>())
        .merge(route_of::<OverviewRequest>())
        .merge(route_of::<RefreshRequest>())
        .merge(route_of::<PlanRequest>())
        .merge(route_of::<ApplyRequest>())
        .merge(route_of::<ActRequest>())
        .merge(route_of::<DeleteRequest>())
        .merge(route_of::<RebuildRequest>())
        .merge(route_of::<ScaleRequest>())
        .merge(route_of::<RollbackPoolRequest>())
        .merge(route_of::<CordonMembersRequest>())
        .merge(route_of::<MaintainHostRequest>())
        .merge(route_of::<PlanRestorationRequest>())
        .merge(route_of::<RestoreSnapshotRequest>())
        .merge(route_of::<OutcomesRequest>())
        .merge(route_of::<DiffRequest>())
        .merge(route_of::<VerifyRequest>())
        .merge(route_of::<AnchorRequest>())
        .merge(route_of::<ReplayRequest>())
}

fn route_of<R: ServiceRequest>() -> ApiRouter<Api> {
    let Operation { id, path, summary } = R::OPERATION;
    let answers = post_with(answer::<R>, about(id, "service", summary));
    let route = ApiRouter::new().api_route(path, answers);
    let limited = middleware::from_fn(|request, next| R::LIMITS.hold(request, next));
    let route = route
        .route_layer(DefaultBodyLimit::disable())
        .route_layer(limited);
    match R::NEEDS {
        Rights::Look => route,
        Rights::Operate => route.route_layer(middleware::from_fn(caller::may_operate)),
        Rights::Everything => route.route_layer(middleware::from_fn(caller::may_change)),
    }
}

async fn answer<R: ServiceRequest>(
    State(api): State<Api>,
    Extension(sender): Extension<Caller>,
    again: Option<Extension<IsRepeated>>,
    JsonBody(sent): JsonBody<R>,
) -> Result<WrittenAnswer<R::Answer>, Problem> {
    let request = match again {
        Some(_) => sent.repeated(),
        None => sent,
    };
    let (answer, place) = api.placed_call(&sender, request).await?;
    let written = spawn_blocking(move || {
        let _place = place;
        low_priority::run(|| serde_json::to_vec(&answer))
    });
    match written.await {
        Ok(Ok(bytes)) => Ok(WrittenAnswer(bytes, PhantomData)),
        Ok(Err(error)) => Err(Problem::defect(&error)),
        Err(error) => Err(Problem::defect(&error)),
    }
}

/// An answer as JSON. It may be long, so that it is not written on the runtime's threads.
struct WrittenAnswer<T>(Vec<u8>, PhantomData<T>);

impl<T> IntoResponse for WrittenAnswer<T> {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

impl<T: JsonSchema> OperationOutput for WrittenAnswer<T> {
    type Inner = T;

    fn operation_response(
        context: &mut GenContext,
        operation: &mut openapi::Operation,
    ) -> Option<openapi::Response> {
        Json::<T>::operation_response(context, operation)
    }

    fn inferred_responses(
        context: &mut GenContext,
        operation: &mut openapi::Operation,
    ) -> Vec<(Option<openapi::StatusCode>, openapi::Response)> {
        Json::<T>::inferred_responses(context, operation)
    }
}
