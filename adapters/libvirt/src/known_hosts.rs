//! Known hosts: the keys that an SSH server may present (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").
//!
//! Supports hashed names (`|1|…`), lists, wildcards and negation, `[host]:port`, `@revoked` and
//! `@cert-authority`. Lines that cannot be parsed are skipped, as in OpenSSH.

mod certificate;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::{Algorithm, HashAlg, PublicKey};
use sha1::Sha1;

use crate::connect_error::ConnectError;

/// The known-hosts entries of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHost {
    host: String,
    /// The host's name without a port, as certificates contain it.
    name: String,
    known: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
    authorities: Vec<PublicKey>,
}

/// The marker of a known-hosts line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyMarker {
    None,
    Revoked,
    Authority,
}

impl KnownHost {
    /// Finds a host's lines in a known-hosts text.
    ///
    /// With a port other than 22, lines for `[host]:port` are used; if there are none, those for the bare
    /// host, as in OpenSSH.
    #[must_use]
    pub fn find(text: &str, host: &str, port: u16) -> Self {
        let name = host_name(host, port);
        let bare = host_name(host, 22);
        let found = Self::pick(text, &name, &bare);
        let nothing =
            found.known.is_empty() && found.revoked.is_empty() && !found.has_authorities();
        if nothing && port != 22 {
            return Self {
                host: name,
                ..Self::pick(text, &bare, &bare)
            };
        }
        found
    }

    fn pick(text: &str, name: &str, bare: &str) -> Self {
        let mut found = Self {
            host: name.to_owned(),
            name: bare.to_owned(),
            known: Vec::new(),
            revoked: Vec::new(),
            authorities: Vec::new(),
        };
        for (marker, key) in text.lines().filter_map(|line| parse(line, name)) {
            match (marker, key) {
                (KeyMarker::Authority, Some(key)) => found.authorities.push(key),
                (KeyMarker::None, Some(key)) => found.known.push(key),
                (KeyMarker::Revoked, Some(key)) => found.revoked.push(key),
                (_, None) => {}
            }
        }
        found
    }

    /// The algorithms of the known keys, so that the server is asked for one of these.
    #[must_use]
    pub fn algorithms(&self) -> Vec<Algorithm> {
        self.known.iter().map(PublicKey::algorithm).collect()
    }

    /// Whether a server that presents this key is the host.
    ///
    /// # Errors
    /// The key is unknown, another key is known, or the key is revoked.
    pub fn check(&self, key: &PublicKey) -> Result<(), ConnectError> {
        let is_shown = |known: &PublicKey| known.key_data() == key.key_data();
        let (host, algorithm, fingerprint) = (
            self.host.clone(),
            key.algorithm().to_string(),
            fingerprint(key),
        );
        self.refuse_revoked(key)?;
        if self.known.iter().any(is_shown) {
            return Ok(());
        }
        if !self.known.is_empty() {
            let known = self.known.iter().map(describe).collect();
            return Err(ConnectError::HostKeyChanged {
                host,
                algorithm,
                fingerprint,
                known,
            });
        }
        if self.has_authorities() {
            return Err(ConnectError::KnownHosts(format!(
                "{host} is named by @cert-authority lines only and shows no certificate; give it one \
                 (HostCertificate in its sshd_config), or add its own key, {algorithm} {fingerprint}"
            )));
        }
        Err(ConnectError::HostKeyUnknown {
            host,
            algorithm,
            fingerprint,
        })
    }
}

impl KnownHost {
    fn refuse_revoked(&self, key: &PublicKey) -> Result<(), ConnectError> {
        let is_shown = |known: &PublicKey| known.key_data() == key.key_data();
        if self.revoked.iter().any(is_shown) {
            Err(ConnectError::HostKeyRevoked {
                host: self.host.clone(),
                algorithm: key.algorithm().to_string(),
                fingerprint: fingerprint(key),
            })
        } else {
            Ok(())
        }
    }
}

/// `ALGORITHM SHA256:…` of a key.
pub(crate) fn describe(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), fingerprint(key))
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// The host's name as known hosts spell it.
fn host_name(host: &str, port: u16) -> String {
    let host = host.to_lowercase();
    if port == 22 {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

/// The marker and key of a line, if it names the host. The key is `None` if its type is unknown.
fn parse(line: &str, name: &str) -> Option<(KeyMarker, Option<PublicKey>)> {
    let mut fields = line.split_ascii_whitespace().peekable();
    let marker = match *fields.peek()? {
        "@revoked" => KeyMarker::Revoked,
        "@cert-authority" => KeyMarker::Authority,
        first if first.starts_with(['#', '@']) => return None,
        _ => KeyMarker::None,
    };
    if marker != KeyMarker::None {
        fields.next();
    }
    let (names, kind, data) = (fields.next()?, fields.next()?, fields.next()?);
    if !names_match(names, name) {
        return None;
    }
    Some((
        marker,
        PublicKey::from_openssh(&format!("{kind} {data}")).ok(),
    ))
}

/// Whether a comma-separated list names the host: a pattern matches, and no negated one does.
fn names_match(names: &str, name: &str) -> bool {
    let mut matched = false;
    for pattern in names.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if name_matches(negated, name) => return false,
            Some(_) => {}
            None => matched |= name_matches(pattern, name),
        }
    }
    matched
}

fn name_matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_prefix("|1|") {
        Some(hashed) => hash_matches(hashed, name).unwrap_or(false),
        None => glob(pattern.to_lowercase().as_bytes(), name.as_bytes()),
    }
}

/// Parses `salt|hash`, both in base64; the hash is the HMAC-SHA1 of the name, keyed with the salt.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?);
    let mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    Some(
        mac.chain_update(name.as_bytes())
            .verify_slice(&hash)
            .is_ok(),
    )
}

/// `*` matches any text, `?` any one character. The time is bounded by the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // Where to continue when the last `*` must match one more character.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), text.split_first()) {
            (Some((b'*', rest)), _) => {
                retry = Some((rest, text));
                pattern = rest;
            }
            (Some((expected, rest)), Some((found, left)))
                if expected == found || *expected == b'?' =>
            {
                (pattern, text) = (rest, left);
            }
            (None, None) => return true,
            _ => match retry {
                Some((rest, [_, left @ ..])) => {
                    retry = Some((rest, left));
                    (pattern, text) = (rest, left);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIWN1t5kgx4q2jFxXZy0O2OQFFiry5pOc60Y0u+PZsQw";
    const SECOND: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn check(line: &str, host: &str, port: u16) -> Result<(), ConnectError> {
        KnownHost::find(line, host, port).check(&key(FIRST))
    }

    #[test]
    fn names_are_plain_listed_or_with_a_port() {
        assert_eq!(check(&format!("host {FIRST} comment"), "HOST", 22), Ok(()));
        assert_eq!(
            check(&format!("a,host,10.0.0.1 {FIRST}"), "10.0.0.1", 22),
            Ok(())
        );
        assert_eq!(check(&format!("[host]:2222 {FIRST}"), "host", 2222), Ok(()));
        assert!(check(&format!("[host]:2222 {FIRST}"), "host", 22).is_err());
    }

    #[test]
    fn a_line_with_the_port_goes_before_one_without() {
        let text = format!("host {FIRST}\n[host]:2222 {SECOND}");
        assert!(matches!(
            check(&text, "host", 2222),
            Err(ConnectError::HostKeyChanged { .. })
        ));
        assert_eq!(check(&format!("host {FIRST}"), "host", 2222), Ok(()));
    }

    #[test]
    fn wildcards_and_negation_are_honoured() {
        let line = format!("*.lab,!bad.lab,10.0.?.1 {FIRST}");
        assert_eq!(check(&line, "a.lab", 22), Ok(()));
        assert_eq!(check(&line, "10.0.7.1", 22), Ok(()));
        assert!(check(&line, "bad.lab", 22).is_err());
        assert!(check(&line, "10.0.77.1", 22).is_err());
        assert_eq!(check(&format!("[*]:2222 {FIRST}"), "a", 2222), Ok(()));
    }

    #[test]
    fn hashed_names_are_compared() {
        // Made by `ssh-keygen -H`.
        let line = format!("|1|BY80F2gO5DOlC1tnPi1PY19YmjM=|KgLxr+KFur+e9jrMOsmKMQ0IaFw= {FIRST}");
        assert_eq!(check(&line, "127.0.0.1", 2222), Ok(()));
        assert!(check(&line, "127.0.0.1", 22).is_err());
        assert!(check(&line, "other", 2222).is_err());
    }

    #[test]
    fn unknown_changed_and_revoked_are_three_things() {
        let unknown = check(&format!("other {FIRST}"), "host", 22).unwrap_err();
        assert!(matches!(&unknown, ConnectError::HostKeyUnknown { .. }));
        assert!(unknown.to_string().contains("SHA256:"), "{unknown}");
        let changed = check(&format!("host {SECOND}"), "host", 22).unwrap_err();
        assert!(matches!(&changed, ConnectError::HostKeyChanged { known, .. } if known.len() == 1));
        let revoked = check(&format!("host {FIRST}\n@revoked * {FIRST}"), "host", 22).unwrap_err();
        assert!(matches!(revoked, ConnectError::HostKeyRevoked { .. }));
    }

    #[test]
    fn an_authority_alone_is_refused_and_says_so() {
        let line = format!("@cert-authority *.lab {SECOND}");
        let refused = check(&line, "a.lab", 22).unwrap_err();
        assert!(refused.to_string().contains("@cert-authority"), "{refused}");
        assert_eq!(
            check(&format!("{line}\na.lab {FIRST}"), "a.lab", 22),
            Ok(())
        );
    }

    #[test]
    fn lines_that_say_nothing_are_passed_over() {
        let text =
            format!("\n# note\nhost\nhost ssh-ed25519 !!!\n@else host {FIRST}\nhost {FIRST}");
        assert_eq!(check(&text, "host", 22), Ok(()));
        assert_eq!(
            KnownHost::find(&text, "host", 22).algorithms(),
            [Algorithm::Ed25519]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "[ -~\n|,*!@]{0,200}", host in ".{0,20}", port: u16) {
            let _ = KnownHost::find(&text, &host, port).check(&key(FIRST));
        }

        #[test]
        fn a_glob_of_the_text_itself_matches(text in "[a-z.]{0,20}", at: prop::sample::Index) {
            prop_assert!(glob(text.as_bytes(), text.as_bytes()));
            let cut = at.index(text.len() + 1);
            let starred = format!("{}*{}", &text[..cut], &text[cut..]);
            prop_assert!(glob(starred.as_bytes(), text.as_bytes()));
        }
    }
}
