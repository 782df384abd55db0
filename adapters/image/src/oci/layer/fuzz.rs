//! Fuzzes the reader of layers of container images.

use vsiflow_fuzz::FuzzTarget;

use super::*;
use crate::packing::UnpackLimit;

#[test]
fn fuzz_layer() {
    FuzzTarget {
        // The windows of zstd, and the buffered pieces.
        memory: 48 * 1024 * 1024,
        memory_per_byte: 2_048,
        words: &[
            "disk/",
            "../",
            ".wh.disk",
            "ustar\0",
            "path=disk/x\n",
            "size=18446744073709551615\n",
            "77777777777",
        ],
        ..FuzzTarget::new("layer", target)
    }
    .check();
}

/// Reads a layer; its disk must have the reported length.
fn target(bytes: &[u8]) {
    let (tell, told) = tokio::sync::oneshot::channel();
    let (fill, pieces) = mpsc::channel(1);
    fill.try_send(Ok(bytes::Bytes::copy_from_slice(bytes)))
        .unwrap();
    drop(fill);
    // More pieces than the limit below can produce.
    let (give, mut unpacked) = mpsc::channel(64);
    let most = UnpackLimit {
        free: 1 << 20,
        times: 1,
    };
    let unpacking = Arc::new(Unpacking::new(Arc::default(), give));
    let mut to = Outlet::new(unpacking.clone(), most);
    let feed = Feed::new(pieces, Arc::default(), unpacking);
    let ended = search(feed, &mut to, most, &mut Some(tell));
    drop(to);
    let mut length = 0_u64;
    while let Ok(piece) = unpacked.try_recv() {
        length += piece.unwrap().len() as u64;
    }
    if ended.is_ok() {
        assert_eq!(told.blocking_recv().unwrap().unwrap().unwrap_or(0), length);
    }
}
