//! Fuzzes the check of user-data.

use vsiflow_fuzz::FuzzTarget;

use super::*;

#[test]
fn fuzz_user_data() {
    FuzzTarget {
        // Packed user-data is unpacked.
        memory: 64 << 20,
        words: &[
            "#cloud-config\n",
            "## template: jinja\n",
            "MIME-Version: 1.0",
            "version: 2",
            "ethernets:",
            "ssh-ed25519 AAAA",
            "\u{feff}",
            "\"",
            ": ",
            "\n- ",
        ],
        ..FuzzTarget::new("user_data", target)
    }
    .check();
}

pub(crate) fn target(bytes: &[u8]) {
    let _ = check(bytes);
    let text = String::from_utf8_lossy(bytes);
    let _ = check_network(&text);
    let _ = is_public_key(&text);
    assert!(!is_hostname(&text) || text.len() <= HOSTNAME_MAX);
}
