//! Sparse VMDKs and VHDXs.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use vsiflow_fuzz::Target;

use super::corpus_file::KeptFile;
use super::map::SparseExtent;
use super::*;

#[test]
fn fuzz_sparse() {
    Target {
        // As many blocks as there may be, twice, and the file.
        memory: 40 * 1024 * 1024,
        memory_per_byte: 32,
        words: &[
            "KDMV",
            "vhdxfile",
            "head",
            "regi",
            "metadata",
            "loge",
            "parentCID=ffffffff\n",
            "RW 1 SPARSE \"a\"\n",
            "createType=\"monolithicSparse\"\n",
        ],
        ..Target::new("sparse", target)
    }
    .check();
}

/// Reads the tables; what they say is within the file, and is a whole disk.
fn target(bytes: &[u8]) {
    for mended in [false, true] {
        for form in FORMS {
            let mut file = KeptFile::read(bytes);
            file.mended = mended;
            let map = {
                let reading = pin!(form.map(&mut file));
                reading.poll(&mut Context::from_waker(Waker::noop()))
            };
            if let Poll::Ready(Ok(map)) = map {
                is_a_disk(&map, file.length());
            }
        }
    }
}

fn is_a_disk(map: &BlockMap, file: u64) {
    let (mut position, mut data) = (0, 0);
    while let Some(extent) = map.extent(position, u64::MAX) {
        let length = match extent {
            SparseExtent::Hole(length) => length,
            SparseExtent::Data { at, length } => {
                data += length;
                assert!(at + length <= file);
                length
            }
        };
        assert!(length > 0);
        position += length;
    }
    assert!(position == map.capacity() && data <= file);
}
