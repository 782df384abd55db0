//! Records that nobody wrote.

use vsiflow_fuzz::Target;

use super::*;

#[test]
fn fuzz_record() {
    let bounds = Target::new("record", target);
    Target {
        // What a decoder may set aside on the word of a record.
        memory: 256 * 1024,
        ..bounds
    }
    .check();
}

/// Reads a stored record; what is accepted can be stored again.
pub(crate) fn target(bytes: &[u8]) {
    read(bytes.to_vec());
    // A checksum is no secret: whoever changes a record can make the right one.
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
