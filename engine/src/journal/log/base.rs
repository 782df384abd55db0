//! Bases: the states of every entity and run as of an offset, in frames of the log.
//!
//! A base is the encoded states in the order of their streams' names, compressed, in parts of at
//! most [`PART`] bytes, each a frame. One is believed only when all of its parts are there and it
//! hashes to what an event commits to; that is for the audit. Folding begins at the nearest one.

use std::io::{Read as _, Write as _};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use super::{
    frame::{self, Body, FramePart, FramePosition},
    scan::position_of,
    shared::{LogShared, PartPlace, read},
};
use crate::journal::{
    JournalError, Offset, States, StreamState,
    stored::states::{decode_state, encode_state},
};

/// The most bytes of one part: no append waits longer than for so many.
pub(super) const PART: usize = 256 << 10;
/// More is not unpacked.
const MOST: u64 = 4 << 30;

/// The parts of a base, to be written one after another.
pub(in crate::journal) fn parts(
    states: &States,
) -> Result<Vec<(FramePart, Vec<u8>)>, JournalError> {
    let packed = pack(states).map_err(|e| JournalError::Storage(format!("a base: {e}")))??;
    let chunks = packed.chunks(PART);
    let of = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let part = |(number, bytes): (u32, &[u8])| {
        let as_of = states.as_of;
        (FramePart { as_of, number, of }, bytes.to_vec())
    };
    Ok((0..).zip(chunks).map(part).collect())
}

type PackedBase = Result<Vec<u8>, JournalError>;

fn pack(states: &States) -> std::io::Result<PackedBase> {
    let mut sorted: Vec<_> = states
        .streams
        .iter()
        .map(|state| (state.stream().to_string(), state))
        .collect();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let link = states.link.map(|link| frame::link_bytes(&link));
    encoder.write_all(&[link.is_some().into()])?;
    encoder.write_all(&link.unwrap_or([0; frame::LINK]))?;
    for (_, state) in sorted {
        let bytes = match encode_state(state) {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        encoder.write_all(&len.to_be_bytes())?;
        encoder.write_all(&bytes)?;
    }
    Ok(Ok(encoder.finish()?))
}

fn unpack(as_of: Offset, packed: &[u8]) -> Option<States> {
    let mut bytes = Vec::new();
    ZlibDecoder::new(packed)
        .take(MOST)
        .read_to_end(&mut bytes)
        .ok()?;
    let (has_link, rest) = bytes.split_first()?;
    let (link, mut rest) = rest.split_first_chunk::<{ frame::LINK }>()?;
    let mut streams: Vec<StreamState> = Vec::new();
    while let Some(state) = frame::record_at(rest) {
        streams.push(decode_state(state).ok()?);
        rest = rest.get(state.len().saturating_add(4)..)?;
    }
    let link = frame::link_of(link).filter(|_| *has_link == 1);
    rest.is_empty().then_some(States {
        as_of,
        link,
        streams,
    })
}

/// The offsets that whole bases are as of, in order.
pub(in crate::journal) fn all(shared: &LogShared) -> Vec<Offset> {
    let parts = read(&shared.bases);
    let mut offsets: Vec<_> = parts.iter().map(|place| place.part.as_of).collect();
    offsets.sort_unstable();
    offsets.dedup();
    offsets.retain(|as_of| places(&parts, *as_of).is_some());
    offsets
}

/// The newest base as of `at` or before that can be read; none where there is none.
pub(in crate::journal) fn nearest(shared: &LogShared, at: Offset) -> Option<States> {
    let offsets = all(shared);
    let before = offsets.into_iter().rev().filter(|as_of| *as_of <= at);
    before.into_iter().find_map(|as_of| load(shared, as_of))
}

/// The places of a base's parts, in order; none where one is missing.
fn places(parts: &[PartPlace], as_of: Offset) -> Option<Vec<PartPlace>> {
    let of_it: Vec<_> = parts
        .iter()
        .filter(|place| place.part.as_of == as_of)
        .collect();
    let of = of_it.first()?.part.of;
    let place = |number| {
        of_it
            .iter()
            .rev()
            .find(|place| place.part.number == number && place.part.of == of)
    };
    (0..of)
        .map(|number| place(number).map(|place| **place))
        .collect()
}

fn load(shared: &LogShared, as_of: Offset) -> Option<States> {
    let places = places(&read(&shared.bases), as_of)?;
    let mut packed = Vec::new();
    for place in places {
        packed.extend(part(shared, &place)?);
    }
    unpack(as_of, &packed)
}

fn part(shared: &LogShared, place: &PartPlace) -> Option<Vec<u8>> {
    let segment = shared.segment(place.segment)?;
    let at = usize::try_from(place.at).ok()?;
    let position = position_of(&segment.header, at);
    let bytes = segment.read(place.at.into(), frame::part_len(PART)).ok()?;
    let salt = &segment.header.salt;
    match frame::decode(&bytes, FramePosition { salt, position })?.body {
        Body::Base(found, bytes) if found == place.part => Some(bytes.to_vec()),
        _ => None,
    }
}
