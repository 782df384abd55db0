//! One line of known hosts: whom it names, and the key that it lists.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::{Algorithm, Certificate, PublicKey, ssh_key::public::KeyData};
use sha1::Sha1;
use vsiflow_steps::ssh_curve::is_on_curve;

/// How many words behind the names are kept: type, key and a comment. A line may have as many as a text has bytes.
const REST_MAX: usize = 64;

/// The marker of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyMarker {
    None,
    Revoked,
    Authority,
    /// OpenSSH has no such marker, or there are several.
    Unknown,
}

/// A key as a line lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ListedKey {
    pub(super) key: PublicKey,
    /// The line has a certificate of this key. OpenSSH takes such a line for another key than the plain one,
    /// except where it is revoked or an authority.
    pub(super) is_certificate: bool,
}

/// What a line means for a host.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum LineMeaning {
    /// It is about other hosts, is a comment, or lists a key that no server of this time can present.
    Nothing,
    Key {
        marker: KeyMarker,
        listed: ListedKey,
    },
    /// It names the host, or may do so, and cannot be understood.
    Unreadable(&'static str),
}

/// A line in its parts.
pub(super) struct LineParts<'t> {
    pub(super) marker: KeyMarker,
    pub(super) names: Option<&'t str>,
    /// What follows the names: type, key and comment.
    pub(super) rest: Vec<&'t str>,
}

impl<'t> LineParts<'t> {
    /// The parts of a line; `None` for an empty line or a comment.
    pub(super) fn of(line: &'t str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace().peekable();
        if fields.peek()?.starts_with('#') {
            return None;
        }
        let mut marker = KeyMarker::None;
        while let Some(word) = fields.next_if(|field| is_marker(field)) {
            marker = match (marker, word) {
                (KeyMarker::None, "@revoked") => KeyMarker::Revoked,
                (KeyMarker::None, "@cert-authority") => KeyMarker::Authority,
                _ => KeyMarker::Unknown,
            };
        }
        Some(Self {
            marker,
            names: fields.next(),
            rest: fields.take(REST_MAX).collect(),
        })
    }

    /// What the line means for the host with this name.
    pub(super) fn meaning(&self, name: &str) -> LineMeaning {
        let gives_trust = matches!(self.marker, KeyMarker::None | KeyMarker::Authority);
        let Some(names) = self.names else {
            return if gives_trust {
                LineMeaning::Nothing
            } else {
                LineMeaning::Unreadable("it names no host")
            };
        };
        // OpenSSH writes no port 22, but who takes trust away from it means the host.
        let with_port = || {
            let has_port = name.starts_with('[');
            !has_port && match_names(names, &format!("[{name}]:22")) == NameMatch::Named
        };
        match match_names(names, name) {
            NameMatch::Named => {}
            NameMatch::Other if !gives_trust && with_port() => {}
            // Without its names, a line that takes trust away may be about any host.
            NameMatch::Damaged if !gives_trust => {
                return LineMeaning::Unreadable("its hashed host name is damaged");
            }
            NameMatch::Other | NameMatch::Excluded if !gives_trust && self.lacks_names() => {
                return LineMeaning::Unreadable("it names no host");
            }
            _ => return LineMeaning::Nothing,
        }
        if self.marker == KeyMarker::Unknown {
            return LineMeaning::Unreadable("its marker is neither @revoked nor @cert-authority");
        }
        self.key()
    }

    /// The line with another name.
    pub(super) fn renamed(&self, name: &str) -> String {
        let marker = match self.marker {
            KeyMarker::None => "",
            KeyMarker::Revoked => "@revoked ",
            KeyMarker::Authority => "@cert-authority ",
            KeyMarker::Unknown => "@unknown ",
        };
        format!("{marker}{name} {}", self.rest.join(" "))
    }

    /// Whether the key's type is in the place of the names.
    fn lacks_names(&self) -> bool {
        let (Some(names), Some(data)) = (self.names, self.rest.first()) else {
            return false;
        };
        blob_type(data).is_some_and(|kind| kind == names.as_bytes())
    }

    fn key(&self) -> LineMeaning {
        let (Some(&kind), Some(&data)) = (self.rest.first(), self.rest.get(1)) else {
            return LineMeaning::Unreadable("its key is missing");
        };
        if let Some(listed) = listed_key(kind, data) {
            let marker = self.marker;
            return LineMeaning::Key { marker, listed };
        }
        // A key of protocol 1, or of a type that is unknown here: no server presents it to this client.
        let obsolete = [kind, data].map(is_number) == [true, true];
        let whole = blob_type(data).is_some_and(|inner| inner == kind.as_bytes());
        let other_type = whole && !is_known_type(kind);
        match (self.marker, obsolete || other_type) {
            (KeyMarker::None, true) => LineMeaning::Nothing,
            (_, true) => LineMeaning::Unreadable("the type of its key is unknown"),
            (_, false) => LineMeaning::Unreadable("its key is damaged, or has another type"),
        }
    }
}

/// Whether a word is a marker, or looks like one: a byte order mark or characters without width may stand before it.
fn is_marker(word: &str) -> bool {
    let visible = word.trim_start_matches(|c: char| !c.is_ascii_graphic());
    visible.starts_with('@')
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn listed_key(kind: &str, data: &str) -> Option<ListedKey> {
    let text = format!("{kind} {data}");
    if kind.contains("-cert-v") {
        let certificate = Certificate::from_openssh(&text).ok()?;
        return Some(ListedKey {
            key: PublicKey::from(certificate.public_key().clone()),
            is_certificate: true,
        });
    }
    let key = PublicKey::from_openssh(&text).ok()?;
    let is_of_other_type = matches!(key.algorithm(), Algorithm::Other(_));
    let is_readable = !is_of_other_type && is_on_its_curve(key.key_data());
    is_readable.then_some(ListedKey {
        key,
        is_certificate: false,
    })
}

/// Whether a key of a NIST curve is a point of the curve, which reading it does not check.
fn is_on_its_curve(key: &KeyData) -> bool {
    match key {
        KeyData::Ecdsa(point) => is_on_curve(point.curve().as_str(), point.as_sec1_bytes()),
        KeyData::SkEcdsaSha2NistP256(sk) => is_on_curve("nistp256", sk.ec_point().as_bytes()),
        _ => true,
    }
}

fn is_known_type(kind: &str) -> bool {
    let parsed = Algorithm::new(kind).or_else(|_| Algorithm::new_certificate(kind));
    parsed.is_ok_and(|algorithm| !matches!(algorithm, Algorithm::Other(_)))
}

/// The type that a key's data names itself.
fn blob_type(data: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(data).ok()?;
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    rest.get(..length).map(<[u8]>::to_vec)
}

/// What the names of a line say about a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameMatch {
    /// A pattern matches, and no negated one does.
    Named,
    /// A negated pattern matches.
    Excluded,
    /// No pattern matches.
    Other,
    /// The hashed name is damaged.
    Damaged,
}

/// Matches a comma-separated list. A hashed name is the only one of its line.
fn match_names(names: &str, name: &str) -> NameMatch {
    if names.starts_with('|') {
        let hashed = names.strip_prefix("|1|");
        return match hashed.and_then(|hashed| hash_matches(hashed, name)) {
            Some(true) => NameMatch::Named,
            Some(false) => NameMatch::Other,
            None => NameMatch::Damaged,
        };
    }
    let mut matched = NameMatch::Other;
    for pattern in names.split(',') {
        match pattern.strip_prefix('!') {
            Some(negated) if name_matches(negated, name) => return NameMatch::Excluded,
            Some(_) => {}
            None if name_matches(pattern, name) => matched = NameMatch::Named,
            None => {}
        }
    }
    matched
}

fn name_matches(pattern: &str, name: &str) -> bool {
    glob(pattern.to_lowercase().as_bytes(), name.as_bytes())
}

/// Parses `salt|hash`, both in base64; the hash is the HMAC-SHA1 of the name, keyed with the salt.
fn hash_matches(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let (salt, hash) = (STANDARD.decode(salt).ok()?, STANDARD.decode(hash).ok()?);
    // Both have the length of SHA-1.
    if [salt.len(), hash.len()] != [20, 20] {
        return None;
    }
    let mac = Hmac::<Sha1>::new_from_slice(&salt).ok()?;
    Some(
        mac.chain_update(name.as_bytes())
            .verify_slice(&hash)
            .is_ok(),
    )
}

/// `*` matches any text, `?` any one character. The time is bounded by the product of the lengths.
pub(super) fn glob(pattern: &[u8], text: &[u8]) -> bool {
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
