//! Fuzzes the packet reader, with false lengths among others.

use futures::FutureExt as _;
use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_packet() {
    FuzzTarget {
        // The buffer grows in steps, whatever length is announced.
        memory: 4 * READ_STEP as u64,
        memory_per_byte: 4,
        ..FuzzTarget::new("packet", target)
    }
    .check();
}

/// Reads packets to the end; encoding each must give the same bytes.
pub(crate) fn target(bytes: &[u8]) {
    let mut reader = PacketReader::new(bytes);
    let mut rest = bytes;
    // All bytes are present, so the reader never waits.
    while let Some(Ok(packet)) = reader.next(|| ()).now_or_never() {
        let mut again = BytesMut::new();
        assert!(encode(&packet.header, &packet.payload, &mut again));
        rest = rest.strip_prefix(&again[..]).expect("as it came");
    }
}
