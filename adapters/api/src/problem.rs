//! The form of an error: RFC 9457, with the documented code and the user's next step.

use std::fmt;

use aide::{
    generate::GenContext,
    openapi::{Operation, Response as Documented, StatusCode as Status},
    operation::OperationOutput,
};
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header::CONTENT_TYPE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::model::Failure;
use vsiflow_workflows::{
    fleet::{ErrorKind, FleetError},
    spec::{Diagnostic, DiagnosticSeverity, Diagnostics},
};

use crate::described;

/// A problem of RFC 9457. `code` is one of those of `docs/reference/errors.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Problem {
    /// Names the kind of problem: `urn:vsiflow:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The words of the status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// The documented code, such as `VSI0703`.
    pub code: String,
    /// The host it happened on; empty where it was none.
    pub host: String,
    /// The object it is about; empty where it is none.
    pub object: String,
    /// What the user can do.
    pub remedy: String,
    /// The mistakes in documents, each with its place and remedy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Diagnostic>,
}

/// Error code: another request changed the object at the same moment.
const OUTDATED: &str = "VSI0014";
/// Error code: the caller may only look.
const LOOKS_ONLY: &str = "VSI0020";
/// Error code: the token's role does not permit the request.
const NOT_THE_ROLE: &str = "VSI0029";
/// Error code: the token is malformed or not valid.
const TOKEN: &str = "VSI0028";

impl Problem {
    /// Error code: a limit is reached, or an answer took too long.
    pub const BUSY: &str = "VSI0023";
    /// Error code of an invalid request.
    pub(crate) const WRONG: &str = "VSI0022";
    /// The media type of a problem.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// Whether an object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND.as_u16()
    }

    /// A problem without host and object.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>, remedy: &str) -> Self {
        Self {
            kind: format!("urn:vsiflow:{code}"),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            remedy: remedy.to_owned(),
            ..Self::default()
        }
    }

    /// The problem for a failure of the engine or the fleet.
    pub fn of(status: StatusCode, failure: &Failure) -> Self {
        Self {
            host: failure.host.to_string(),
            object: failure.object.to_string(),
            ..Self::new(
                status,
                &failure.code.to_string(),
                failure.message.to_string(),
                &failure.remedy.to_string(),
            )
        }
    }

    /// What must not happen: a defect of this program.
    pub(crate) fn defect(error: &impl std::fmt::Display) -> Self {
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Self::new(status, "VSI0001", error.to_string(), "please report this")
    }

    /// A limit is reached.
    pub fn busy(why: &str) -> Self {
        let remedy = "ask again; end what is not read any more";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Self::BUSY, why, remedy)
    }

    /// An answer took too long.
    pub(crate) fn late() -> Self {
        let detail = "the answer took too long";
        Self::new(StatusCode::GATEWAY_TIMEOUT, Self::BUSY, detail, "ask again")
    }

    /// A request is invalid.
    pub(crate) fn wrong(status: StatusCode, detail: impl Into<String>) -> Self {
        let remedy = "`vsiflow openapi` and `GET /v1/openapi.json` say what can be asked";
        Self::new(status, Self::WRONG, detail, remedy)
    }

    /// The token's role does not permit the request.
    pub(crate) fn not_the_role() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            NOT_THE_ROLE,
            "the role of the token does not permit this",
            "ask for a token of another role; `docs/reference/daemon.md` lists what each may",
        )
    }

    /// There is no token, or it is malformed.
    pub(crate) fn no_token(why: &str) -> Self {
        let remedy = "send a token of `vsiflow token create` as `Authorization: Bearer TOKEN`";
        Self::new(
            StatusCode::UNAUTHORIZED,
            TOKEN,
            format!("the token is refused: {why}"),
            remedy,
        )
    }

    /// The caller may only look.
    pub fn view_only() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            LOOKS_ONLY,
            "this socket is read-only",
            "use the socket of the state directory, or ask the operator of vsiflow; `docs/reference/daemon.md` lists what a viewer may do",
        )
    }
}

/// The code is that of the first mistake.
impl From<Diagnostics> for Problem {
    fn from(diagnostics: Diagnostics) -> Self {
        let mut mistakes = diagnostics.0.iter();
        let first = mistakes.find(|one| one.severity == DiagnosticSeverity::Error);
        let code = first.map_or("VSI0201", |mistake| &mistake.code);
        let remedy = "correct the documents; each line names one mistake and its remedy";
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Self {
            findings: diagnostics.0.clone(),
            ..Self::new(status, code, diagnostics.to_string(), remedy)
        }
    }
}

/// As a [`Failure`].
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)?;
        if !self.object.is_empty() {
            write!(f, " ({})", self.object)?;
        }
        if !self.host.is_empty() {
            write!(f, " [host {}]", self.host)?;
        }
        Ok(())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(CONTENT_TYPE, Self::MEDIA_TYPE)], body).into_response()
    }
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        let status = match error.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Blocked => StatusCode::CONFLICT,
            ErrorKind::Failed if error.failure.code.as_str() == OUTDATED => StatusCode::CONFLICT,
            ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::of(status, &error.failure)
    }
}

impl OperationOutput for Problem {
    type Inner = Self;

    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<Documented> {
        let description = "A problem (RFC 9457) with a documented code";
        let schema = ctx.schema.subschema_for::<Self>();
        Some(described::answer(schema, Self::MEDIA_TYPE, description))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<Status>, Documented)> {
        described::only::<Self>(ctx, operation, None)
    }
}
