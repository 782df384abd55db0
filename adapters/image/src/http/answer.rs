//! Checks the status and headers of an image's response, before the body is read.

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED,
};
use reqwest::{Response, StatusCode};
use vsiflow_steps::ports::{SourceError, SourceErrorKind, SourceInfo};

use crate::error::{ShownError, error, invalid};

/// Checks a response that must hold the whole image.
pub(super) fn examine(response: &Response, shown: &ShownError) -> Result<SourceInfo, SourceError> {
    let status = response.status();
    if status != StatusCode::OK {
        return Err(error(
            kind_of(status),
            shown,
            format!("the server answered {status}"),
        ));
    }
    let headers = response.headers();
    if text(headers, &CONTENT_TYPE).is_some_and(|kind| kind.trim_start().starts_with("text/html")) {
        let message = "this is a web page, not an image; is a login needed?";
        return Err(error(SourceErrorKind::Page, shown, message));
    }
    let named = text(headers, &CONTENT_ENCODING).filter(|name| *name != "identity");
    // A file that is gzip itself is often announced so. It is unpacked by what it is.
    let of_file = |name: &&str| response.url().path().ends_with(".gz") && GZIP.contains(name);
    if let Some(coding) = named.filter(|name| !of_file(name)) {
        let message = format!("the server sends the image encoded ({coding}), unasked");
        return Err(error(SourceErrorKind::Encoded, shown, message));
    }
    let length = response.content_length();
    if length == Some(0) {
        return Err(error(SourceErrorKind::Empty, shown, EMPTY));
    }
    Ok(SourceInfo {
        length,
        validator: validator(headers, length),
    })
}

/// Checks a response that should hold the rest of the image. Returns the offset of its first byte, too, which may
/// be an earlier one than the requested: some caches send whole blocks.
pub(super) fn examine_rest(
    response: &Response,
    shown: &ShownError,
    offset: u64,
) -> Result<(SourceInfo, u64), SourceError> {
    let headers = response.headers();
    let range = text(headers, &CONTENT_RANGE).unwrap_or_default();
    let (first, length) = range_of(range).ok_or_else(|| {
        invalid(
            shown,
            format!("the server returns a part that it calls {range:?}"),
        )
    })?;
    if !(first..=last_of(range).unwrap_or(u64::MAX)).contains(&offset) {
        let message = format!("the server returns the part from byte {first} instead of {offset}");
        return Err(invalid(shown, message));
    }
    let info = SourceInfo {
        length,
        validator: validator(headers, length),
    };
    Ok((info, first))
}

/// The first byte and the total length from `bytes FIRST-LAST/LENGTH`.
pub(crate) fn range_of(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, length) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    let length = match length {
        "*" => None,
        length => Some(length.parse().ok()?),
    };
    Some((first.parse().ok()?, length))
}

/// The last byte from `bytes FIRST-LAST/LENGTH`.
fn last_of(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once('-')?;
    rest.split_once('/')?.0.parse().ok()
}

const GZIP: [&str; 2] = ["gzip", "x-gzip"];

pub(super) const EMPTY: &str = "the server sent an empty image";

pub(crate) fn kind_of(status: StatusCode) -> SourceErrorKind {
    match status.as_u16() {
        404 | 410 => SourceErrorKind::NotFound,
        401 | 403 | 407 => SourceErrorKind::Forbidden,
        408 | 425 | 429 | 500..=599 => SourceErrorKind::Transient,
        _ => SourceErrorKind::Invalid,
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A strong ETag, otherwise the modification time with the length. A weak ETag only says that two contents
/// are equivalent, not equal.
fn validator(headers: &HeaderMap, length: Option<u64>) -> Option<String> {
    let strong = text(headers, &ETAG).filter(|tag| !tag.starts_with("W/"));
    if let Some(tag) = strong {
        return Some(format!("{BY_TAG}{tag}"));
    }
    let modified = text(headers, &LAST_MODIFIED)?;
    Some(format!("{BY_TIME}{modified}{AND_LENGTH}{} bytes", length?))
}

const BY_TAG: &str = "etag ";
const BY_TIME: &str = "modified ";
const AND_LENGTH: &str = "; ";

/// The part of a validator that `If-Range` sends.
pub(super) fn condition(validator: &str) -> Option<&str> {
    let by_time = || Some(validator.strip_prefix(BY_TIME)?.split_once(AND_LENGTH)?.0);
    validator.strip_prefix(BY_TAG).or_else(by_time)
}
