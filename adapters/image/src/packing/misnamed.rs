//! A file whose name says that it is packed, and whose first bytes say something else.

use async_trait::async_trait;
use bytes::Bytes;
use vsiflow_steps::{
    image::format,
    ports::{ImageStream, SourceError, SourceErrorKind, SourceInfo},
};

use super::Packing;
use crate::error::{ShownError, error};

/// A stream that ends with the reason before its first byte.
pub(super) struct Misnamed {
    info: SourceInfo,
    shown: ShownError,
    why: String,
}

impl Misnamed {
    /// The stream for a file that begins with `head` and is named like one that is packed so.
    pub(super) fn new(named: Packing, head: &[u8], info: SourceInfo, shown: ShownError) -> Self {
        let kind = named.words();
        let reason = match format::of(head) {
            Err(unfit) => unfit.to_string(),
            Ok(_) => {
                "it begins as no such file does: if it is a disk, give it another name".to_owned()
            }
        };
        Self {
            info,
            shown,
            why: format!("its name is that of {kind}, but {reason}"),
        }
    }
}

#[async_trait]
impl ImageStream for Misnamed {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        Err(error(SourceErrorKind::Packed, &self.shown, &self.why))
    }
}
