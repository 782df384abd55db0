//! Requests to the API of subresources, as the user of the plugin.

use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use kube::{client::Body, core::Status};
use serde::Deserialize;
use serde_json::json;

use super::{Cluster, PluginError};
use crate::{
    kind::ResourceKind,
    subresources::{ActionDone, GROUP, OFFSET, PROTOCOL, VERSION, after},
};

/// The maximum length of an answer that is not streamed, in bytes.
const MAX_LEN: usize = 1024 * 1024;

/// A read request about a VSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Its history, one JSON object per line, from this offset of the journal.
    History {
        /// The offset.
        from: u64,
        /// Whether to wait for further entries for a while.
        follow: bool,
    },
    /// Its console log, from this byte.
    Logs {
        /// The byte position.
        from: u64,
        /// Whether to wait for further output for a while.
        follow: bool,
    },
    /// What was saved of its newest failed boot: the console, or the domain's definition.
    Failed {
        /// Whether to read the definition.
        definition: bool,
    },
}

impl Reading {
    fn path(self) -> String {
        match self {
            Self::History { from, follow } => format!("history?from={from}&follow={follow}"),
            Self::Logs { from, follow } => format!("logs?from={from}&follow={follow}"),
            Self::Failed { definition } => format!("logs?failed=true&definition={definition}"),
        }
    }
}

/// A streamed answer.
pub struct Pieces {
    /// The byte of the log at which it begins.
    pub begins: Option<u64>,
    body: Body,
}

impl Pieces {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// If the answer was cut off.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data.to_vec()));
                    }
                }
            }
        }
    }
}

/// An action on a VSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Retries immediately what is blocked, delayed or failed.
    Retry,
    /// Cancels its run.
    Cancel,
}

/// The result of an action.
#[derive(Clone, Debug, Deserialize)]
pub struct ActionAnswer {
    /// What was done.
    pub done: ActionDone,
    /// The verdict, if the call waited and there is one: `Reached`, `Failed`, `Blocked` or `Cancelled`.
    pub verdict: Option<String>,
    /// The failure, or what blocks it.
    pub failure: Option<ActionFailure>,
}

/// The failure of an action.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ActionFailure {
    /// The code.
    pub code: String,
    /// What happened.
    pub message: String,
    /// On which host.
    pub host: String,
    /// To which object.
    pub object: String,
    /// What to do.
    pub remedy: String,
}

impl Cluster {
    /// Reads something of a VSI.
    ///
    /// # Errors
    /// If this user may not, no VSI has this name, or no process answers.
    pub async fn read_of(&self, name: &str, what: Reading) -> Result<Pieces, PluginError> {
        let path = what.path();
        let ask = |kind| Request::get(self.subresource(kind, name, &path)).body(Body::empty());
        let response = self.ask_either(name, ask).await?;
        let begins = response.headers().get(OFFSET);
        let begins = begins.and_then(|value| value.to_str().ok()?.parse().ok());
        Ok(Pieces {
            begins,
            body: response.into_body(),
        })
    }

    /// Performs an action on a VSI, and waits up to `wait_seconds` for its result.
    ///
    /// # Errors
    /// If this user may not, no VSI has this name, or no process answers.
    pub async fn act_on(
        &self,
        name: &str,
        action: Action,
        reason: &str,
        wait_seconds: u64,
    ) -> Result<ActionAnswer, PluginError> {
        let word = match action {
            Action::Retry => "retry",
            Action::Cancel => "cancel",
        };
        let body = json!({"reason": reason, "waitSeconds": wait_seconds}).to_string();
        let ask = |kind| {
            Request::post(self.subresource(kind, name, word))
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(Body::from(body.clone().into_bytes()))
        };
        let response = self.ask_either(name, ask).await?;
        let answer = Limited::new(response.into_body(), MAX_LEN).collect().await;
        let answer = answer.map_err(|error| self.odd(&self.label(name), &error.to_string()))?;
        let answer = serde_json::from_slice(&answer.to_bytes());
        answer.map_err(|error| self.odd(&self.label(name), &error.to_string()))
    }

    /// Opens the console of a VSI: the connection of the answer is upgraded to its bytes. With `force`,
    /// the user who has it open loses it.
    ///
    /// # Errors
    /// If this user may not, another user has it open, no VSI has this name, or no process answers.
    pub async fn console(
        &self,
        name: &str,
        force: bool,
    ) -> Result<http::Response<Body>, PluginError> {
        let path = format!("console?force={force}");
        let ask = |kind| {
            Request::post(self.subresource(kind, name, &path))
                .header(http::header::CONNECTION, "upgrade")
                .header(http::header::UPGRADE, PROTOCOL)
                .body(Body::empty())
        };
        let response = self.ask_either(name, ask).await?;
        match response.status() {
            StatusCode::SWITCHING_PROTOCOLS => Ok(response),
            _ => Err(self.odd(&self.label(name), "the connection does not change over")),
        }
    }

    fn subresource(&self, kind: ResourceKind, name: &str, rest: &str) -> String {
        let (namespace, plural) = (&self.namespace, kind.plural());
        format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}/{name}/{rest}")
    }

    /// Sends a request for the VSI with this name, for the kind that has it.
    async fn ask_either(
        &self,
        name: &str,
        ask: impl Fn(ResourceKind) -> http::Result<Request<Body>>,
    ) -> Result<http::Response<Body>, PluginError> {
        let first = self.ask(&self.label(name), ask(ResourceKind::Vsi)).await;
        match first {
            Err(error) if error.is_of_nothing() => {
                let second = self
                    .ask(&self.label(name), ask(ResourceKind::VirtualServer))
                    .await;
                // If neither exists, users expect the error about the older kind.
                second.or(Err(error))
            }
            first => first,
        }
    }

    pub(super) async fn ask(
        &self,
        what: &str,
        request: http::Result<Request<Body>>,
    ) -> Result<http::Response<Body>, PluginError> {
        let request = request.map_err(|error| self.odd(what, &error.to_string()))?;
        let response = self.client.send(request).await;
        let response = response.map_err(|error| self.odd(what, &error.to_string()))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let code = response.status();
        let body = Limited::new(response.into_body(), MAX_LEN).collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        Err(self.refused(what, code, &body))
    }

    pub(super) fn odd(&self, what: &str, why: &str) -> PluginError {
        PluginError::Refused {
            what: format!("what is asked of {what}"),
            why: why.to_owned(),
        }
    }

    /// The error of a refusal: by vsiflow, which names a code, or by the API server.
    fn refused(&self, what: &str, code: StatusCode, body: &[u8]) -> PluginError {
        let status: Status = serde_json::from_slice(body).unwrap_or_default();
        let details = status.details.as_ref();
        let cause = details.and_then(|details| details.causes.first());
        if let Some(cause) = cause.filter(|cause| cause.reason.starts_with("VSI")) {
            let after = after(&cause.reason, &cause.message);
            let message = status.message.strip_suffix(&after);
            return PluginError::ServerError {
                code: cause.reason.clone(),
                message: message.unwrap_or(&status.message).to_owned(),
                remedy: cause.message.clone(),
                status: code.as_u16(),
            };
        }
        let why = if status.message.is_empty() {
            String::from_utf8_lossy(body).trim().to_owned()
        } else {
            status.message
        };
        match code {
            StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => {
                PluginError::Unserved(why)
            }
            StatusCode::FORBIDDEN => PluginError::ServerError {
                code: "VSI1031".to_owned(),
                message: why,
                remedy: format!("have that granted: a rule for the group {GROUP}"),
                status: code.as_u16(),
            },
            code => self.odd(what, &format!("{why} ({})", code.as_u16())),
        }
    }
}
