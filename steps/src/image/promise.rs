//! The SHA-256 that a source announces for its image, and the failures after which nothing of an upload is kept.

use vsiflow_engine::model::Failure;

use crate::{error, ports::SourceInfo};

/// The SHA-256 that the image must have, if the source's validator is one.
pub(super) fn promised(info: &SourceInfo) -> Option<String> {
    let digits = info.validator.as_deref()?.strip_prefix("sha256:")?;
    let hex = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    hex.then(|| digits.to_owned())
}

/// Whether the uploaded part cannot be used and has to be deleted.
pub(super) fn is_worthless(failure: &Failure) -> bool {
    let code = failure.code.as_str();
    [
        error::SOURCE_TOO_LARGE.code,
        error::SOURCE_MISMATCH.code,
        error::SOURCE_APPLIANCE.code,
    ]
    .contains(&code)
}
