//! Access to a collector: headers with credentials, and additional certificate authorities.
//!
//! Both have the form of OpenTelemetry's exporters (opentelemetry.io/docs/specs/otel/protocol/exporter):
//! headers are comma-separated `name=value` pairs, whose values may be percent-encoded. They come from
//! the environment or a file, never from arguments, and are never printed.

use reqwest::{
    Certificate,
    header::{HeaderMap, HeaderName, HeaderValue},
};

/// The maximum length of the headers' text, in bytes.
const MAX_LEN: usize = 64 * 1024;
/// Headers that the exporter sets itself.
const OWN: [&str; 4] = [
    "content-type",
    "content-length",
    "host",
    "transfer-encoding",
];

/// Error: headers or certificates cannot be used. The message contains nothing of their content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The header with this number is malformed.
    #[error("header {0} is not a NAME=VALUE that HTTP permits")]
    Header(usize),
    /// The header with this number is one that the exporter sets itself.
    #[error("header {0} is set by vsiflow")]
    Own(usize),
    /// The headers are too long.
    #[error("the headers are longer than 64 KiB")]
    Long,
    /// There is no valid certificate.
    #[error("the certificates are not PEM")]
    Certificate,
}

/// The headers of each request, and the trusted authorities. Never printed.
#[derive(Clone, Default)]
pub struct CollectorAccess {
    pub(crate) headers: HeaderMap,
    pub(crate) authorities: Vec<Certificate>,
}

impl std::fmt::Debug for CollectorAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CollectorAccess(<secret>)")
    }
}

impl CollectorAccess {
    /// Adds headers: pairs separated by commas or lines.
    ///
    /// # Errors
    /// If a pair is invalid, with its number counted from 1.
    pub fn with_headers(mut self, text: &str) -> Result<Self, AccessError> {
        if text.len() > MAX_LEN {
            return Err(AccessError::Long);
        }
        let pairs = text.split([',', '\n']).map(str::trim);
        for (pair, number) in pairs.filter(|pair| !pair.is_empty()).zip(1_usize..) {
            let (name, value) = header(pair).ok_or(AccessError::Header(number))?;
            if OWN.contains(&name.as_str()) {
                return Err(AccessError::Own(number));
            }
            self.headers.insert(name, value);
        }
        Ok(self)
    }

    /// Trusts these certificates (PEM) in addition.
    ///
    /// # Errors
    /// If there is no valid one.
    pub fn with_authorities(mut self, pem: &[u8]) -> Result<Self, AccessError> {
        let all = Certificate::from_pem_bundle(pem).map_err(|_| AccessError::Certificate)?;
        if all.is_empty() {
            return Err(AccessError::Certificate);
        }
        self.authorities.extend(all);
        Ok(self)
    }
}

fn header(pair: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = pair.split_once('=')?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    let mut value = HeaderValue::from_bytes(&decoded(value.trim())?).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

/// Decodes percent-encoding; none if it is invalid.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut all = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        all.push(match byte {
            b'%' => hex(bytes.next()?)?.checked_mul(16)? | hex(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(all)
}

fn hex(digit: u8) -> Option<u8> {
    let digit = char::from(digit).to_digit(16)?;
    u8::try_from(digit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(text: &str) -> Result<HeaderMap, AccessError> {
        CollectorAccess::default()
            .with_headers(text)
            .map(|access| access.headers)
    }

    #[test]
    fn headers_are_pairs_and_their_values_may_be_percent_encoded() {
        let all = headers("api-key=a%2Cb, Authorization=Basic%20dXNlcjpwYXNz==\n\nx=\n").unwrap();
        assert_eq!(all["api-key"], "a,b");
        assert_eq!(all["authorization"], "Basic dXNlcjpwYXNz==");
        assert_eq!(all["x"], "");
        assert_eq!(headers("").unwrap().len(), 0);
    }

    #[test]
    fn what_is_no_header_is_named_by_its_number_alone() {
        for (text, number) in [
            ("a=b,secret", 2),
            ("a b=c", 1),
            ("a=%zz", 1),
            ("a=%0d%0ab", 1),
            ("a=%f", 1),
        ] {
            assert_eq!(headers(text), Err(AccessError::Header(number)), "{text}");
        }
        assert_eq!(headers("a=b,Content-Length=1"), Err(AccessError::Own(2)));
        assert_eq!(headers(&"a=b,".repeat(20_000)), Err(AccessError::Long));
    }

    #[test]
    fn nothing_of_them_is_printed() {
        let access = CollectorAccess::default()
            .with_headers("api-key=hush")
            .unwrap();
        assert!(!format!("{access:?}").contains("hush"));
        let none = CollectorAccess::default().with_authorities(b"no certificate");
        assert_eq!(none.err(), Some(AccessError::Certificate));
    }
}
