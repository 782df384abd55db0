//! `POST /v1/apply` and `/v1/plan`: documents in YAML, as `-f` takes them. A document in JSON is one in YAML, too.
//!
//! The body becomes the one file of a request of the service, and the answer is what commands print of it with `-o json`.

use aide::{
    axum::{ApiRouter, routing::post_with},
    generate::GenContext,
    openapi::{MediaType, Operation, RequestBody, SchemaObject},
    operation::{OperationInput, set_body},
};
use axum::{
    Extension, Json,
    extract::{FromRequest, Query, Request, State},
    middleware,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::resource::{Answer, List, about};
use crate::{
    ApplyRequest, Caller, PlanRequest, Problem, SentDocuments, SentFile, api::Api, body, caller,
};

/// The maximum length of documents, in bytes.
const MAX_LEN: u64 = 16 * 1024 * 1024;
/// The file name of the documents.
const NAME: &str = "documents.yaml";

/// How documents are applied.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct ApplyQuery {
    /// Check everything and show what would be done, without changing anything.
    dry_run: bool,
    /// The host to use instead of the documents' host settings, as `--host` takes it.
    host: Option<String>,
    /// Why; stored in the history.
    reason: String,
}

/// How documents are planned.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct PlanQuery {
    /// The host to use instead of the documents' host settings, as `--host` takes it.
    host: Option<String>,
}

/// Documents in YAML or JSON.
struct DocumentsBody(Vec<u8>);

impl DocumentsBody {
    fn sent(self, host: Option<String>) -> SentDocuments {
        let file = SentFile {
            name: NAME.to_owned(),
            content: self.0,
        };
        SentDocuments {
            files: vec![file],
            host,
            ..SentDocuments::default()
        }
    }
}

impl<S: Sync> FromRequest<S> for DocumentsBody {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let body = body::whole(request.into_body(), MAX_LEN).await?;
        Ok(Self(body.into()))
    }
}

impl OperationInput for DocumentsBody {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let content = |json_schema| MediaType {
            schema: Some(SchemaObject {
                json_schema,
                example: None,
                external_docs: None,
            }),
            ..MediaType::default()
        };
        let documents = content(ctx.schema.subschema_for::<String>());
        let document = content(ctx.schema.subschema_for::<Map<String, Value>>());
        let body = RequestBody {
            description: Some("Documents in YAML, separated by `---`, or one in JSON".to_owned()),
            content: [
                ("application/yaml".to_owned(), documents),
                ("application/json".to_owned(), document),
            ]
            .into(),
            required: true,
            ..RequestBody::default()
        };
        set_body(ctx, operation, body);
    }
}

/// The object that a document describes, or a `List` of the objects if it describes several.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct AppliedObjects(#[schemars(with = "Map<String, Value>")] Value);

/// What would be done about each object.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Plans(#[schemars(with = "List<Map<String, Value>>")] Value);

pub(super) fn changes() -> ApiRouter<Api> {
    const TAG: &str = "documents";
    let summary = "Create and change VSIs and data disks as documents describe them";
    let routes = ApiRouter::new()
        .api_route("/v1/apply", post_with(apply, about("apply", TAG, summary)))
        .api_route(
            "/v1/plan",
            post_with(plan, about("plan", TAG, "Show what documents would change")),
        );
    routes.route_layer(middleware::from_fn(caller::may_change))
}

async fn apply(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ApplyQuery>,
    body: DocumentsBody,
) -> Answer<AppliedObjects> {
    let documents = body.sent(query.host);
    if query.dry_run {
        let request = PlanRequest {
            documents,
            dry_run: true,
            ..PlanRequest::default()
        };
        let planned = api.call(&caller, request).await?;
        first_problem(planned.problems.as_slice())?;
        return Ok(Json(AppliedObjects(planned.foretold())));
    }
    let request = ApplyRequest {
        documents,
        reason: query.reason,
        ..ApplyRequest::default()
    };
    let answer = api.call(&caller, request).await?;
    first_problem(&answer.problems)?;
    let fleets = api.fleets().await?;
    let mut objects = Vec::new();
    // Types and quotas are no work, and lists of networks ask hosts.
    let shown = answer.objects.iter();
    for object in shown.filter(|object| !object.uid.is_empty() && !object.kind.asks_hosts()) {
        let (kind, namespace, name) = (object.kind, &object.namespace, &object.name);
        let found = kind.get(&fleets, namespace, name).await?;
        objects.push(found.to_json().map_err(|error| Problem::defect(&error))?);
    }
    let only = (objects.len() == 1).then(|| objects.pop()).flatten();
    let listed = only.map_or_else(|| serde_json::to_value(&List::of(objects).0), Ok);
    let listed = listed.map_err(|error| Problem::defect(&error))?;
    Ok(Json(AppliedObjects(listed)))
}

async fn plan(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<PlanQuery>,
    body: DocumentsBody,
) -> Answer<Plans> {
    let request = PlanRequest {
        documents: body.sent(query.host),
        ..PlanRequest::default()
    };
    let planned = api.call(&caller, request).await?;
    first_problem(&planned.problems)?;
    let plans = serde_json::to_value(&List::of(planned.plans()).0);
    Ok(Json(Plans(plans.map_err(|error| Problem::defect(&error))?)))
}

fn first_problem(problems: &[Problem]) -> Result<(), Problem> {
    problems.first().map_or(Ok(()), |first| Err(first.clone()))
}
