//! Identifiers of entities, runs and streams, and timestamps.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ulid::Ulid;

use super::text::Name;

/// Error: the text is not a valid identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a valid {what}")]
pub struct InvalidId {
    what: &'static str,
    text: String,
}

impl InvalidId {
    pub(crate) fn new(what: &'static str, text: &str) -> Self {
        Self {
            what,
            text: text.chars().take(80).collect(),
        }
    }
}

/// Milliseconds since the Unix epoch, UTC. Shown to users, never used for order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The milliseconds from `self` until `later`; 0 if `later` is before `self`.
    pub fn millis_until(self, later: Timestamp) -> u64 {
        later.0.saturating_sub(self.0)
    }

    /// This moment plus `millis`.
    pub fn plus_millis(self, millis: u64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// The ID of an entity: a kind (`vsi`, `image`, `disk`, `host`) and an identity within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId {
    kind: Name,
    #[serde(serialize_with = "write_text", deserialize_with = "read_text")]
    id: Arc<str>,
}

fn write_text<S: Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

fn read_text<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(from).map(Arc::from)
}

impl EntityId {
    /// The longest identity, in bytes.
    pub const MAX: usize = 160;

    /// Checks and creates an entity ID; `id` is 1 to [`EntityId::MAX`] bytes of visible ASCII.
    ///
    /// # Errors
    /// When `id` is empty, too long or has any other character.
    pub fn new(kind: Name, id: impl Into<String>) -> Result<Self, InvalidId> {
        let id: Arc<str> = id.into().into();
        let fits = (1..=Self::MAX).contains(&id.len());
        if fits && id.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self { kind, id })
        } else {
            Err(InvalidId::new("entity id", &id))
        }
    }

    /// A lower bound that sorts before all entities of a kind and is not an entity itself.
    pub(crate) fn before(kind: Name) -> Self {
        let id = Arc::default();
        Self { kind, id }
    }

    /// The kind of entity.
    pub fn kind(&self) -> &Name {
        &self.kind
    }

    /// The identity within the kind.
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)
    }
}

impl FromStr for EntityId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (kind, id) = text
            .split_once('/')
            .ok_or_else(|| InvalidId::new("entity id", text))?;
        Self::new(Name::new(kind)?, id)
    }
}

/// One execution of a workflow for an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunId(pub Ulid);

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RunId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        Ulid::from_string(text)
            .map(Self)
            .map_err(|_| InvalidId::new("run id", text))
    }
}

/// A stream of the journal: an entity's, a run's, or the journal's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum StreamId {
    /// Desired generations, state transitions and runs of an entity.
    Entity(EntityId),
    /// The steps of a run.
    Run(RunId),
    /// Events about the journal itself.
    Journal,
}

impl StreamId {
    /// Passes the parts of its name to `look`. The name is hashed for each record, and allocating
    /// it as a string would cost as much as the hash.
    pub(crate) fn with_name<T>(&self, look: impl FnOnce(&[&str]) -> T) -> T {
        match self {
            Self::Entity(id) => look(&["entity/", id.kind.as_str(), "/", &id.id]),
            Self::Run(id) => look(&["run/", id.0.array_to_str(&mut [0; ulid::ULID_LEN])]),
            Self::Journal => look(&["journal"]),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_name(|parts| parts.iter().try_for_each(|part| f.write_str(part)))
    }
}

impl FromStr for StreamId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text.split_once('/') {
            Some(("entity", id)) => id.parse().map(Self::Entity),
            Some(("run", id)) => id.parse().map(Self::Run),
            None if text == "journal" => Ok(Self::Journal),
            _ => Err(InvalidId::new("stream id", text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_ids_read_back_as_written() {
        let entity = EntityId::new(Name::of("image"), "host/pool/a.qcow2").unwrap();
        for stream in [
            StreamId::Entity(entity),
            StreamId::Run(RunId(Ulid::from_parts(7, 9))),
            StreamId::Journal,
        ] {
            assert_eq!(stream.to_string().parse(), Ok(stream));
        }
    }

    #[test]
    fn odd_identities_are_refused() {
        for id in ["", "a b", "ü", &"x".repeat(161)] {
            assert!(EntityId::new(Name::of("vsi"), id).is_err(), "{id:?}");
        }
    }
}
