//! Removes secrets from what is packed, in case one is there against all rules.
//!
//! It searches for the secrets of the state directory: each as a whole, each of its longer lines and words,
//! and all of them as they are written in JSON, in base64, in a URL and in hexadecimal.

use std::{collections::BTreeSet, fmt::Write as _, io, path::Path};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use zeroize::Zeroizing;

/// Secrets with fewer bytes are not searched for: any text contains them.
const MIN_LEN: usize = 6;
/// How many bytes of a secret are searched for as a whole.
const WHOLE: usize = 256;
/// Lines and words with fewer bytes are not searched for.
const MIN_PART_LEN: usize = 16;
/// The replacement for a secret.
const MASK: &[u8] = b"(secret)";

/// The search patterns for secrets.
pub(super) struct Masking {
    /// Whole secrets, up to [`WHOLE`] bytes.
    whole: AhoCorasick,
    /// The same, and also their lines and words.
    all: AhoCorasick,
}

impl Masking {
    /// Reads the secrets of a state directory. Blocks.
    ///
    /// # Errors
    /// When they cannot be read: nothing could be searched for them then.
    pub(super) fn of_state(state: &Path) -> io::Result<Self> {
        let mut secrets = Vec::new();
        let entries = match std::fs::read_dir(state.join("secrets")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries?),
        };
        for entry in entries.into_iter().flatten() {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                match std::fs::read(entry.path()) {
                    // It was erased in the meantime.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    bytes => secrets.push(Zeroizing::new(bytes?)),
                }
            }
        }
        Self::of(&secrets)
    }

    fn of(secrets: &[Zeroizing<Vec<u8>>]) -> io::Result<Self> {
        let (mut whole, mut all) = (BTreeSet::new(), BTreeSet::new());
        for secret in secrets {
            let trimmed = secret.trim_ascii();
            if trimmed.len() < MIN_LEN {
                continue;
            }
            whole.extend(forms(trimmed.get(..WHOLE).unwrap_or(trimmed)));
            let lines = secret.split(|byte| b"\n\r".contains(byte));
            let words = secret.split(|byte| byte.is_ascii_whitespace() || b"\"'".contains(byte));
            for part in lines.chain(words).map(<[u8]>::trim_ascii) {
                if part.len() >= MIN_PART_LEN {
                    all.extend([part.to_vec(), in_json(part)]);
                }
            }
        }
        all.extend(whole.iter().cloned());
        Ok(Self {
            whole: search(whole)?,
            all: search(all)?,
        })
    }

    /// Whether the bytes contain no secret.
    pub(super) fn is_clean(&self, bytes: &[u8]) -> bool {
        !self.whole.is_match(bytes)
    }

    /// The bytes with all secrets replaced.
    pub(super) fn masked(&self, bytes: &[u8]) -> Vec<u8> {
        let mut masked = Vec::with_capacity(bytes.len());
        self.all
            .replace_all_with_bytes(bytes, &mut masked, |_, _, out| {
                out.extend_from_slice(MASK);
                true
            });
        masked
    }
}

fn search(secrets: BTreeSet<Vec<u8>>) -> io::Result<AhoCorasick> {
    AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(secrets)
        .map_err(io::Error::other)
}

/// The ways in which a secret may be written.
fn forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([secret.to_vec()]);
    forms.extend((0..3).map(|shift| in_base64(secret, shift)));
    let hex = secret.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    forms.insert(hex.into_bytes());
    forms.insert(in_json(secret));
    let encoded: String = url::form_urlencoded::byte_serialize(secret).collect();
    forms.insert(encoded.replace('+', "%20").into_bytes());
    forms.insert(encoded.into_bytes());
    forms.retain(|form| form.len() >= MIN_LEN);
    forms
}

/// As inside the quotes of a JSON string.
fn in_json(secret: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(secret);
    let quoted = serde_json::to_vec(&text).unwrap_or_default();
    let end = quoted.len().saturating_sub(1);
    quoted.get(1..end).unwrap_or_default().to_vec()
}

/// The base64 digits that do not depend on the bytes around the secret, if `shift` bytes precede it.
fn in_base64(secret: &[u8], shift: usize) -> Vec<u8> {
    let shifted: Vec<_> = std::iter::repeat_n(&0, shift)
        .chain(secret)
        .copied()
        .collect();
    let whole = shifted.len() / 3 * 3;
    let text = BASE64_STANDARD_NO_PAD.encode(shifted.get(..whole).unwrap_or_default());
    let skipped = if shift == 0 { 0 } else { 4 };
    text.as_bytes().get(skipped..).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_every_form_and_masked() {
        let secret = "pass \"word\" of-thirty-two/letters\nsecond line, long enough";
        let masking = Masking::of(&[Zeroizing::new(secret.as_bytes().to_vec())]).unwrap();
        let encode = |before: &str| BASE64_STANDARD_NO_PAD.encode(format!("{before}{secret}|"));
        for text in [
            secret.to_owned(),
            serde_json::to_string(secret).unwrap(),
            encode(""),
            encode("a"),
            encode("ab"),
        ] {
            assert!(!masking.is_clean(text.as_bytes()), "{text}");
            let masked = masking.masked(text.as_bytes());
            assert!(masking.is_clean(&masked), "{text}");
            assert!(String::from_utf8(masked).unwrap().contains("(secret)"));
        }
        let line = masking.masked(b"seen: second line, long enough!");
        assert_eq!(line, b"seen: (secret)!");
        assert_eq!(
            masking.masked(b"a line of no secret"),
            b"a line of no secret"
        );
    }
}
