//! Tells misspelt keys from unknown ones.

/// Whether one letter too many, too few, other or two exchanged ones, or an underscore, make the difference.
pub(super) fn is_misspelling(key: &str, known: &str) -> bool {
    // Longer keys would make the comparison slow and match nothing.
    if key.len() > 2 * known.len() + 2 {
        return false;
    }
    let written = key.to_lowercase().replace(['_', ' '], "-");
    if written == known || written == known.replace('-', "") {
        return true;
    }
    // Short keys differ from one another by one letter.
    let is_exchanged = || strsim::levenshtein(&written, known) == 2;
    strsim::osa_distance(&written, known) <= 1 && (known.len() > 3 || is_exchanged())
}

#[cfg(test)]
mod tests {
    use super::is_misspelling;

    #[test]
    fn one_slip_makes_a_misspelling_and_two_make_another_key() {
        for key in [
            "adresses",
            "addressses",
            "addresces",
            "addrseses",
            "Addresses",
        ] {
            assert!(is_misspelling(key, "addresses"), "{key}");
        }
        for key in ["dhcp_4", "dhcp-4", "gateway-4"] {
            let known = key.replace(['_', '-'], "");
            assert!(is_misspelling(key, &known), "{key}");
        }
        assert!(is_misspelling("tlt", "ttl") && is_misspelling("id_", "id-"));
        for (key, known) in [
            ("adreses", "addresses"),
            ("ip", "id"),
            ("mut", "ttl"),
            ("", "id"),
        ] {
            assert!(!is_misspelling(key, known), "{key}");
        }
        assert!(!is_misspelling(&"a".repeat(1 << 20), "addresses"));
    }
}
