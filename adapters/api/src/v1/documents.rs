//! `POST /v1/apply` and `/v1/plan`: documents in YAML, as `-f` takes them. A document in JSON is one in YAML, too.
//!
//! The same code as for commands reads, checks and resolves them: the body becomes one file of a command
//! line, and the answer is what that prints with `-o json`.

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
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::resource::{Answer, List, about};
use crate::{
    Caller, CommandEnd, CommandFile, CommandRequest, Problem,
    api::Api,
    body, caller,
    commands::run::{self, Printed},
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
    documents: DocumentsBody,
) -> Answer<AppliedObjects> {
    let reason = format!("--reason={}", query.reason);
    let mut words = vec!["apply", "-f", NAME, "-o", "json", &reason];
    words.extend(query.dry_run.then_some("--dry-run"));
    let printed = done(&api, &caller, &words, query.host, documents).await?;
    answer(printed).map(AppliedObjects).map(Json)
}

async fn plan(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<PlanQuery>,
    documents: DocumentsBody,
) -> Answer<Plans> {
    let words = ["plan", "-f", NAME, "-o", "json"];
    let printed = done(&api, &caller, &words, query.host, documents).await?;
    answer(printed).map(Plans).map(Json)
}

async fn done(
    api: &Api,
    caller: &Caller,
    words: &[&str],
    host: Option<String>,
    documents: DocumentsBody,
) -> Result<Printed, Problem> {
    let args = std::iter::once("vsiflow").chain(words.iter().copied());
    let args = args.map(str::to_owned);
    let request = CommandRequest {
        args: args
            .chain(host.map(|host| format!("--host={host}")))
            .collect(),
        files: vec![CommandFile {
            name: NAME.to_owned(),
            content: documents.0,
        }],
        ..CommandRequest::default()
    };
    run::collect(api, caller, request).await
}

/// The printed JSON is the answer, even if the change waits for approval or the plan has changes. If the
/// command failed, its error is the answer.
fn answer(printed: Printed) -> Result<Value, Problem> {
    let value = serde_json::from_slice(&printed.out);
    let CommandEnd { problem, code, .. } = printed.end;
    match (value, problem) {
        (Ok(value), None) => Ok(value),
        (_, Some(problem)) => Err(problem),
        (Err(_), None) => {
            let message = String::from_utf8_lossy(&printed.err);
            Err(wrong(code.as_deref(), &message))
        }
    }
}

/// The problem of invalid documents, with the complete message.
fn wrong(code: Option<&str>, message: &str) -> Problem {
    let remedy = "correct the documents; each line names one mistake and its remedy";
    let status = StatusCode::UNPROCESSABLE_ENTITY;
    Problem::new(
        status,
        code.unwrap_or("VSI0201"),
        message.trim_end(),
        remedy,
    )
}
