//! Texts with rules of their own: contracts and names on hosts.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use vsiflow_engine::{model::Name, secret::Secret};

use super::recorded::SecretField;

/// What objects show in place of a secret.
pub(crate) const HIDDEN: &str = "<hidden>";

/// The contract of a VSI, verbatim, or the ID of the recorded one. `Debug` hides it, and it cannot be serialised.
#[derive(Clone, JsonSchema)]
#[schemars(with = "String", extend("x-example" = "| with the contract below, indented", "x-secret" = true))]
pub struct Contract(SecretField);

impl Contract {
    /// A contract of that text.
    pub fn new(text: String) -> Self {
        Self(SecretField::written(text))
    }

    /// The contract as a secret; `None` if the document only says which one is recorded.
    pub fn secret(&self) -> Option<&Secret> {
        self.0.secret()
    }

    /// The ID of the recorded contract, if the document says that one.
    pub fn recorded(&self) -> Option<&Name> {
        self.0.recorded()
    }
}

impl std::fmt::Debug for Contract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contract(<hidden>)")
    }
}

impl<'de> Deserialize<'de> for Contract {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        SecretField::read(deserializer, "contract").map(Self)
    }
}

/// Reads the name of something on a host: a pool, a volume, a network.
///
/// # Errors
/// When it is empty, or has characters that such a name cannot have.
pub(crate) fn host_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    let problem = if name.trim().is_empty() {
        "the name is empty"
    } else if name.contains('/') || name == "." || name == ".." {
        "the name is one on the host, not a path; it holds no `/`"
    } else if name.chars().any(char::is_control) {
        "the name holds a control character"
    } else {
        return Ok(name);
    };
    Err(serde::de::Error::custom(problem))
}
