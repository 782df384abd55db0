//! The lines that a backup has in addition to those of an export.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize as _;

use crate::{model::Name, secret::Secret};

/// The schema that this version writes, and the newest that it reads.
pub(super) const SCHEMA: u32 = 1;

/// The first line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BackupLine {
    pub(super) kind: String,
    pub(super) schema: u32,
    /// The incarnation of the journal that was backed up.
    #[serde(default)]
    pub(super) incarnation: u32,
    #[serde(default)]
    pub(super) written_by: String,
}

impl BackupLine {
    pub(super) fn new(incarnation: u32) -> Self {
        Self {
            kind: "backup".to_owned(),
            schema: SCHEMA,
            incarnation,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// A secret.
#[derive(Serialize, Deserialize)]
pub(super) struct SecretLine {
    kind: String,
    pub(super) id: String,
    content: String,
}

impl SecretLine {
    pub(super) fn new(id: &Name, secret: &Secret) -> Self {
        Self {
            kind: "secret".to_owned(),
            id: id.to_string(),
            content: BASE64_STANDARD.encode(secret.expose()),
        }
    }

    /// The secret; `None` if the content is not base64.
    pub(super) fn secret(&self) -> Option<Secret> {
        let bytes = BASE64_STANDARD.decode(self.content.as_bytes()).ok()?;
        Some(Secret::new(bytes))
    }
}

impl Drop for SecretLine {
    fn drop(&mut self) {
        self.content.zeroize();
    }
}

/// The last line.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct EndLine {
    kind: String,
    pub(super) secrets: u64,
}

impl EndLine {
    pub(super) fn new(secrets: u64) -> Self {
        Self {
            kind: "end".to_owned(),
            secrets,
        }
    }
}
