//! Fuzzes the parser of known hosts.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_known_hosts() {
    FuzzTarget {
        // Matching a pattern takes time proportional to the product of its length and the name's.
        time: std::time::Duration::from_secs(3),
        words: &[
            "*",
            "?",
            "!",
            ",",
            "|1|",
            "@revoked ",
            "@cert-authority ",
            "[",
            "]:22",
            " ",
            "\n",
        ],
        ..FuzzTarget::new("known_hosts", target)
    }
    .check();
}

/// Looks for hosts; `check` must accept each key that is found.
pub(crate) fn target(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let long = "a".repeat(255);
    for (host, port) in [("lpar1.example.com", 22), ("10.0.0.1", 2222), (&long, 22)] {
        let found = KnownHost::find(&text, host, port);
        assert_eq!(found.algorithms().len(), found.known.len());
        for key in found.known.iter().take(8) {
            assert_eq!(found.check(key).is_ok(), !found.revoked.contains(key));
        }
    }
}
