use std::collections::BTreeSet;

use proptest::{
    prelude::*,
    strategy::ValueTree as _,
    test_runner::{Config, TestRunner},
};
use ulid::Ulid;

use super::*;
use crate::{
    journal::arbitrary,
    model::{
        Actor, EntityId, EventKind, INLINE_MAX, Name, Payload, Precedence, RunId, Text, Timestamp,
        Who,
    },
};

fn sealed(stream: &StreamId, event: &Event) -> Stored {
    let draft = RecordDraft::new(event.clone()).unwrap();
    Stored::seal(u64::MAX, stream, u64::MAX, Hash([9; 32]), &draft).unwrap()
}

fn sample() -> (StreamId, Event) {
    let event = Event {
        at: Timestamp(1_700_000_000_000),
        actor: Actor::Unix {
            uid: 1000,
            name: Who::new("ada"),
        },
        reason: Text::new("why"),
        kind: EventKind::Intent {
            step: Name::of("define_domain"),
        },
    };
    (StreamId::Run(RunId(Ulid::from_parts(1, 2))), event)
}

proptest! {
    #![proptest_config(Config::with_cases(2000))]

    #[test]
    fn every_event_reads_back_and_fits_a_record(
        stream in arbitrary::stream(),
        event in arbitrary::event(),
    ) {
        let stored = sealed(&stream, &event);
        prop_assert!(stored.bytes.len() <= RECORD_MAX);
        prop_assert_eq!(&Stored::parse(stored.bytes.clone()), &Ok(stored.clone()));
        prop_assert_eq!(stored.record().unwrap().event, event);
    }

    #[test]
    fn a_graph_takes_no_more_than_it_weighs(graph in arbitrary::graph()) {
        let mut bytes = Vec::new();
        stored::encode(v1::Graph::store(&graph), &mut bytes).unwrap();
        prop_assert!(bytes.len() <= graph.weight(), "{} > {}", bytes.len(), graph.weight());
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Stored::parse(bytes.clone()).is_err());
        let _ = stored::decode::<v1::Event>(&bytes).map(|(event, _)| event.restore());
        let _ = open(&bytes);
    }
}

#[test]
fn the_property_meets_every_kind_of_event() {
    let mut runner = TestRunner::deterministic();
    let kinds: BTreeSet<_> = (0..2000)
        .map(|_| {
            arbitrary::event()
                .new_tree(&mut runner)
                .unwrap()
                .current()
                .kind
                .type_name()
        })
        .collect();
    assert_eq!(kinds.len(), 33, "{kinds:?}");
}

/// The longest desired state with the longest name and reason, which determines the limits of names.
#[test]
fn the_longest_event_fits() {
    let entity = EntityId::new(Name::of(&"k".repeat(Name::MAX)), "i".repeat(EntityId::MAX));
    let event = Event {
        at: Timestamp(u64::MAX),
        actor: Actor::Unix {
            uid: u32::MAX,
            name: Who::new("w".repeat(Who::MAX)),
        },
        reason: Text::new("r".repeat(Text::MAX)),
        kind: EventKind::Desired {
            generation: u64::MAX,
            workflow: Name::of(&"w".repeat(Name::MAX)),
            precedence: Precedence::Supreme,
            desired: Payload::Inline(vec![0; INLINE_MAX]),
        },
    };
    let len = sealed(&StreamId::Entity(entity.unwrap()), &event)
        .bytes
        .len();
    assert!((RECORD_MAX - 64..=RECORD_MAX).contains(&len), "{len}");
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let (stream, event) = sample();
    let bytes = sealed(&stream, &event).bytes;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let found = Stored::parse(flipped);
        assert!(
            matches!(&found, Err(error) if error.is_damage()),
            "bit {bit}: {found:?}"
        );
    }
    for len in 0..bytes.len() {
        let found = Stored::parse(bytes[..len].to_vec());
        assert!(
            matches!(&found, Err(error) if error.is_damage()),
            "{len} bytes: {found:?}"
        );
    }
}

/// Changes bytes and corrects the checksum, as only another version would.
fn rewritten(change: impl FnOnce(&mut Vec<u8>)) -> Result<Record, JournalError> {
    let (stream, event) = sample();
    let mut bytes = sealed(&stream, &event).bytes;
    change(&mut bytes);
    let crc = crc32c::crc32c(&bytes[CRC_LEN..]).to_be_bytes();
    bytes[..CRC_LEN].copy_from_slice(&crc);
    Stored::parse(bytes)?.record()
}

#[test]
fn what_a_newer_version_wrote_is_told_from_damage() {
    let newer = |found: &Result<_, _>| match found {
        Err(JournalError::Newer { found, known, .. }) => Some((*found, *known)),
        _ => None,
    };
    assert_eq!(newer(&rewritten(|bytes| bytes[CRC_LEN] = 2)), Some((2, 1)));
    assert_eq!(
        newer(&rewritten(|bytes| bytes[CRC_LEN + 1] = 7)),
        Some((7, 1))
    );
    let kind = |bytes: &mut Vec<u8>| {
        let at = bytes.len() - "define_domain".len() - 2;
        assert_eq!(bytes[at], 3);
        bytes[at] = 200;
    };
    assert_eq!(newer(&rewritten(kind)), Some((200, 32)));
    let longer = rewritten(|bytes| bytes.push(0));
    assert!(
        matches!(&longer, Err(error) if error.is_damage()),
        "{longer:?}"
    );
    assert!(rewritten(|_| ()).is_ok());
}

#[test]
fn damage_names_the_record() {
    let (stream, event) = sample();
    let draft = RecordDraft::new(event).unwrap();
    let mut bytes = Stored::seal(41, &stream, 3, Hash::default(), &draft)
        .unwrap()
        .bytes;
    *bytes.last_mut().unwrap() ^= 1;
    let place = |found: Result<Stored, _>| match found {
        Err(JournalError::DamagedRecord(damage)) => damage.place.to_string(),
        other => panic!("{other:?}"),
    };
    let named = format!("{stream} #3 (offset 41)");
    assert_eq!(place(Stored::parse_at(41, bytes.clone())), named);
    assert_eq!(place(Stored::parse_at(7, bytes.clone())), "offset 7");
    assert_eq!(place(Stored::parse_at(7, vec![1, 2])), "offset 7");
}

/// Format 1 as it was first written: a change here is a new format.
#[test]
fn the_first_format_is_what_it_was() {
    let (stream, event) = sample();
    let draft = RecordDraft::new(event.clone()).unwrap();
    let stored = Stored::seal(300, &stream, 5, Hash([1; 32]), &draft).unwrap();
    let hex: String = stored
        .bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let expected = concat!(
        "01f50206",                                                         // CRC32C
        "0101",                                                             // format, codec
        "fb2c0105",                                                         // offset, seq
        "0101010101010101010101010101010101010101010101010101010101010101", // previous link
        "0100000000000100000000000000000002",                               // run stream
        "fd0068e5cf8b010000",                                               // at
        "01fbe80303616461",                                                 // actor
        "03776879",                                                         // reason
        "030d646566696e655f646f6d61696e",                                   // intent
    );
    assert_eq!(hex, expected);
    assert_eq!(stored.record().unwrap().event, event);
    assert_eq!(
        stored.hash,
        chain::link(Hash([1; 32]), &stream, 5, &stored.bytes)
    );
}
