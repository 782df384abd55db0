//! Fuzzes the reader of bundles.

use vsiflow_fuzz::FuzzTarget;

use super::Bundle;
use super::tests::remade;

#[test]
fn fuzz_bundle() {
    FuzzTarget {
        memory: 1 << 20,
        memory_per_byte: 64,
        words: &[
            "vsiflow-bundle",
            "version 1\n",
            "version 2\n",
            "documents/0001-a.yaml",
            "documents/../../etc/passwd",
            "manifest.json",
            "seal",
            "\"length\": 18446744073709551615",
            "77777777777\0",
            "\u{80}\u{7f}\u{7f}",
            "ustar  \0",
            " key=ed25519:",
            " signature=",
        ],
        ..FuzzTarget::new("bundle", target)
    }
    .check();
}

/// An accepted bundle must be byte for byte what the writer would write.
fn target(bytes: &[u8]) {
    let Ok(bundle) = Bundle::open(bytes) else {
        return;
    };
    let images = 0..bundle.manifest().images.len();
    if images
        .clone()
        .all(|image| bundle.check_image(image, |_| {}).is_ok())
    {
        assert_eq!(remade(bytes, &bundle), bytes);
    }
}
