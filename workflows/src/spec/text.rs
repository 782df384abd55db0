//! Texts with rules of their own: contracts and names on hosts.

use serde::{Deserialize, Deserializer};
use vsiflow_engine::secret::Secret;

/// The contract of a VSI, verbatim. `Debug` hides it, and it cannot be serialised.
#[derive(Clone)]
pub struct Contract(Secret);

impl Contract {
    /// A contract of that text.
    pub fn new(text: String) -> Self {
        Self(Secret::new(text.into_bytes()))
    }

    /// The contract as a secret.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl std::fmt::Debug for Contract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Contract(<hidden>)")
    }
}

impl<'de> Deserialize<'de> for Contract {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.trim().is_empty() {
            return Err(serde::de::Error::custom("the contract is empty"));
        }
        Ok(Self::new(text))
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
