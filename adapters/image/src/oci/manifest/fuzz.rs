//! Fuzzes the parser of registries' manifests.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_manifest() {
    FuzzTarget {
        memory: 256 * 1024,
        memory_per_byte: 32,
        words: &[
            "\"layers\":[",
            "\"manifests\":[",
            "\"annotations\":{",
            "\"platform\":{\"architecture\":\"s390x\"}",
            "18446744073709551616",
            "sha256:",
        ],
        ..FuzzTarget::new("manifest", target)
    }
    .check();
}

/// Parses a manifest; each digest in the result must be safe in a path.
fn target(bytes: &[u8]) {
    for platform in [None, Some("s390x")] {
        let blobs = match OciManifest::read(bytes, platform) {
            Ok(OciManifest::See(blob) | OciManifest::Disk(blob)) => vec![blob],
            Ok(OciManifest::Layers(blobs)) => blobs,
            Err(_) => continue,
        };
        assert!(blobs.len() <= MAX_LAYERS);
        for blob in blobs {
            assert_eq!(blob.digest.text().len(), 71);
        }
    }
}
