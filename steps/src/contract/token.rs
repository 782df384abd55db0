//! Checks the form of an encrypted section: a prefix, a password that only the guest can read, and the
//! data encrypted under it, in the format of `openssl enc`.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// The prefixes of an encrypted section: the product's old name and its new one.
pub const TOKEN_PREFIXES: [&str; 2] = ["hyper-protect-basic.", "contract-basic."];

/// The magic bytes that `openssl enc` writes before the salt.
pub(super) const MAGIC: &[u8] = b"Salted__";
/// The salt's length in bytes.
pub(super) const SALT: usize = 8;
/// The block size of the cipher in bytes.
const BLOCK: usize = 16;
/// Minimum and maximum size of the RSA block in bytes: keys of 2,048 to 8,192 bits.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// A defect of an encrypted section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenFault {
    Prefix,
    Unknown,
    Parts,
    Base64(&'static str),
    KeySize(usize),
    NotSalted,
    NotBlocks(usize),
}

impl TokenFault {
    pub(super) fn describe(self) -> String {
        match self {
            Self::Prefix => "has an encrypted token's name without the dot after it".to_owned(),
            Self::Unknown => format!(
                "looks like an encrypted token that no guest knows: it begins neither with {} nor with {}",
                TOKEN_PREFIXES[0], TOKEN_PREFIXES[1]
            ),
            Self::Parts => "is an encrypted token without both its parts".to_owned(),
            Self::Base64(part) => {
                format!("is an encrypted token whose {part} is not base64")
            }
            Self::KeySize(bytes) => format!(
                "is an encrypted token whose password has {bytes} bytes: no RSA key of 2048 to 8192 bits makes that"
            ),
            Self::NotSalted => {
                "is an encrypted token whose data is not the output of `openssl enc`".to_owned()
            }
            Self::NotBlocks(bytes) => format!(
                "is an encrypted token whose data ends within a cipher block ({bytes} bytes): it was cut off"
            ),
        }
    }
}

/// Whether the text is meant to be an encrypted section: it begins with a token's name, or has a token's
/// form. Without the second test a token with a mistyped name would pass as plain text.
pub(super) fn looks_encrypted(value: &str) -> bool {
    has_name(value) || has_form(value)
}

fn has_name(value: &str) -> bool {
    let start = value.trim_start();
    TOKEN_PREFIXES
        .iter()
        .any(|prefix| start.starts_with(prefix.trim_end_matches('.')))
}

/// Checks for a word, a dot, base64, a dot, base64.
fn has_form(value: &str) -> bool {
    let word = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        !text.is_empty() && text.chars().all(fits)
    };
    let base64 = |text: &str| decode(text).is_some_and(|bytes| !bytes.is_empty());
    match value.trim().split('.').collect::<Vec<_>>().as_slice() {
        [name, password, data] => word(name) && base64(password) && base64(data),
        _ => false,
    }
}

/// Checks the form of an encrypted section. Whether the guest can read it, only the guest knows.
pub(super) fn check(value: &str) -> Result<(), TokenFault> {
    let token = value.trim();
    let rest = TOKEN_PREFIXES
        .iter()
        .find_map(|prefix| token.strip_prefix(prefix))
        .ok_or(if has_name(token) {
            TokenFault::Prefix
        } else {
            TokenFault::Unknown
        })?;
    let (password, data) = rest.split_once('.').ok_or(TokenFault::Parts)?;
    let password = decode(password).ok_or(TokenFault::Base64("password"))?;
    let data = decode(data).ok_or(TokenFault::Base64("data"))?;
    if password.is_empty() || data.is_empty() {
        return Err(TokenFault::Parts);
    }
    if !RSA_BYTES.contains(&password.len()) {
        return Err(TokenFault::KeySize(password.len()));
    }
    if !data.starts_with(MAGIC) {
        return Err(TokenFault::NotSalted);
    }
    let head = MAGIC.len().saturating_add(SALT);
    match data.len().checked_sub(head) {
        Some(body) if body >= BLOCK && body.is_multiple_of(BLOCK) => Ok(()),
        _ => Err(TokenFault::NotBlocks(data.len())),
    }
}

/// Decodes base64 that may be wrapped: line ends and spaces within it are ignored.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    let dense: String = text.split_ascii_whitespace().collect();
    BASE64.decode(dense).ok()
}
