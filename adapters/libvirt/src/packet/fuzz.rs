//! Packets of a host that lies about their lengths.

use futures::FutureExt as _;
use vsiflow_fuzz::Target;

use super::*;

#[test]
fn fuzz_packet() {
    Target {
        // Room is made in steps, whatever a length announces.
        memory: 4 * READ_STEP as u64,
        memory_per_byte: 4,
        ..Target::new("packet", target)
    }
    .check();
}

/// Reads packets to the end; each is written again as it came.
pub(crate) fn target(bytes: &[u8]) {
    let mut reader = PacketReader::new(bytes);
    let mut rest = bytes;
    // All bytes are there, so that nothing is ever waited for.
    while let Some(Ok(packet)) = reader.next(|| ()).now_or_never() {
        let mut again = BytesMut::new();
        assert!(encode(&packet.header, &packet.payload, &mut again));
        rest = rest.strip_prefix(&again[..]).expect("as it came");
    }
}
