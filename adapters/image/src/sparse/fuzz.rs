//! Fuzzes the readers of sparse VMDKs and VHDXs.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use vsiflow_fuzz::FuzzTarget;

use super::corpus_file::CorpusFile;
use super::map::SparseExtent;
use super::*;

#[test]
fn fuzz_sparse() {
    FuzzTarget {
        // Twice the maximum number of blocks, and the file.
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
        ..FuzzTarget::new("sparse", target)
    }
    .check();
}

/// Reads the tables; the map must be within the file and cover the whole disk.
fn target(bytes: &[u8]) {
    for mended in [false, true] {
        for form in FORMS {
            let mut file = CorpusFile::read(bytes);
            file.mended = mended;
            let tables = {
                let reading = pin!(form.tables(&mut file));
                reading.poll(&mut Context::from_waker(Waker::noop()))
            };
            if let Poll::Ready(Ok(tables)) = tables
                && let Ok(map) = tables.checked()
            {
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
