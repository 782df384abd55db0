//! Properties of encoded states.

use std::sync::Arc;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    journal::{Folded, arbitrary},
    model::{EntityId, EntityState, Hash, Name, RunId, Timestamp},
};

fn with_runs(count: u128) -> StreamState {
    let runs = (0..count).map(|n| RunId(n.into())).collect();
    let state = EntityState {
        runs,
        ..EntityState::default()
    };
    let folded = Folded {
        state: Arc::new(state),
        next_seq: 7,
        hash: Hash([3; 32]),
        first: 9,
        created: Timestamp(1),
        changed: Timestamp(2),
    };
    StreamState::Entity(EntityId::new(Name::of("vsi"), "a").unwrap(), folded)
}

#[test]
fn an_entity_of_any_number_of_runs_reads_back_as_written() {
    for count in [0, 1, 255, 4_000, 70_000, 1_000_000] {
        let state = with_runs(count);
        let bytes = encode_state(&state).unwrap();
        assert_eq!(decode_state(&bytes).unwrap(), state, "{count} runs");
    }
}

#[test]
fn a_state_of_a_later_format_is_newer_and_one_of_none_damaged() {
    let mut bytes = encode_state(&with_runs(1)).unwrap();
    bytes[0] = WITH_OBJECTS + 1;
    let newer = decode_state(&bytes);
    assert!(matches!(
        newer,
        Err(Unreadable::Newer { found: 4, known: 3 })
    ));
    bytes[0] = 0;
    for broken in [bytes.as_slice(), &[]] {
        let damaged = decode_state(broken);
        assert!(
            matches!(damaged, Err(Unreadable::Damaged(_))),
            "{damaged:?}"
        );
    }
}

#[test]
fn bytes_after_a_state_are_damage() {
    let mut bytes = encode_state(&with_runs(1)).unwrap();
    bytes.push(0);
    let damaged = decode_state(&bytes);
    assert!(
        matches!(damaged, Err(Unreadable::Damaged(_))),
        "{damaged:?}"
    );
}

#[test]
fn a_length_that_the_bytes_claim_sets_nothing_aside() {
    // An entity's id whose kind claims four exbibytes.
    let claimed = [&[PLAIN, 0, 253][..], &(1u64 << 62).to_le_bytes()].concat();
    let damaged = decode_state(&claimed);
    assert!(
        matches!(damaged, Err(Unreadable::Damaged(_))),
        "{damaged:?}"
    );
}

proptest! {
    #[test]
    fn states_read_back_as_written(state in arbitrary::stream_state()) {
        let bytes = encode_state(&state).unwrap();
        prop_assert_eq!(decode_state(&bytes).unwrap(), state);
    }

    #[test]
    fn no_bytes_whatever_make_the_decoder_panic(bytes in vec(any::<u8>(), 0..2048), tag in 0..4u8, format in PLAIN..=WITH_OBJECTS) {
        let _ = decode_state(&bytes);
        let _ = decode_state(&[&[format, tag][..], &bytes].concat());
    }

    #[test]
    fn a_state_with_bytes_changed_never_makes_the_decoder_panic(
        state in arbitrary::stream_state(),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = encode_state(&state).unwrap();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        let _ = decode_state(&bytes);
        let _ = decode_state(&bytes[..cut.index(bytes.len())]);
    }
}
