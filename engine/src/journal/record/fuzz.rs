//! Fuzzes the decoder of records.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_record() {
    let bounds = FuzzTarget::new("record", target);
    FuzzTarget {
        // The most memory that a decoder may allocate for a record.
        memory: 256 * 1024,
        ..bounds
    }
    .check();
}

/// Reads a stored record; an accepted one can be stored again.
pub(crate) fn target(bytes: &[u8]) {
    read(bytes.to_vec());
    // A checksum is not a secret: anyone who changes a record can compute the correct one.
    let mut whole = bytes.to_vec();
    if let Some((crc, rest)) = whole.split_first_chunk_mut::<CRC_LEN>() {
        *crc = crc32c::crc32c(rest).to_be_bytes();
    }
    read(whole);
}

fn read(bytes: Vec<u8>) {
    let Ok(stored) = Stored::parse(bytes) else {
        return;
    };
    let Ok(record) = stored.record() else { return };
    let draft = RecordDraft::new(record.event.clone()).unwrap();
    let (stream, seq) = (&stored.stream, stored.seq);
    match Stored::seal(stored.offset, stream, seq, stored.prev, &draft) {
        Ok(again) => assert_eq!(again.record().unwrap().event, record.event),
        Err(JournalError::TooLong { .. }) => {}
        Err(error) => panic!("an event that was read cannot be stored: {error}"),
    }
}
