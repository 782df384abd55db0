//! Forwarding: in a set of journals, a change to one object is answered by the process that has the
//! object's journal.
//!
//! The caller's rights are checked here, then the request is forwarded unchanged with the caller. What
//! concerns several journals, or names that a journal must claim first, is not forwarded: it is refused,
//! and the command line does it.

use axum::{
    body::Body,
    extract::{RawPathParams, Request},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{
    Method, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use vsiflow_engine::model::Actor;
use vsiflow_workflows::fleet::Fleets;

use crate::{
    Caller, JournalSet, Problem, Rights, ServiceRequest,
    api::Api,
    body,
    commands::base64_bytes,
    routes::RequestLimits,
    service::{IsRepeated, journal_of},
};

/// The maximum length of an answer's body, in bytes: plans of a thousand documents.
const MAX_ANSWER_LEN: u64 = 32 * 1024 * 1024;

/// A request for another process to answer.
#[derive(Clone, Serialize, Deserialize)]
pub struct ForwardedRequest {
    method: String,
    /// Path and query.
    target: String,
    content_type: Option<String>,
    #[serde(with = "base64_bytes")]
    body: Vec<u8>,
    /// The caller.
    pub actor: Actor,
    rights: Rights,
    /// Whether it may be carried out again if it is not known whether it was.
    #[serde(default)]
    pub is_repeatable: bool,
    /// Whether a process that died had begun to carry it out.
    #[serde(skip)]
    pub is_repeated: bool,
}

/// The answer of another process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ForwardedAnswer {
    status: u16,
    content_type: Option<String>,
    #[serde(with = "base64_bytes")]
    body: Vec<u8>,
}

/// Middleware: forwards a request to the process that has the journal of its object.
pub(crate) async fn by_its_journal(
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let api = request.extensions().get::<Api>().cloned();
    let Some((api, set)) = api.and_then(|api| Some((api.clone(), api.set()?.clone()))) else {
        return Ok(next.run(request).await);
    };
    let fleets = api.fleets().await?;
    let path = request.uri().path();
    let Some(journal) = journal(set.as_ref(), &fleets, path, &params).await? else {
        return Ok(next.run(request).await);
    };
    let forwarded = ForwardedRequest::of(request).await?;
    Ok(set.answer(journal, forwarded).await?.response())
}

/// The journal of a request's object; none if the request is not for exactly one journal.
async fn journal(
    set: &dyn JournalSet,
    fleets: &Fleets,
    path: &str,
    params: &RawPathParams,
) -> Result<Option<u16>, Problem> {
    let param = |key: &str| {
        let mut all = params.iter();
        all.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    // The segments after `/v1`.
    let segments: Vec<_> = path.split('/').skip(2).collect();
    let object = match segments.as_slice() {
        ["hosts", _, ..] => {
            let host = param("host").unwrap_or_default();
            return Ok(Some(fleets.journal_of_host(host)?));
        }
        ["namespaces", _, "virtualservers", _, "snapshots"] => return Ok(None),
        // Their members are in any journal.
        [
            "namespaces",
            _,
            "virtualserverpools" | "virtualservergroups",
            _,
            "retry",
        ] => return Ok(None),
        [
            "namespaces",
            _,
            "virtualserverpools" | "virtualservergroups" | "virtualserverquotas",
            ..,
        ] => return Ok(Some(0)),
        ["namespaces", _, "virtualservers", ..] => "",
        ["namespaces", _, "datadisks", ..] => "disk/",
        ["namespaces", _, "virtualserversnapshots", ..] => "snapshot/",
        _ => return Ok(None),
    };
    let (namespace, name) = (param("namespace"), param("name"));
    let name = format!("{object}{}", name.unwrap_or_default());
    let namespace = namespace.unwrap_or_default();
    Ok(Some(journal_of(set, fleets, namespace, &name).await?))
}

impl ForwardedRequest {
    async fn of(request: Request) -> Result<Self, Problem> {
        let (head, body) = request.into_parts();
        let caller = head.extensions.get::<Caller>();
        let caller = caller.cloned().ok_or_else(Problem::view_only)?;
        let content_type = head.headers.get(CONTENT_TYPE);
        let content_type = content_type.and_then(|kind| kind.to_str().ok());
        Ok(Self {
            method: head.method.to_string(),
            target: head.uri.to_string(),
            content_type: content_type.map(str::to_owned),
            body: body::whole(body, RequestLimits::SHORT.longest())
                .await?
                .to_vec(),
            actor: caller.actor,
            rights: caller.rights,
            is_repeatable: false,
            is_repeated: false,
        })
    }

    /// A request of the service, in the name of this caller.
    pub(crate) fn asking<R: ServiceRequest>(request: &R, caller: &Caller) -> Result<Self, Problem> {
        Ok(Self {
            method: Method::POST.to_string(),
            target: R::OPERATION.path.to_owned(),
            content_type: Some("application/json".to_owned()),
            body: serde_json::to_vec(request).map_err(|error| Problem::defect(&error))?,
            actor: caller.actor.clone(),
            rights: caller.rights,
            is_repeatable: request.is_repeatable(),
            is_repeated: false,
        })
    }

    fn request(self) -> Result<Request, http::Error> {
        let mut request = http::Request::builder()
            .method(self.method.as_str())
            .uri(self.target.as_str());
        if let Some(kind) = self.content_type {
            request = request.header(CONTENT_TYPE, kind);
        }
        let caller = Caller {
            actor: self.actor,
            rights: self.rights,
        };
        if self.is_repeated {
            request = request.extension(IsRepeated);
        }
        request.extension(caller).body(Body::from(self.body))
    }
}

impl ForwardedAnswer {
    /// Whether the request was answered, and not refused.
    pub fn is_success(&self) -> bool {
        self.status == StatusCode::OK.as_u16()
    }

    /// The answer to a request of the service.
    pub(crate) fn answer_to<R: ServiceRequest>(self) -> Result<R::Answer, Problem> {
        let unreadable = |error| Problem::defect(&error);
        match StatusCode::from_u16(self.status) {
            Ok(StatusCode::OK) => serde_json::from_slice(&self.body).map_err(unreadable),
            _ => Err(serde_json::from_slice(&self.body).map_err(unreadable)?),
        }
    }

    fn response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let mut response = (status, self.body).into_response();
        let kind = self.content_type.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(kind)) = kind {
            response.headers_mut().insert(CONTENT_TYPE, kind);
        }
        response
    }
}

impl Api {
    /// Answers a forwarded request from another process of the set.
    pub async fn answer(&self, forwarded: ForwardedRequest) -> ForwardedAnswer {
        let response = match forwarded.request() {
            Ok(request) => {
                let service = TowerToHyperService::new(self.routes());
                service
                    .call(request)
                    .await
                    .unwrap_or_else(|never| match never {})
            }
            Err(error) => {
                Problem::wrong(StatusCode::BAD_REQUEST, error.to_string()).into_response()
            }
        };
        let (head, body) = response.into_parts();
        let content_type = head.headers.get(CONTENT_TYPE);
        let content_type = content_type.and_then(|kind| kind.to_str().ok());
        let (status, body) = match body::whole(body, MAX_ANSWER_LEN).await {
            Ok(body) => (head.status.as_u16(), body.to_vec()),
            Err(problem) => (
                problem.status,
                serde_json::to_vec(&problem).unwrap_or_default(),
            ),
        };
        ForwardedAnswer {
            status,
            content_type: content_type.map(str::to_owned),
            body,
        }
    }
}
