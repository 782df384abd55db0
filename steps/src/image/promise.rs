//! Compares an uploaded image with the SHA-256 that its source announced.

use vsiflow_engine::model::Failure;

use super::{
    Params, claim,
    transfer::{Sent, Upload},
};
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

/// The validator of the image that the claim is for: the URL may lead to another image by now.
pub(super) fn claimed(params: &Params, claim: &claim::Output) -> Option<String> {
    // A checksum is enough, and the user may have corrected the source since.
    claim
        .validator
        .clone()
        .filter(|_| params.checksum.is_none())
}

impl Upload<'_> {
    /// Returns the result if it has the announced hash; else deletes what was sent.
    pub(super) async fn keep_promise(
        &self,
        promised: Option<String>,
        sent: Sent,
    ) -> Result<Sent, Failure> {
        let found = sent.sha256.to_string();
        let Some(promised) = promised.filter(|promised| *promised != found) else {
            return Ok(sent);
        };
        self.cx.save(&()).await?;
        self.remove().await?;
        let message =
            format!("the source names the image by its SHA-256 {promised}, and gave {found}");
        Err(error::SOURCE_MISMATCH
            .failure(message)
            .of_object(&self.params.url))
    }
}
