//! Reads the host keys of a guest's SSH server from its console.
//!
//! cloud-init prints them there at the end of the first boot, between two lines. Source: "Keys to Console" of
//! cloud-init's documentation. The console comes over the connection to the host, so that a machine between
//! the host and the guest cannot replace the guest's key with its own.

/// The line before the keys.
const BEGIN: &str = "-----BEGIN SSH HOST KEY KEYS-----";
/// The line after the keys.
const END: &str = "-----END SSH HOST KEY KEYS-----";
/// The most keys that are read; servers have fewer.
const MAX: usize = 16;
/// The longest key, in characters.
const KEY_MAX: usize = 4096;

/// The newest keys on a console, as lines of a known hosts file for a name.
pub(crate) fn known_hosts(console: &str, alias: &str) -> Option<String> {
    let (before, _) = console.rsplit_once(END)?;
    let (_, block) = before.rsplit_once(BEGIN)?;
    let keys = block.lines().filter_map(|line| key(line.trim())).take(MAX);
    let lines: Vec<_> = keys
        .map(|(kind, key)| format!("{alias} {kind} {key}\n"))
        .collect();
    (!lines.is_empty()).then(|| lines.concat())
}

/// The type and the key in a line, if it has them.
fn key(line: &str) -> Option<(&str, &str)> {
    let mut words = line.split_ascii_whitespace();
    // The kernel's time may precede it.
    let kind = words.find(|word| is_kind(word))?;
    let key = words.next()?;
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || ['+', '/', '='].contains(&c);
    let fits = key.len() <= KEY_MAX && key.starts_with("AAAA") && key.chars().all(is_base64);
    fits.then_some((kind, key))
}

fn is_kind(word: &str) -> bool {
    let known = ["ssh-", "ecdsa-sha2-", "sk-"];
    let plain = |c: char| c.is_ascii_alphanumeric() || ['-', '.', '@'].contains(&c);
    known.iter().any(|begin| word.starts_with(begin)) && word.chars().all(plain) && word.len() < 64
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "Linux\r\n\
        -----BEGIN SSH HOST KEY KEYS-----\r\n\
        ssh-ed25519 AAAAold root@web\r\n\
        -----END SSH HOST KEY KEYS-----\r\n\
        reboot\r\n\
        [   12.3] cloud-init[1]: -----BEGIN SSH HOST KEY KEYS-----\r\n\
        ecdsa-sha2-nistp256 AAAAE2Vj+/= root@web\r\n\
        ssh-ed25519 AAAAC3Nz root@web\r\n\
        ssh-rsa $(reboot)\r\n\
        * AAAA x\r\n\
        -----END SSH HOST KEY KEYS-----\r\nlogin:";

    #[test]
    fn the_newest_keys_of_the_console_are_pinned_under_the_guests_own_name() {
        assert_eq!(
            known_hosts(CONSOLE, "vsiflow-u").unwrap(),
            "vsiflow-u ecdsa-sha2-nistp256 AAAAE2Vj+/=\nvsiflow-u ssh-ed25519 AAAAC3Nz\n"
        );
    }

    #[test]
    fn a_console_without_whole_keys_pins_nothing() {
        for console in [
            "",
            BEGIN,
            "x-----END SSH HOST KEY KEYS-----",
            "-----BEGIN SSH HOST KEY KEYS-----\nssh-rsa B\n-----END SSH HOST KEY KEYS-----",
        ] {
            assert_eq!(known_hosts(console, "a"), None, "{console}");
        }
    }
}
