//! `POST /v1/commands`: runs a command line here, and streams its output.
//!
//! **Limits.** `Content-Length` is required, and the bodies of all callers together are limited: callers
//! that send large files wait for one another.

use aide::{
    axum::{ApiRouter, routing::post_with},
    generate::GenContext,
    openapi::{MediaType, Operation, RequestBody, SchemaObject},
    operation::{OperationInput, set_body},
};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Request, State},
    middleware,
};
use futures::stream;
use http::{StatusCode, header::CONTENT_LENGTH};
use tokio::sync::OwnedSemaphorePermit;

use super::resource::about;
use crate::{
    Caller, CallerCommand, CommandLine, CommandRequest, Problem,
    api::Api,
    body, caller,
    commands::run::{begin, check},
    streamed::{Lines, Streamed},
};

/// The maximum length of a body, in bytes: files of 64 MiB, encoded.
const MAX_LEN: u64 = 96 * 1024 * 1024;

pub(super) fn runs() -> ApiRouter<Api> {
    let summary = "Run a command line and answer with its output as it comes";
    let route = ApiRouter::new().api_route(
        "/v1/commands",
        post_with(run, about("runCommand", "commands", summary)),
    );
    // The words of others are not even read.
    route.route_layer(middleware::from_fn(caller::may_change))
}

/// The body of a request for a command; it is not read before there is room for it.
struct CommandBody(Request);

impl<S: Sync> axum::extract::FromRequest<S> for CommandBody {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(request))
    }
}

impl OperationInput for CommandBody {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let content = MediaType {
            schema: Some(SchemaObject {
                json_schema: ctx.schema.subschema_for::<CommandRequest>(),
                example: None,
                external_docs: None,
            }),
            ..MediaType::default()
        };
        let body = RequestBody {
            content: [("application/json".to_owned(), content)].into(),
            required: true,
            ..RequestBody::default()
        };
        set_body(ctx, operation, body);
    }
}

/// Runs a command and answers with its output.
async fn run(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    CommandBody(body): CommandBody,
) -> Result<Streamed<Lines, CommandLine>, Problem> {
    let (request, held) = read(&api, body).await?;
    let place = api.turns().request(&caller).await?;
    check(&api, place, &request.args).await?;
    let turn = api.turns().command(&caller).await?;
    let command = CallerCommand { request, caller };
    let lines = begin(&api, command, (held, turn));
    let streamed = stream::unfold(lines, |mut lines| async move {
        let line: Bytes = lines.recv().await?;
        Some((Ok::<_, std::io::Error>(line), lines))
    });
    Ok(Streamed::of(Body::from_stream(streamed)))
}

/// Reads the request, and takes a permit for its memory.
async fn read(
    api: &Api,
    request: Request,
) -> Result<(CommandRequest, OwnedSemaphorePermit), Problem> {
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let length = length
        .ok_or_else(|| Problem::wrong(StatusCode::LENGTH_REQUIRED, "there is no Content-Length"))?;
    let held = if length <= MAX_LEN {
        api.turns().body(length).await?
    } else {
        return Err(body::too_long(MAX_LEN));
    };
    let bytes = body::whole(request.into_body(), MAX_LEN).await?;
    let parsed = serde_json::from_slice(&bytes);
    let parsed = parsed.map_err(|error| {
        let detail = format!("the body cannot be read: {error}");
        Problem::wrong(StatusCode::BAD_REQUEST, detail)
    })?;
    Ok((parsed, held))
}
