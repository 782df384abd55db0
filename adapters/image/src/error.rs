//! Source errors that show no credentials.

use std::{error::Error, io};

use url::Url;
use vsiflow_steps::ports::{SourceError, SourceErrorKind};

/// An error about `url`, shown without credentials.
pub(crate) fn error(
    kind: SourceErrorKind,
    url: impl Into<ShownError>,
    message: impl Into<String>,
) -> SourceError {
    SourceError {
        kind,
        url: url.into().0,
        message: message.into(),
    }
}

/// An error that persists until the URL or the image changes.
pub(crate) fn invalid(url: impl Into<ShownError>, message: impl Into<String>) -> SourceError {
    error(SourceErrorKind::Invalid, url, message)
}

/// A URL without user, password, query and fragment. The query of a presigned URL holds its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShownError(String);

impl ShownError {
    /// The URL as it is shown.
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl From<&Url> for ShownError {
    fn from(url: &Url) -> Self {
        let mut without_secrets = url.clone();
        // These fail only for URLs that cannot hold credentials.
        let _ = without_secrets.set_username("");
        let _ = without_secrets.set_password(None);
        let signed = without_secrets.query().is_some();
        without_secrets.set_query(None);
        without_secrets.set_fragment(None);
        Self(if signed {
            format!("{without_secrets}?…")
        } else {
            without_secrets.to_string()
        })
    }
}

impl From<&ShownError> for ShownError {
    fn from(shown: &Self) -> Self {
        shown.clone()
    }
}

/// A URL as text, without credentials.
pub(crate) fn shown(url: &str) -> String {
    parse(url).map_or_else(|error| error.url, |url| ShownError::from(&url).0)
}

/// Parses a URL.
///
/// # Errors
/// `Invalid`, without repeating the text: a password may be anywhere in it.
pub(crate) fn parse(url: &str) -> Result<Url, SourceError> {
    Url::parse(url).map_err(|cause| {
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        let plain = |part: &&str| part.chars().all(|c| c.is_ascii_alphanumeric());
        let scheme_only = format!("{}:…", scheme.filter(plain).unwrap_or_default());
        invalid(
            ShownError(scheme_only),
            format!("this is not a URL: {cause}"),
        )
    })
}

/// An error and its causes, also those that an [`io::Error`] holds.
pub(crate) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        // Its `source` is the cause of what it holds.
        let held = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match held {
            Some(held) => Some(held),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let url = parse("https://me:secret@a.example/b.qcow2?X-Signature=secret#secret").unwrap();
        assert_eq!(ShownError::from(&url).0, "https://a.example/b.qcow2?…");
        for text in ["https://me:secret@:1/x", "secret", "se cret:x", ""] {
            let error = parse(text).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
