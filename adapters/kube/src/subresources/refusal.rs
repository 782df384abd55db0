//! Error answers of this API, as a Kubernetes `Status`.

use std::fmt;

use http::{Method, Response, StatusCode};
use serde_json::json;
use vsiflow_engine::model::Failure;
use vsiflow_workflows::fleet::{ErrorKind, FleetError};

use super::{GROUP, HttpAnswer, RouteTarget, answer, route::ReviewedObject};

/// Error code: the user is unknown.
const STRANGER: &str = "VSI1030";
/// Error code: the user has no right.
const FORBIDDEN: &str = "VSI1031";
/// Error code: the user's rights are unknown, or the process is too busy.
const UNKNOWN: &str = "VSI1032";
/// Error code: the request is invalid.
const WRONG: &str = "VSI1033";
/// Error code: another file is being uploaded under the name.
const ANOTHER: &str = "VSI1035";

/// Error: a request was refused.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    reason: &'static str,
    failure: Box<WrongRequest>,
}

#[derive(Debug)]
struct WrongRequest {
    code: String,
    message: String,
    remedy: String,
    /// Plural and name of the object.
    object: Option<(String, String)>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.message)
    }
}

impl Refusal {
    fn new(
        (status, reason): (StatusCode, &'static str),
        code: &str,
        message: impl Into<String>,
        remedy: &str,
    ) -> Self {
        let failure = WrongRequest {
            code: code.to_owned(),
            message: message.into(),
            remedy: remedy.to_owned(),
            object: None,
        };
        Self {
            status,
            reason,
            failure: Box::new(failure),
        }
    }

    pub(super) fn code(&self) -> &str {
        &self.failure.code
    }

    /// Whether the API server said that the user lacks the right.
    pub(super) fn is_forbidden(&self) -> bool {
        self.status == StatusCode::FORBIDDEN
    }

    fn of(mut self, target: &RouteTarget) -> Self {
        self.failure.object = Some((target.kind.plural(), target.name.clone()));
        self
    }

    /// The user is unknown.
    pub(super) fn stranger(why: &str) -> Self {
        let how = (StatusCode::UNAUTHORIZED, "Unauthorized");
        let message = format!("who asks is not known: {why}");
        let remedy = "ask the cluster's API server, which asks here in its users' names";
        Self::new(how, STRANGER, message, remedy)
    }

    /// The user has no right.
    pub(super) fn forbidden(
        target: &ReviewedObject<'_>,
        user: &str,
        verb: &str,
        why: &str,
    ) -> Self {
        let resource = format!("{}/{}", target.plural, target.subresource);
        let message = format!(
            "user \"{user}\" cannot {verb} \"{resource}\" of \"{}\" in API group \"{GROUP}\" in the \
             namespace \"{}\"{}{why}",
            target.name,
            target.namespace,
            if why.is_empty() { "" } else { ": " },
        );
        let remedy = format!(
            "have the verb {verb} on {resource} of the group {GROUP} granted in this namespace"
        );
        let how = (StatusCode::FORBIDDEN, "Forbidden");
        let mut refusal = Self::new(how, FORBIDDEN, message, &remedy);
        refusal.failure.object = Some((target.plural.clone(), target.name.to_owned()));
        refusal
    }

    /// The user's rights are unknown.
    pub(super) fn unknown_rights(why: &str) -> Self {
        let how = (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        let message = format!("the API server does not say whether this is allowed: {why}");
        let remedy = "ask again; see that vsiflow may create subjectaccessreviews";
        Self::new(how, UNKNOWN, message, remedy)
    }

    /// The resources of the namespace are not listed yet.
    pub(super) fn unlisted(namespace: &str) -> Self {
        let how = (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
        let message = format!("the objects of the namespace \"{namespace}\" was not listed yet");
        let remedy = "ask again; see that vsiflow may list what it serves there";
        Self::new(how, UNKNOWN, message, remedy)
    }

    /// Another file is being uploaded under the name.
    pub(super) fn another_file() -> Self {
        let how = (StatusCode::CONFLICT, "Conflict");
        let message = "another file is being sent under this name";
        let remedy = "send it under another name, or a minute after the other upload ended";
        Self::new(how, ANOTHER, message, remedy)
    }

    /// The announcement or a piece of a file is invalid.
    pub(super) fn upload(why: &str) -> Self {
        Self::bad(
            format!("the upload is wrong: {why}"),
            "use `kubectl vsi image upload`",
        )
    }

    /// Too many requests.
    pub(super) fn busy() -> Self {
        let how = (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests");
        Self::new(how, UNKNOWN, "too many requests at a time", "ask again")
    }

    pub(super) fn no_such_path() -> Self {
        let how = (StatusCode::NOT_FOUND, "NotFound");
        let remedy = format!("`kubectl get --raw /apis/{GROUP}/v1` lists all paths");
        Self::new(how, WRONG, "there is no such path", &remedy)
    }

    pub(super) fn no_such_object(target: &RouteTarget) -> Self {
        let how = (StatusCode::NOT_FOUND, "NotFound");
        let message = format!(
            "there is no {} \"{}\" in the namespace \"{}\" that is served",
            target.kind.plural(),
            target.name,
            target.namespace
        );
        let remedy = "see that it is there, and that its condition Accepted is True";
        Self::new(how, "VSI0703", message, remedy).of(target)
    }

    pub(super) fn method(method: &Method) -> Self {
        let how = (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed");
        let remedy = "GET reads, POST or PUT acts";
        Self::new(how, WRONG, format!("{method} does nothing here"), remedy)
    }

    pub(super) fn upgrade(protocol: &str) -> Self {
        let how = (StatusCode::UPGRADE_REQUIRED, "BadRequest");
        let message = format!("the request has to ask for `Upgrade: {protocol}`");
        Self::new(how, WRONG, message, "use `kubectl vsi console`")
    }

    pub(super) fn query(name: &str) -> Self {
        let known = "`follow` and `from`; of a log also `failed` and `definition`";
        let message: String = name.chars().take(64).collect();
        let message = format!("the option {message:?} is not known here, or its value is wrong");
        Self::bad(message, &format!("what is read takes {known}"))
    }

    fn bad(message: impl Into<String>, remedy: &str) -> Self {
        let how = (StatusCode::BAD_REQUEST, "BadRequest");
        Self::new(how, WRONG, message, remedy)
    }

    pub(super) fn body(why: &str) -> Self {
        let remedy = "send nothing, or {\"reason\": \"…\", \"waitSeconds\": 10}";
        Self::bad(format!("the body cannot be read: {why}"), remedy)
    }

    pub(super) fn too_large(most: usize) -> Self {
        let how = (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge");
        let message = format!("the body is longer than {most} bytes");
        Self::new(how, WRONG, message, "send a reason, and nothing else")
    }

    pub(super) fn slow() -> Self {
        let how = (StatusCode::REQUEST_TIMEOUT, "Timeout");
        let message = "the body did not come in time";
        Self::new(how, WRONG, message, "ask again")
    }

    pub(super) fn late() -> Self {
        let how = (StatusCode::GATEWAY_TIMEOUT, "Timeout");
        Self::new(how, UNKNOWN, "the answer took too long", "ask again")
    }

    pub(super) fn no_evidence(target: &RouteTarget) -> Self {
        let how = (StatusCode::NOT_FOUND, "NotFound");
        let message = "the journal has no failed boot of it";
        let remedy = "`kubectl vsi describe` says where the evidence of a failed boot is";
        Self::new(how, "VSI0806", message, remedy).of(target)
    }

    pub(super) fn response(self) -> Response<HttpAnswer> {
        let WrongRequest {
            code,
            message,
            remedy,
            object,
        } = *self.failure;
        let (plural, name) = object.unwrap_or_default();
        let body = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message + &after(&code, &remedy),
            "reason": self.reason,
            "code": self.status.as_u16(),
            "details": {
                "group": GROUP,
                "kind": plural,
                "name": name,
                "causes": [{"reason": code, "message": remedy}],
            },
        });
        answer(self.status, "application/json", body.to_string())
    }
}

/// The text that is appended to a message, because `kubectl` prints only the message.
pub(crate) fn after(code: &str, remedy: &str) -> String {
    format!(" ({code}); next: {remedy}")
}

impl From<FleetError> for Refusal {
    fn from(error: FleetError) -> Self {
        let how = match error.kind {
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            ErrorKind::Blocked => (StatusCode::CONFLICT, "Conflict"),
            ErrorKind::Failed => (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable"),
        };
        let Failure {
            code,
            message,
            remedy,
            host,
            ..
        } = *error.failure;
        let on = match host.to_string() {
            host if host.is_empty() => host,
            host => format!(" (host {host})"),
        };
        let message = format!("{message}{on}");
        Self::new(how, &code.to_string(), message, &remedy.to_string())
    }
}
