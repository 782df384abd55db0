//! Manifests that are none.

use vsiflow_fuzz::Target;

use super::*;

#[test]
fn fuzz_document() {
    Target {
        // A node of two bytes, `- `, is some hundreds in memory, and is outlined and read again.
        memory: 4 * 1024 * 1024,
        memory_per_byte: 4096,
        time: std::time::Duration::from_secs(10),
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
        ..Target::new("document", target)
    }
    .check();
}

/// Reads manifests and follows their selectors, or says what is wrong with them. What is secret in
/// them is for other tests: a mutation may put a secret where none belongs.
pub(crate) fn target(bytes: &[u8]) {
    let problems = match load_text("any", bytes) {
        Ok(loaded) => loaded.resolve(None).err(),
        Err(diagnostics) => Some(diagnostics),
    };
    std::hint::black_box(problems.map(|diagnostics| diagnostics.to_string()));
}
