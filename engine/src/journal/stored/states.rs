//! The stored form of states, in an index and in a base: a format version, then the encoded state.

use std::sync::Arc;

use bincode::config::standard;

use super::{Mirror as _, Unreadable, v1::state as v1};
use crate::{
    journal::{JournalError, StreamState},
    model::Objects,
};

/// The format of a state without objects. The format before it was never released: a base with it is
/// skipped, and its states are folded from the events.
const PLAIN: u8 = 2;
/// The format of an entity's state with its objects, which follow the rest. A state without objects is
/// never written so: a state has one form, so the hash of a base stays what it was.
const WITH_OBJECTS: u8 = 3;

/// The bytes of memory that a decoder may allocate for each stored byte. The worst case is the name
/// and the state of a waiting node.
const MEMORY_PER_BYTE: usize = 64;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The longest encoded state, in bytes. An entity with a million runs takes a quarter of it.
const STATE_MAX: usize = 64 * MIB;

/// Encodes the state of one stream.
///
/// # Errors
/// [`JournalError::Storage`] for a state of more than 64 MiB.
pub(in crate::journal) fn encode_state(state: &StreamState) -> Result<Vec<u8>, JournalError> {
    let unencodable = |why: String| {
        let stream = state.stream();
        JournalError::Storage(format!("the state of {stream} cannot be encoded: {why}"))
    };
    let objects = objects_of(state).map(v1::Objects::store);
    let mut bytes = Vec::with_capacity(KIB);
    bytes.push(objects.as_ref().map_or(PLAIN, |_| WITH_OBJECTS));
    let stored = v1::StreamState::store(state);
    bincode::encode_into_std_write(stored, &mut bytes, standard())
        .map_err(|e| unencodable(e.to_string()))?;
    if let Some(objects) = objects {
        bincode::encode_into_std_write(objects, &mut bytes, standard())
            .map_err(|e| unencodable(e.to_string()))?;
    }
    if bytes.len() > STATE_MAX {
        return Err(unencodable(format!("it takes {} bytes", bytes.len())));
    }
    Ok(bytes)
}

/// Decodes a state that [`encode_state`] encoded. The allocated memory is limited by the number of
/// bytes, whatever lengths they claim.
///
/// # Errors
/// [`Unreadable::Newer`] for a state that a later version wrote, [`Unreadable::Damaged`] for bytes
/// that no version wrote.
pub(in crate::journal) fn decode_state(bytes: &[u8]) -> Result<StreamState, Unreadable> {
    match bytes.split_first() {
        Some((&PLAIN, body)) => decode::<v1::StreamState>(body)?.restore(),
        Some((&WITH_OBJECTS, body)) => {
            let (stored, objects) = decode::<(v1::StreamState, v1::Objects)>(body)?;
            with_objects(stored.restore()?, objects.restore()?)
        }
        Some((format, _)) if *format > WITH_OBJECTS => Err(Unreadable::Newer {
            found: (*format).into(),
            known: WITH_OBJECTS.into(),
        }),
        _ => Err(damaged("no version wrote it")),
    }
}

/// The objects of an entity's state, if there are any.
fn objects_of(state: &StreamState) -> Option<&Objects> {
    match state {
        StreamState::Entity(_, folded) => {
            Some(&folded.state.objects).filter(|objects| **objects != Objects::default())
        }
        StreamState::Run(..) | StreamState::Journal { .. } => None,
    }
}

fn with_objects(state: StreamState, objects: Objects) -> Result<StreamState, Unreadable> {
    match state {
        StreamState::Entity(id, mut folded) if objects != Objects::default() => {
            Arc::make_mut(&mut folded.state).objects = objects;
            Ok(StreamState::Entity(id, folded))
        }
        _ => Err(damaged("it has no objects")),
    }
}

/// Decodes with the smallest sufficient limit of a few, because the codec takes its limit as a
/// constant.
fn decode<T: bincode::Decode<()>>(body: &[u8]) -> Result<T, Unreadable> {
    match body.len().saturating_mul(MEMORY_PER_BYTE) {
        need if need <= 256 * KIB => within::<T, { 512 * KIB }>(body),
        need if need <= 4 * MIB => within::<T, { 4 * MIB }>(body),
        need if need <= 64 * MIB => within::<T, { 64 * MIB }>(body),
        need if need <= STATE_MAX.saturating_mul(MEMORY_PER_BYTE) => {
            within::<T, { STATE_MAX * MEMORY_PER_BYTE }>(body)
        }
        _ => Err(damaged("it is longer than a state gets")),
    }
}

fn within<T: bincode::Decode<()>, const LIMIT: usize>(body: &[u8]) -> Result<T, Unreadable> {
    let (state, used) = bincode::decode_from_slice(body, standard().with_limit::<LIMIT>())?;
    if used == body.len() {
        Ok(state)
    } else {
        Err(damaged("bytes follow it"))
    }
}

fn damaged(why: &str) -> Unreadable {
    Unreadable::Damaged(why.to_owned())
}

#[cfg(test)]
mod tests;
