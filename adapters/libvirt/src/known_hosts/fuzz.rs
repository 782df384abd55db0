//! Fuzzes the parser of known hosts.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_known_hosts() {
    FuzzTarget {
        // Matching a pattern takes time proportional to the product of its length and the name's.
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

/// Looks for hosts; `check` must accept each key that is listed, unless a line takes the trust away.
pub(crate) fn target(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let long = "a".repeat(255);
    for (host, port) in [("lpar1.example.com", 22), ("10.0.0.1", 2222), (&long, 22)] {
        let found = KnownHost::find(&text, host, port);
        let lines = found.effective();
        assert_eq!(found.algorithms().len(), lines.known.len());
        for listed in lines.known.iter().take(8) {
            let key = &listed.key;
            let trusted = [&found.listed, lines]
                .iter()
                .all(|lines| lines.unreadable.is_none() && !lines.revoked.contains(key));
            assert_eq!(found.check(key).is_ok(), trusted && lines.lists(key));
        }
    }
}
