//! Fuzzes the loader with malformed manifests.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_document() {
    FuzzTarget {
        // A node of two bytes, `- `, needs some hundred bytes in memory, and is outlined and read again.
        memory: 4 * 1024 * 1024,
        memory_per_byte: 4096,
        words: &[
            "[",
            "]",
            "{",
            "}",
            "{a: ",
            "- ",
            "? ",
            ": ",
            "&a ",
            "*a",
            "<<: *a\n",
            "|\n",
            ">-\n",
            "'",
            "\"",
            "\\x",
            "\n---\n",
            "\n...\n",
            "%YAML 9.9\n",
            "!!binary ",
            "!!str ",
            "#",
            "\t",
            "\u{feff}",
            "\u{2028}",
            "0x7fffffffffffffff",
            ".inf",
            "~",
            "kind: List\nitems:\n",
        ],
        ..FuzzTarget::new("document", target)
    }
    .check();
}

/// Loads documents and resolves their selectors, or reports errors. Other tests check that secrets are
/// hidden, because a mutation may put a secret where none belongs.
pub(crate) fn target(bytes: &[u8]) {
    let problems = match load_text("any", bytes) {
        Ok(loaded) => loaded.resolve(None).err(),
        Err(diagnostics) => Some(diagnostics),
    };
    std::hint::black_box(problems.map(|diagnostics| diagnostics.to_string()));
}
