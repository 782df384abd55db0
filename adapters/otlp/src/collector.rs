//! Client of an OTLP collector over HTTP: `POST /v1/traces` with protobuf.
//!
//! Source: opentelemetry.io/docs/specs/otlp, "OTLP/HTTP".

use std::{fmt, str::FromStr, time::Duration};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message as _;
use reqwest::{Client, StatusCode, Url, header, redirect::Policy};

use crate::{access::CollectorAccess, encode, spans::Span};

/// Timeout of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum length of an answer that is read, in bytes.
const MAX_ANSWER_LEN: usize = 64 * 1024;
/// The maximum delay that a collector may request.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// How many characters of a collector's answer are reported.
const MAX_ANSWER_CHARS: usize = 200;

/// The address of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorAddress(Url);

impl FromStr for CollectorAddress {
    type Err = String;

    /// Parses `http://HOST:PORT`, with or without a path. As in OTLP, an address without a path means
    /// `/v1/traces`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut url = Url::parse(text).map_err(|error| error.to_string())?;
        if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
            return Err("name a collector as http://HOST:4318 or https://HOST:4318".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address must have no password: processes of others see it".to_owned());
        }
        if url.path() == "/" {
            url.set_path("/v1/traces");
        }
        Ok(Self(url))
    }
}

impl fmt::Display for CollectorAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Error: spans were not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtlpError {
    /// The collector is unavailable or busy; it may be tried again, after the delay that it requested.
    #[error("the collector at {endpoint} does not take spans now: {why}")]
    Later {
        /// The collector's address.
        endpoint: String,
        /// Its answer, or the error of the connection.
        why: String,
        /// The delay that it requested.
        after: Option<Duration>,
    },
    /// The collector will never accept these spans.
    #[error("the collector at {endpoint} refuses spans: {why}")]
    Refused {
        /// The collector's address.
        endpoint: String,
        /// Its answer.
        why: String,
    },
}

/// A collector that spans are sent to.
#[derive(Clone, Debug)]
pub struct Collector {
    client: Client,
    endpoint: CollectorAddress,
    instance: String,
}

impl Collector {
    /// A client of the collector at `endpoint`. `instance` names the journal that the spans are from.
    /// Redirects are not followed, so that no other server receives the headers.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(
        endpoint: CollectorAddress,
        instance: &str,
        access: CollectorAccess,
    ) -> Result<Self, OtlpError> {
        let client = Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .redirect(Policy::none())
            .default_headers(access.headers)
            .tls_certs_merge(access.authorities)
            .build();
        let client = client.map_err(|error| OtlpError::Refused {
            endpoint: endpoint.to_string(),
            why: error.to_string(),
        })?;
        Ok(Self {
            client,
            endpoint,
            instance: instance.to_owned(),
        })
    }

    /// The collector's address.
    pub fn endpoint(&self) -> &CollectorAddress {
        &self.endpoint
    }

    /// Sends spans, and returns how many of them the collector rejected. If this is dropped, it is
    /// unknown whether they were accepted.
    ///
    /// # Errors
    /// If it accepts none of them.
    pub async fn send(&self, spans: &[Span]) -> Result<u64, OtlpError> {
        let body = encode::request(spans, &self.instance);
        let request = self
            .client
            .post(self.endpoint.0.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        let answer = request.send().await;
        let answer = answer.map_err(|error| self.later(&chain(&error), None))?;
        let (status, after) = (answer.status(), after(&answer));
        let bytes = read(answer).await;
        if status.is_success() {
            // An empty answer means that all were accepted.
            let response = ExportTraceServiceResponse::decode(bytes.as_slice()).unwrap_or_default();
            let rejected = response
                .partial_success
                .map_or(0, |part| part.rejected_spans);
            return Ok(u64::try_from(rejected).unwrap_or(0));
        }
        let words: String = String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|c| !c.is_control())
            .take(MAX_ANSWER_CHARS)
            .collect();
        let why = format!("{status} {words}").trim_end().to_owned();
        Err(if may_be_repeated(status) {
            self.later(&why, after)
        } else {
            OtlpError::Refused {
                endpoint: self.endpoint.to_string(),
                why,
            }
        })
    }

    fn later(&self, why: &str, after: Option<Duration>) -> OtlpError {
        OtlpError::Later {
            endpoint: self.endpoint.to_string(),
            why: why.to_owned(),
            after,
        }
    }
}

/// The status codes that OTLP permits to retry; all others are final.
fn may_be_repeated(status: StatusCode) -> bool {
    [429, 502, 503, 504].contains(&status.as_u16())
}

fn after(answer: &reqwest::Response) -> Option<Duration> {
    let value = answer.headers().get(header::RETRY_AFTER)?;
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_WAIT))
}

/// The beginning of an answer. Missing data is not waited for beyond the request's timeout.
async fn read(mut answer: reqwest::Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        let room = MAX_ANSWER_LEN.saturating_sub(body.len());
        body.extend(piece.iter().take(room));
        if body.len() >= MAX_ANSWER_LEN {
            break;
        }
    }
    body
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
#[path = "collector_tests.rs"]
mod tests;
