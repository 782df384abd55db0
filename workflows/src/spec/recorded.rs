//! Fields of a document that say what is recorded of its object, as `get -o yaml` prints it.
//!
//! They choose nothing. What they say has to be what is recorded, and then it stays; anything else is refused, and the
//! selectors or the secret itself change it. So what was printed can be applied, and changes nothing.

use serde::{Deserializer, de};
use vsiflow_engine::{model::Name, secret::Secret};

use super::{desired::DesiredDisk, text::HIDDEN};

/// What a document says of the recorded state; `None` for what it does not mention.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordedFields {
    /// The ID of the stored contract or user-data.
    pub secret: Option<Name>,
    /// The ID of the host.
    pub host: Option<String>,
    /// The data disks.
    pub disks: Option<Vec<DesiredDisk>>,
    /// The names of the networks on the host.
    pub networks: Option<Vec<String>>,
}

impl RecordedFields {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A secret in a document: its text, or the ID of the one that is recorded of the same object.
#[derive(Clone)]
pub(super) enum SecretField {
    Written(Secret),
    Recorded(Name),
}

impl SecretField {
    pub(super) fn written(text: String) -> Self {
        Self::Written(Secret::new(text.into_bytes()))
    }

    pub(super) fn secret(&self) -> Option<&Secret> {
        match self {
            Self::Written(secret) => Some(secret),
            Self::Recorded(_) => None,
        }
    }

    pub(super) fn recorded(&self) -> Option<&Name> {
        match self {
            Self::Written(_) => None,
            Self::Recorded(id) => Some(id),
        }
    }

    /// Reads a secret. `what` names it, for messages.
    pub(super) fn read<'de, D: Deserializer<'de>>(
        deserializer: D,
        what: &'static str,
    ) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretVisitor(what))
    }
}

struct SecretVisitor(&'static str);

impl<'de> de::Visitor<'de> for SecretVisitor {
    type Value = SecretField;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretField, E> {
        if text.trim().is_empty() {
            return Err(E::custom(format_args!("the {} is empty", self.0)));
        }
        // A guest must not be made anew from what earlier versions showed in place of a secret.
        if text.trim() == HIDDEN {
            return Err(E::custom(format_args!(
                "this is what is shown in place of the {}; write the {} itself",
                self.0, self.0
            )));
        }
        Ok(SecretField::written(text.to_owned()))
    }

    /// Only the one key is read: another one may be a part of a secret, which no message repeats.
    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<SecretField, A::Error> {
        let is_recorded = map.next_key::<String>()?.as_deref() == Some("recorded");
        if !is_recorded {
            return Err(de::Error::invalid_type(de::Unexpected::Map, &self));
        }
        let id = Name::new(map.next_value::<String>()?).map_err(de::Error::custom)?;
        match map.next_key::<de::IgnoredAny>()? {
            None => Ok(SecretField::Recorded(id)),
            Some(_) => Err(de::Error::custom("beside `recorded` there is nothing else")),
        }
    }
}
