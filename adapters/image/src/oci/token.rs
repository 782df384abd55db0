//! Authenticates at registries, with tokens from token servers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Response, StatusCode, header::WWW_AUTHENTICATE};
use serde::Deserialize;
use url::Url;
use vsiflow_engine::secret::Secret;
use vsiflow_steps::ports::{SourceError, SourceErrorKind};

use super::{
    body,
    challenge::{self, Challenge},
    reference::Reference,
};
use crate::access::ServerAccess;
use crate::error::{ShownError, error, invalid};
use crate::http::{Credentials, HttpSource, RequestHeaders};

/// The length limit of a token server's response in bytes, and how many tokens are stored.
const MAX_LEN: usize = 256 << 10;
const MAX: usize = 64;
/// How long before its end a token is no longer used, and how long it is used at most.
const MARGIN: Duration = Duration::from_secs(10);
const MAX_LIFE: Duration = Duration::from_secs(600);

/// Docker's registry gets its tokens from another server.
const KNOWN: (&str, &str) = ("registry-1.docker.io", "auth.docker.io");

/// How to authenticate at a registry for one repository.
#[derive(Clone, Debug)]
enum Pass {
    Token {
        token: Secret,
        /// Whether it was issued for credentials.
        own: bool,
        until: Instant,
    },
    Password,
}

/// The authentications that succeeded so far.
#[derive(Debug, Default)]
pub(super) struct Passes(Mutex<HashMap<String, Pass>>);

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

fn key(reference: &Reference) -> String {
    format!("{}{}", reference.registry, reference.repository)
}

impl Passes {
    fn get(&self, reference: &Reference) -> Option<Pass> {
        let passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pass = passes.get(&key(reference)).cloned()?;
        match &pass {
            Pass::Token { until, .. } if *until <= Instant::now() => None,
            _ => Some(pass),
        }
    }

    fn put(&self, reference: &Reference, pass: Pass) {
        let mut passes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if passes.len() >= MAX {
            passes.clear();
        }
        passes.insert(key(reference), pass);
    }
}

/// Sends requests to a registry and authenticates if it requires that.
pub(super) struct RegistryCall<'a> {
    pub(super) http: &'a HttpSource,
    pub(super) passes: &'a Passes,
    /// A further server that may receive the registry's credentials for a token.
    pub(super) token_server: Option<&'a str>,
    pub(super) reference: &'a Reference,
    pub(super) shown: &'a ShownError,
}

impl RegistryCall<'_> {
    /// The registry's response, after authentication if that is required.
    pub(super) async fn get(
        &self,
        url: &Url,
        accept: Option<&str>,
        from: Option<u64>,
    ) -> Result<Response, SourceError> {
        let mut renewed = false;
        loop {
            let (pass, access) = (self.passes.get(self.reference), self.access());
            let credentials = match (&pass, access) {
                (
                    Some(Pass::Token {
                        token, own: true, ..
                    }),
                    _,
                ) => Credentials::Bearer(token),
                (Some(Pass::Token { token, .. }), _) => Credentials::Anonymous(token),
                (Some(Pass::Password), Some(access)) => Credentials::Access(access),
                (None, Some(access)) if !access.is_password() => Credentials::Access(access),
                _ => Credentials::None,
            };
            let rest = from.map(|from| (from, None));
            let ask = RequestHeaders {
                credentials,
                accept,
                rest,
            };
            let response = self.http.request(self.shown, url.clone(), ask).await?;
            // The target of a redirect does not receive credentials.
            let is_same_server = same_server(response.url(), url);
            if response.status() != StatusCode::UNAUTHORIZED || !is_same_server || renewed {
                return Ok(response);
            }
            renewed = true;
            let new_pass = self.pass(&response).await?;
            self.passes.put(self.reference, new_pass);
        }
    }

    fn access(&self) -> Option<&ServerAccess> {
        self.http.access_to(&self.reference.registry)
    }

    async fn pass(&self, response: &Response) -> Result<Pass, SourceError> {
        let headers = (response.headers().get_all(WWW_AUTHENTICATE).iter())
            .filter_map(|header| header.to_str().ok());
        match challenge::read(headers) {
            Some(Challenge::Bearer { realm, service }) => self.token(&realm, service).await,
            Some(Challenge::Basic) if self.access().is_some_and(ServerAccess::is_password) => {
                Ok(Pass::Password)
            }
            _ => {
                let message = "the registry asks for a login; give IMAGE_SERVER with IMAGE_USER and \
                               IMAGE_PASSWORD, or a pull secret, in the host's settings";
                Err(error(SourceErrorKind::Forbidden, self.shown, message))
            }
        }
    }

    /// Requests a token from the server that the registry names. That server receives the registry's
    /// credentials only if it is the registry itself or is permitted.
    async fn token(&self, realm: &str, service: Option<String>) -> Result<Pass, SourceError> {
        let mut url = Url::parse(realm)
            .ok()
            .filter(|url| ["https", "http"].contains(&url.scheme()))
            .ok_or_else(|| invalid(self.shown, "the registry names no server for tokens"))?;
        let registry = &self.reference.registry;
        if registry.scheme() == "https" && url.scheme() != "https" && !self.http.insecure() {
            let message = "the registry's server for tokens is without TLS";
            return Err(error(SourceErrorKind::Refused, self.shown, message));
        }
        let permitted = self.may_see(&url);
        let access = self
            .access()
            .filter(|access| access.is_password() && permitted);
        self.minimal_scope(&mut url, service.as_deref());
        let server = url.host_str().unwrap_or_default().to_owned();
        let ask = RequestHeaders {
            credentials: access.map_or(Credentials::None, Credentials::Access),
            accept: None,
            rest: None,
        };
        let mut response = self.http.request(self.shown, url, ask).await?;
        let status = response.status();
        if status != StatusCode::OK {
            let kind = crate::http::answer::kind_of(status);
            let hint = match self.access() {
                Some(answer) if answer.is_password() && !permitted => format!(
                    "; it gets no password of the registry's: IMAGE_TOKEN_SERVER: {server} permits it"
                ),
                _ => String::new(),
            };
            let message = format!("the token server {server} answered {status}{hint}");
            return Err(error(kind, self.shown, message));
        }
        let bytes = body(self.http, self.shown, &mut response, MAX_LEN).await?;
        let answer: TokenAnswer = serde_json::from_slice(&bytes).map_err(|_| {
            invalid(
                self.shown,
                format!("the token server {server} gave no token"),
            )
        })?;
        let text = [answer.token, answer.access_token]
            .into_iter()
            .find(|text| !text.is_empty())
            // The token is sent in a header.
            .filter(|text| text.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| {
                invalid(
                    self.shown,
                    format!("the token server {server} gave no token"),
                )
            })?;
        let life = Duration::from_secs(answer.expires_in.unwrap_or(60)).min(MAX_LIFE);
        let now = Instant::now();
        Ok(Pass::Token {
            token: Secret::new(text),
            own: access.is_some(),
            until: now.checked_add(life.saturating_sub(MARGIN)).unwrap_or(now),
        })
    }

    /// Requests only the right to pull, whatever scope the registry proposes.
    fn minimal_scope(&self, url: &mut Url, service: Option<&str>) {
        let scope = format!("repository:{}:pull", self.reference.repository);
        let mut query = url.query_pairs_mut();
        if let Some(service) = service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", &scope);
    }

    /// Whether a token server may receive the registry's credentials.
    fn may_see(&self, url: &Url) -> bool {
        let registry = &self.reference.registry;
        let named = |server: &str| {
            let server_url = Url::parse(&format!("{}://{server}/", url.scheme()));
            server_url.is_ok_and(|server_url| same_server(&server_url, url))
        };
        let (docker, of_docker) = KNOWN;
        let is_known = registry.host_str() == Some(docker) && named(of_docker);
        same_server(registry, url) || is_known || self.token_server.is_some_and(named)
    }
}

fn same_server(a: &Url, b: &Url) -> bool {
    (a.host(), a.port_or_known_default()) == (b.host(), b.port_or_known_default())
}
