//! Whatever bytes come, an answer comes back, and no secret with it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use proptest::prelude::*;
use vsiflow_file::load_text;

/// A manifest to be broken.
const MANIFEST: &str = "apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPrem\n\
    metadata:\n  name: a\nspec:\n  contract: |\n    SECRET\n    SECRET\n  imageURL: http://a/b\n  \
    targetSelector: {matchLabels: {a: b}}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \
    h, labels: {a: b}}\ndata:\n  HOSTNAME: h\n  KEY: |\n    SECRET\n  KNOWN_HOSTS: k\n---\n\
    apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\nstringData:\n  KEY: SECRET\n";

fn answer(bytes: &[u8]) -> String {
    match load_text("any", bytes) {
        Ok(loaded) => format!("{:?} {:?}", loaded, loaded.resolve(None)),
        Err(diagnostics) => diagnostics.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        answer(&bytes);
    }

    #[test]
    fn anything_like_yaml(text in "([a-z&*!|>'\"#%@`\\[\\]{},:?~ \t\r\n-]|---\n|\\.\\.\\.\n|: |- |ä|\u{0}){0,80}") {
        answer(text.as_bytes());
    }

    #[test]
    fn broken_manifests_show_no_secret(
        breaks in proptest::collection::vec((0..MANIFEST.len(), "[:{}\\[\\]|>'\"&*! \n\t#-]{0,3}", 0..4_usize), 1..4),
    ) {
        let mut text = MANIFEST.to_owned();
        for (place, insert, remove) in breaks {
            let place = place.min(text.len());
            // Broken words would be no secret any more, and broken fields none that is known.
            let hit = text.get(place.saturating_sub(8)..(place + remove + 8).min(text.len()));
            let spares = ["SECRET", "contract", "KEY", "stringData", "kind", "Secret"];
            if hit.is_none_or(|hit| spares.iter().any(|word| hit.contains(word))) {
                continue;
            }
            text.replace_range(place..(place + remove).min(text.len()), &insert);
        }
        let answer = answer(text.as_bytes());
        prop_assert!(!answer.contains("SECRET"), "{text}\n\n{answer}");
    }
}
