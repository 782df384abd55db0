//! Bases: the states of every entity and run as of an offset, in frames of the log.
//!
//! A base contains the encoded states, sorted by their bytes, in blocks that are compressed
//! separately, so that several threads can read them. It is written in parts of at most [`PART`]
//! bytes, each in one frame. A base is used only if all its parts exist. The audit checks its hash
//! against the one in its event. Folding begins at the nearest base.

use std::{
    io::{Read as _, Write as _},
    sync::atomic::{AtomicUsize, Ordering},
};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use super::{
    frame::{self, Body, FramePart, FramePosition},
    scan::position_of,
    shared::{LogShared, PartPlace, read},
};
use crate::{
    journal::{
        JournalError, Offset, States, StreamState, states::EncodedStates,
        stored::states::decode_state,
    },
    parallel,
};

/// The most bytes of one part. It limits how long an append waits for a base.
pub(super) const PART: usize = 256 << 10;
/// The format of a base, its first byte. The previous format was never released and began with
/// another byte; a base with it is skipped.
const FORM: u8 = 2;
/// A block is full once it has this many bytes of states.
const BLOCK: usize = 512 << 10;
/// The most bytes that are unpacked from one block. Its last state may be large.
const BLOCK_MAX: u64 = 128 << 20;

/// The parts of a base, to be written one after another.
pub(in crate::journal) fn parts(
    states: &EncodedStates,
) -> Result<Vec<(FramePart, Vec<u8>)>, JournalError> {
    let packed = pack(states)?;
    let chunks = packed.chunks(PART);
    let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
    let part = |(number, bytes): (u32, &[u8])| {
        let as_of = states.as_of;
        (
            FramePart {
                as_of,
                number,
                of: count,
            },
            bytes.to_vec(),
        )
    };
    Ok((0..).zip(chunks).map(part).collect())
}

/// The bytes of a base: the header, then the blocks, each preceded by its length.
fn pack(states: &EncodedStates) -> Result<Vec<u8>, JournalError> {
    let link = states.link.map(|link| frame::link_bytes(&link));
    let mut packed = vec![FORM, link.is_some().into()];
    packed.extend_from_slice(&link.unwrap_or([0; frame::LINK]));
    let mut block = Vec::new();
    for state in &states.streams {
        push(&mut block, state);
        if block.len() >= BLOCK {
            push(&mut packed, &compressed(&block)?);
            block.clear();
        }
    }
    if !block.is_empty() {
        push(&mut packed, &compressed(&block)?);
    }
    Ok(packed)
}

fn push(to: &mut Vec<u8>, piece: &[u8]) {
    let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
    to.extend_from_slice(&len.to_be_bytes());
    to.extend_from_slice(piece);
}

fn compressed(block: &[u8]) -> Result<Vec<u8>, JournalError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(block).and_then(|()| encoder.finish());
    written.map_err(|e| JournalError::Storage(format!("a base: {e}")))
}

fn unpack(as_of: Offset, packed: &[u8]) -> Option<States> {
    let (has_link, rest) = packed.strip_prefix(&[FORM])?.split_first()?;
    let (link, rest) = rest.split_first_chunk::<{ frame::LINK }>()?;
    let blocks = pieces(rest)?;
    Some(States {
        as_of,
        link: frame::link_of(link).filter(|_| *has_link == 1),
        streams: unpack_all(&blocks)?,
    })
}

/// The states of all blocks, in any order.
fn unpack_all(blocks: &[&[u8]]) -> Option<Vec<StreamState>> {
    let next = AtomicUsize::new(0);
    let parts = parallel::share(blocks.len(), || {
        let mut states = Vec::new();
        while let Some(block) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            states.extend(states_of(block)?);
        }
        Some(states)
    });
    let parts: Option<Vec<_>> = parts.into_iter().collect();
    Some(parts?.into_iter().flatten().collect())
}

/// Splits bytes into pieces that are each preceded by their length; none if the last is cut off.
fn pieces(mut bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let piece = frame::record_at(bytes)?;
        bytes = bytes.get(piece.len().saturating_add(4)..)?;
        pieces.push(piece);
    }
    Some(pieces)
}

fn states_of(block: &[u8]) -> Option<Vec<StreamState>> {
    let mut bytes = Vec::with_capacity(BLOCK);
    let mut decoder = ZlibDecoder::new(block).take(BLOCK_MAX);
    decoder.read_to_end(&mut bytes).ok()?;
    let states = pieces(&bytes)?.into_iter();
    states.map(|state| decode_state(state).ok()).collect()
}

/// The offsets of all whole bases, in order.
pub(in crate::journal) fn offsets(shared: &LogShared) -> Vec<Offset> {
    let parts = read(&shared.bases);
    let mut offsets: Vec<_> = parts.iter().map(|place| place.part.as_of).collect();
    offsets.sort_unstable();
    offsets.dedup();
    offsets.retain(|as_of| places(&parts, *as_of).is_some());
    offsets
}

/// The newest readable base as of `at` or earlier; none if there is none.
pub(in crate::journal) fn nearest(shared: &LogShared, at: Offset) -> Option<States> {
    let earlier = offsets(shared)
        .into_iter()
        .rev()
        .filter(|as_of| *as_of <= at);
    earlier.into_iter().find_map(|as_of| load(shared, as_of))
}

/// The places of a base's parts, in order; none if one is missing.
fn places(parts: &[PartPlace], as_of: Offset) -> Option<Vec<PartPlace>> {
    let parts_of_base: Vec<_> = parts
        .iter()
        .filter(|place| place.part.as_of == as_of)
        .collect();
    let count = parts_of_base.first()?.part.of;
    let place = |number| {
        parts_of_base
            .iter()
            .rev()
            .find(|place| place.part.number == number && place.part.of == count)
    };
    (0..count)
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
    let frame_start = usize::try_from(place.at).ok()?;
    let position = position_of(&segment.header, frame_start);
    let bytes = segment.read(place.at.into(), frame::part_len(PART)).ok()?;
    let salt = &segment.header.salt;
    match frame::decode(&bytes, FramePosition { salt, position })?.body {
        Body::Base(part, bytes) if part == place.part => Some(bytes.to_vec()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::journal::arbitrary::stream_state;

    fn states(streams: Vec<StreamState>) -> EncodedStates {
        let states = States {
            as_of: 7,
            link: None,
            streams,
        };
        EncodedStates::new(&states).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn what_was_packed_is_unpacked_and_nothing_else(
            some in vec(stream_state(), 0..9), place in any::<prop::sample::Index>(), bit in 0..8_u32,
        ) {
            // More than one block of states, if there are any.
            let many = some.iter().cycle().take(some.len() * 60).cloned().collect();
            let states = states(many);
            let packed = pack(&states).unwrap();
            let found = EncodedStates::new(&unpack(7, &packed).unwrap()).unwrap();
            prop_assert_eq!(&found.streams, &states.streams);
            prop_assert_eq!((found.as_of, found.link), (7, None));
            // The frames have checksums, so damage is found there. Unpacking must only terminate.
            let mut garbled = packed.clone();
            let at = place.index(garbled.len());
            garbled[at] ^= 1 << bit;
            let _ = unpack(7, &garbled);
            prop_assert!(unpack(7, &packed[..at]).is_none_or(|cut| cut.streams.len() < states.streams.len()));
        }
    }

    #[test]
    fn a_base_of_the_form_before_is_passed_over() {
        let mut before = ZlibEncoder::new(Vec::new(), Compression::fast());
        before.write_all(&[0; 1 + frame::LINK]).unwrap();
        assert_eq!(unpack(7, &before.finish().unwrap()), None);
    }
}
