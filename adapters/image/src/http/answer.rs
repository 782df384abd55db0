//! Checks the status and headers of an image's response, before the body is read.

use reqwest::header::{
    CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, LAST_MODIFIED,
    LOCATION,
};
use reqwest::{Response, StatusCode};
use url::Url;
use vsiflow_steps::ports::{SourceError, SourceErrorKind, SourceInfo};

use crate::error::{ShownError, error};
use crate::packing::Packing;

/// Checks a response that must hold the whole image. How it is encoded, its [`Coding`] says.
pub(super) fn examine(response: &Response, shown: &ShownError) -> Result<SourceInfo, SourceError> {
    let (status, headers) = (response.status(), response.headers());
    if status != StatusCode::OK {
        return Err(refusal(status, headers, shown));
    }
    refuse_page(headers, shown)?;
    let length = response.content_length();
    if length == Some(0) {
        return Err(error(SourceErrorKind::Empty, shown, EMPTY));
    }
    Ok(SourceInfo {
        length,
        validator: validator(headers, length),
    })
}

fn refuse_page(headers: &HeaderMap, shown: &ShownError) -> Result<(), SourceError> {
    let is_page = text(headers, &CONTENT_TYPE)
        .and_then(|kind| kind.trim_start().get(..PAGE.len()))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(PAGE));
    if is_page {
        let message = "this is a web page, not an image; is a login needed?";
        return Err(error(SourceErrorKind::Page, shown, message));
    }
    Ok(())
}

const PAGE: &str = "text/html";

/// The error for a status other than 200, to a request for a whole image.
fn refusal(status: StatusCode, headers: &HeaderMap, shown: &ShownError) -> SourceError {
    let (kind, why) = match status {
        StatusCode::PARTIAL_CONTENT => (
            SourceErrorKind::Encoded,
            ", a part of the file, to a request for the whole",
        ),
        StatusCode::NO_CONTENT => (SourceErrorKind::Empty, ": it has no content there"),
        StatusCode::MULTIPLE_CHOICES => (
            SourceErrorKind::Redirected,
            ": it has several files there, and leaves the choice to the reader",
        ),
        _ if status.is_redirection() && status != StatusCode::NOT_MODIFIED => (
            SourceErrorKind::Redirected,
            match headers.get(LOCATION) {
                Some(_) => ", with a Location that is no address",
                None => ", without the Location where the image is",
            },
        ),
        _ => (kind_of(status), ""),
    };
    error(kind, shown, format!("the server answered {status}{why}"))
}

/// The error of a page that came instead of the rest of an image: the server gave the image before, so it may give
/// it again.
pub(crate) fn of_rest(cause: SourceError) -> SourceError {
    if cause.kind != SourceErrorKind::Page {
        return cause;
    }
    SourceError {
        kind: SourceErrorKind::Transient,
        message: "a web page came instead of the rest of the image; is a login needed by now?"
            .to_owned(),
        ..cause
    }
}

/// Checks a response that should hold the rest of the image. Returns the offset of its first byte, too, which may
/// be an earlier one than the requested: some caches send whole blocks. `None` for a part that is not of use, so that
/// the image has to be read from its start: one that does not hold the requested byte, does not say where it begins,
/// or is encoded. Only of a file that is named as packed so it is a part: a damaged one does not unpack.
pub(super) fn examine_rest(
    response: &Response,
    shown: &ShownError,
    offset: u64,
) -> Result<Option<(SourceInfo, u64)>, SourceError> {
    let headers = response.headers();
    refuse_page(headers, shown).map_err(of_rest)?;
    let range = text(headers, &CONTENT_RANGE).unwrap_or_default();
    let Some((first, length)) = range_of(range) else {
        return Ok(None);
    };
    let has_offset = (first..=last_of(range).unwrap_or(u64::MAX)).contains(&offset);
    let is_other = Coding::of(headers).is_some_and(|coding| !coding.is_of_file(response.url()));
    if !has_offset || is_other {
        return Ok(None);
    }
    let info = SourceInfo {
        length,
        validator: validator(headers, length),
    };
    Ok(Some((info, first)))
}

/// How a server says that a response is encoded. A file that is packed itself is often announced so, and what a
/// server packs unasked can be unpacked as well: both are unpacked by their first bytes.
pub(super) struct Coding {
    names: Vec<String>,
}

impl Coding {
    /// How many first bytes [`Coding::check`] needs.
    pub(super) const HEAD: usize = 6;
    /// What servers write that encode nothing. Object storage keeps the last one from how a file was uploaded.
    const NONE: [&str; 3] = ["", "identity", "aws-chunked"];

    /// The coding that a response announces, if there is any.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let values = headers.get_all(CONTENT_ENCODING).iter();
        let names = values.flat_map(|value| {
            let lower = String::from_utf8_lossy(value.as_bytes()).to_lowercase();
            let names = lower.split(',').map(|name| name.trim().to_owned());
            names.collect::<Vec<_>>()
        });
        let names: Vec<_> = names
            .filter(|name| !Self::NONE.contains(&name.as_str()))
            .collect();
        (!names.is_empty()).then_some(Self { names })
    }

    fn packing(&self) -> Option<Packing> {
        match self.names.as_slice() {
            [name] => packing_named(name),
            _ => None,
        }
    }

    /// Whether the file at a URL has the name of one that is packed so itself.
    fn is_of_file(&self, url: &Url) -> bool {
        self.packing().is_some() && self.packing() == Packing::named(url)
    }

    /// The validator of what is sent. What a server packs has other bytes than the file, of which some servers do not
    /// tell it apart; a file that is packed itself is always the same.
    pub(super) fn of_sent(&self, file: String, url: &Url) -> String {
        if self.is_of_file(url) {
            return file;
        }
        format!("{file}{SENT_AS}{}", self.names.join(", "))
    }

    /// Checks the first bytes of the response: they are to be of a packing that has the name of the coding.
    ///
    /// # Errors
    /// If they are not, so that the image is encoded in a way that is not undone.
    pub(super) fn check(&self, head: &[u8], shown: &ShownError) -> Result<(), SourceError> {
        let packing = self.packing();
        // What is empty is refused at its end.
        if head.is_empty() || packing.is_some() && packing == Packing::by_head(head) {
            return Ok(());
        }
        let names = self.names.join(", ");
        let message = format!("the server sends the image encoded ({names}), unasked");
        Err(error(SourceErrorKind::Encoded, shown, message))
    }
}

/// The packing that HTTP calls so when it is a coding.
fn packing_named(coding: &str) -> Option<Packing> {
    match coding {
        "gzip" | "x-gzip" => Some(Packing::Gzip),
        "xz" | "x-xz" => Some(Packing::Xz),
        "zstd" => Some(Packing::Zstd),
        _ => None,
    }
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
const SENT_AS: &str = " sent as ";

/// The part of a validator that `If-Range` sends.
pub(super) fn condition(validator: &str) -> Option<&str> {
    let of_file = validator.split(SENT_AS).next()?;
    let by_time = || Some(of_file.strip_prefix(BY_TIME)?.split_once(AND_LENGTH)?.0);
    of_file.strip_prefix(BY_TAG).or_else(by_time)
}
