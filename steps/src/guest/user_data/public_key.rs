//! Tells public SSH keys from other lines.

mod key_data;
mod options;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Whether a line is a public key as `authorized_keys` has it: options, type, data and a comment. OpenSSH ignores a
/// line whose key is of another type, or has another length or curve than its type, and one with a certificate.
pub fn is_public_key(line: &str) -> bool {
    key_type(line).is_some_and(|kind| !key_data::is_certificate(kind))
}

/// Whether a line is a certificate: sshd takes the authority that signed it, and no certificate.
pub fn is_certificate(line: &str) -> bool {
    key_type(line).is_some_and(key_data::is_certificate)
}

/// Whether a line is a public key of a type that newer guests ignore.
pub fn is_obsolete_key(line: &str) -> bool {
    key_type(line).is_some_and(key_data::is_obsolete)
}

/// The type of the key that a line is.
fn key_type(line: &str) -> Option<&str> {
    let words = fields(line, &[' ', '\t']);
    let key_at = |index: usize| {
        let (kind, data) = (words.get(index)?, words.get(index.saturating_add(1))?);
        is_key(kind, data).then_some(*kind)
    };
    let are_options = |word: &&str| options::are_taken(&fields(word, &[',']));
    let has_options = || words.first().is_some_and(are_options);
    key_at(0).or_else(|| key_at(1).filter(|_| has_options()))
}

fn is_key(kind: &str, data: &str) -> bool {
    let bytes = BASE64.decode(data);
    bytes.is_ok_and(|bytes| key_data::is_of_type(kind, &bytes))
}

/// The words between separators; one between quotation marks does not end a word.
fn fields<'t>(line: &'t str, separators: &[char]) -> Vec<&'t str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let words = line.split(|c: char| {
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        !is_quoted && separators.contains(&c)
    });
    words.filter(|word| !word.is_empty()).collect()
}
