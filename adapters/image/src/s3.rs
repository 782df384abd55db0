//! Images in object storage: `s3://bucket/key`.
//!
//! Each request is presigned separately (Signature Version 4 in the query). So it is an ordinary HTTP
//! request, and reading, resuming and checking addresses work as in [`HttpSource`].

use std::time::Duration;

use async_trait::async_trait;
use jiff::{Timestamp, fmt::rfc2822};
use reqwest::{Response, StatusCode, header::DATE};
use rusty_s3::{Bucket, Credentials, S3Action as _, UrlStyle, actions::GetObject};
use url::Url;
use vsiflow_engine::secret::Secret;
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo};

use crate::error::{ShownError, error, invalid, parse};
use crate::http::{
    Credentials as Shows, HttpSource, RequestHeaders,
    answer::{kind_of, of_rest},
    decode, within,
};

/// How long a signature is valid.
const VALID: Duration = Duration::from_secs(15 * 60);
/// From which clock difference in seconds an error mentions it. Services refuse signatures only at larger
/// differences.
const OFF: i64 = 5 * 60;
/// How many bytes of an error response are searched for its code.
const LOOKED_AT: usize = 16 << 10;

/// The address of object storage, and the key for it.
#[derive(Clone, Debug, Default)]
pub struct S3Options {
    /// The URL of the service; if absent, that of AWS in the region.
    pub endpoint: Option<String>,
    /// The region; if absent, `us-east-1`.
    pub region: Option<String>,
    /// The access key: its name and its secret. Requests without a key are not signed.
    pub key: Option<(String, Secret)>,
}

/// Reads `s3:` URLs.
#[derive(Clone)]
pub struct S3Source {
    http: HttpSource,
    options: S3Options,
}

/// The object that a URL names.
struct Object {
    bucket: String,
    key: String,
    shown: ShownError,
}

impl S3Source {
    /// Creates a source that sends requests through `http`.
    pub fn new(http: HttpSource, options: S3Options) -> Self {
        Self { http, options }
    }

    /// The URL of an object, signed at this time.
    fn signed(&self, object: &Object, at: Timestamp) -> Result<Url, SourceError> {
        let shown_url = &object.shown;
        let region = self.options.region.as_deref().unwrap_or("us-east-1");
        let amazon = format!("https://s3.{region}.amazonaws.com");
        let endpoint = self.options.endpoint.as_deref().unwrap_or(&amazon);
        let endpoint = Url::parse(endpoint)
            .map_err(|_| invalid(shown_url, "IMAGE_S3_ENDPOINT is not a URL"))?;
        let key = self.options.key.as_ref();
        if key.is_some() && endpoint.scheme() != "https" && !self.http.insecure() {
            return Err(error(SourceErrorKind::Refused, shown_url, PLAIN_HTTP));
        }
        // The service's wildcard certificate covers one label only, so a bucket with a dot goes into the
        // path.
        let by_host = self.options.endpoint.is_none() && !object.bucket.contains('.');
        let style = if by_host {
            UrlStyle::VirtualHost
        } else {
            UrlStyle::Path
        };
        let bucket = Bucket::new(endpoint, style, object.bucket.clone(), region.to_owned())
            .map_err(|_| invalid(shown_url, "bucket and endpoint make no address"))?;
        let credentials = key
            .and_then(|(name, secret)| Some(Credentials::new(name.as_str(), secret.expose_str()?)));
        Ok(GetObject::new(&bucket, credentials.as_ref(), &object.key).sign_with_time(VALID, &at))
    }

    async fn ask(
        &self,
        object: &Object,
        rest: Option<(u64, Option<&str>)>,
    ) -> Result<Response, SourceError> {
        let ask = RequestHeaders {
            credentials: Shows::None,
            accept: None,
            rest,
        };
        let url = self.signed(object, Timestamp::now())?;
        let response = self.http.request(&object.shown, url, ask).await?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                Ok(response)
            }
            _ => Err(self.refusal(&object.shown, response).await),
        }
    }

    /// Turns an error response into an error, with a hint if this machine's clock is wrong.
    async fn refusal(&self, shown: &ShownError, mut response: Response) -> SourceError {
        let status = response.status();
        let date = response
            .headers()
            .get(DATE)
            .and_then(|date| date.to_str().ok());
        let off = date.and_then(|date| ahead(date, Timestamp::now()));
        let mut body = Vec::new();
        while body.len() < LOOKED_AT
            && let Ok(Some(piece)) =
                within(self.http.idle_deadline(), shown, response.chunk()).await
        {
            body.extend_from_slice(&piece);
        }
        let code = code(&body)
            .map(|code| format!(" ({code})"))
            .unwrap_or_default();
        let clock = match off {
            Some(off) if self.options.key.is_some() && off.abs() > OFF => {
                let side = if off > 0 { "ahead of" } else { "behind" };
                let minutes = off.abs() / 60;
                format!(
                    "; this machine's clock is {minutes} minutes {side} the service's, which \
                     refuses signatures of another time: set the clock, for example with chrony"
                )
            }
            _ => String::new(),
        };
        let kind = match status.as_u16() {
            // Some services answer a refused signature with 400.
            400 if !clock.is_empty() => SourceErrorKind::Forbidden,
            _ => kind_of(status),
        };
        error(
            kind,
            shown,
            format!("object storage answered {status}{code}{clock}"),
        )
    }

    async fn whole(&self, object: &Object) -> Result<Box<dyn ImageStream>, SourceError> {
        let response = self.ask(object, None).await?;
        let stream = self.http.whole(response, object.shown.clone()).await?;
        Ok(Box::new(stream))
    }
}

const PLAIN_HTTP: &str = "a signed request would go over plain HTTP, for anybody on the way to \
     repeat; give an endpoint with https:, or set IMAGE_ALLOW_INSECURE: \"true\" with it";

/// By how many seconds `now` is ahead of a server's date.
fn ahead(date: &str, now: Timestamp) -> Option<i64> {
    let date = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    now.as_second().checked_sub(date.as_second())
}

/// The error code in a response's XML, if it is a word.
fn code(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (_, rest) = text.split_once("<Code>")?;
    let (code, _) = rest.split_once("</Code>")?;
    let word = code.len() <= 64 && code.bytes().all(|b| b.is_ascii_alphanumeric());
    (word && !code.is_empty()).then(|| code.to_owned())
}

fn object(url: &str) -> Result<Object, SourceError> {
    let url = parse(url)?;
    let shown_url = ShownError::from(&url);
    let form = || {
        invalid(
            &shown_url,
            "write s3://bucket/key; the key that signs is in the host's settings",
        )
    };
    let bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    let bucket = url
        .host_str()
        .filter(|name| bare && url.port().is_none() && (3..=63).contains(&name.len()))
        .filter(|name| name.bytes().all(plain))
        .ok_or_else(form)?
        .to_owned();
    let key = decode(url.path().trim_start_matches('/'));
    // A URL would turn such parts into another key.
    let odd = |part: &str| matches!(part, "" | "." | "..");
    if key.len() > 1_024 || key.split('/').any(odd) {
        return Err(form());
    }
    Ok(Object {
        bucket,
        key,
        shown: shown_url,
    })
}

#[async_trait]
impl ImageSource for S3Source {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        Ok(self.open(url).await?.info().clone())
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        self.whole(&object(url)?).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let object = object(url)?;
        let condition = self.http.condition(validator);
        let Some(condition) = condition.filter(|_| offset > 0) else {
            return self.whole(&object).await;
        };
        let response = self.ask(&object, Some((offset, condition))).await?;
        match self
            .http
            .rest(response, object.shown.clone(), offset)
            .await?
        {
            Some(stream) => Ok(Box::new(stream)),
            None => self.whole(&object).await.map_err(of_rest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much() {
        let now: Timestamp = "2026-11-22T04:30:00Z".parse().unwrap();
        assert_eq!(ahead("Sun, 22 Nov 2026 04:10:00 GMT", now), Some(1_200));
        assert_eq!(ahead("Sun, 22 Nov 2026 05:30:00 GMT", now), Some(-3_600));
        assert_eq!(ahead("yesterday", now), None);
    }

    #[test]
    fn a_signature_is_the_one_that_other_clients_make() {
        let options = S3Options {
            endpoint: Some("https://s3.example.com:9000".to_owned()),
            region: Some("eu-1".to_owned()),
            key: Some(("KEYNAME".to_owned(), Secret::new("S3CRET"))),
        };
        let http = HttpSource::new(&crate::HttpOptions::default()).unwrap();
        let object = object("s3://images/a/b c+d.qcow2").unwrap();
        let at = "2026-11-22T04:30:00Z".parse().unwrap();
        let url = S3Source::new(http, options).signed(&object, at).unwrap();
        // As botocore 1.44 signs the same request.
        let signature = "df749d84d030c28b3dacf051d3d67eb65d2012d643153bda843cd53f5147ecac";
        let (before, found) = url.as_str().split_once("&X-Amz-Signature=").unwrap();
        assert_eq!(found, signature, "{url}");
        assert!(before.starts_with("https://s3.example.com:9000/images/a/b%20c%2Bd.qcow2?"));
    }

    #[test]
    fn a_code_is_a_word() {
        assert_eq!(
            code(b"<Error><Code>NoSuchKey</Code>"),
            Some("NoSuchKey".to_owned())
        );
        for none in [
            "",
            "<Code>",
            "<Code></Code>",
            "<Code>a b</Code>",
            "<Code>\x1b[1m</Code>",
        ] {
            assert_eq!(code(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn a_url_names_bucket_and_key_and_nothing_else() {
        let read = |url: &str| object(url).map(|object| (object.bucket, object.key));
        let of = |bucket: &str, key: &str| Ok((bucket.to_owned(), key.to_owned()));
        assert_eq!(
            read("s3://images/a/b c+d.qcow2"),
            of("images", "a/b c+d.qcow2")
        );
        for wrong in [
            "s3:///key",
            "s3://images/",
            "s3://images",
            "s3://images/a//b",
            "s3://images/a%2f..%2fb",
            "s3://me:secret@images/a",
            "s3://images/a?token=secret",
            "s3://im%20ages/a",
            "s3://images:80/a",
        ] {
            let error = read(wrong).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
