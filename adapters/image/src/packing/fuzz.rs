//! Fuzzes the readers of OVAs and VMDKs.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_appliance() {
    FuzzTarget {
        // The tables before the grains, and the buffered pieces.
        memory: 48 * 1024 * 1024,
        memory_per_byte: 2_048,
        words: &[
            "KDMV",
            "ustar\0",
            "box.ovf",
            "<Disk ovf:fileRef=\"a\"/>",
            "<!DOCTYPE a>",
            "SHA256(disk.vmdk)= ",
            "parentCID=ffffffff\n",
            "RW 1 SPARSE \"a\"\n",
        ],
        ..FuzzTarget::new("appliance", target)
    }
    .check();
}

/// Unpacks the input; the output must be within the limits.
fn target(bytes: &[u8]) {
    let most = UnpackLimit {
        free: 4 << 20,
        times: 1,
    };
    for packing in [Packing::Ova, Packing::Vmdk] {
        // The channel has room for all pieces, because nothing reads them until the end.
        let (give, mut unpacked) = mpsc::channel(64);
        let unpacking = Arc::new(Unpacking::new(Arc::default(), give));
        unpacking.count(bytes.len() as u64);
        let mut to = Outlet::new(unpacking, most);
        let _refused = packing.unpack(bytes, bytes, &mut to);
        drop(to);
        let mut length = 0_u64;
        while let Ok(piece) = unpacked.try_recv() {
            length += piece.unwrap().len() as u64;
        }
        assert!(length <= most.free.max(bytes.len() as u64));
    }
}
