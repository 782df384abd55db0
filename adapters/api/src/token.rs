//! The text of a token: its name, its secret, and the fingerprint of its daemon's certificate.
//!
//! `vsiflow_NAME_SECRET_FINGERPRINT`, so that one line is all that a client needs: it sends nothing to a
//! server with another certificate.

use std::{fmt, str::FromStr};

use http::{HeaderValue, header::InvalidHeaderValue};
use vsiflow_engine::{model::Hash, secret::Secret};

const PREFIX: &str = "vsiflow";
const NAME: usize = 12;
const SECRET: usize = 64;
const FINGERPRINT: usize = 64;

/// A token. `Debug` does not print the secret.
#[derive(Clone)]
pub struct Token {
    name: String,
    secret: Secret,
    fingerprint: String,
}

/// Error: the text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a token of vsiflow, or only a part of one")]
pub struct InvalidToken;

impl Token {
    /// A new token, for a daemon with this certificate.
    pub fn new(name: &str, secret: Secret, certificate: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            secret,
            fingerprint: fingerprint(certificate),
        }
    }

    /// The name of the token.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The secret that proves the token.
    pub(crate) fn secret(&self) -> &str {
        self.secret.expose_str().unwrap_or_default()
    }

    /// Whether the token is for a daemon with this certificate (DER).
    pub(crate) fn is_of(&self, certificate: &[u8]) -> bool {
        self.fingerprint == fingerprint(certificate)
    }

    /// The whole text, for the user who receives the token.
    pub fn text(&self) -> String {
        let (name, secret, fingerprint) = (&self.name, self.secret(), &self.fingerprint);
        format!("{PREFIX}_{name}_{secret}_{fingerprint}")
    }

    /// The value of the `Authorization` header.
    pub(crate) fn header(&self) -> Result<HeaderValue, InvalidHeaderValue> {
        let mut header = HeaderValue::try_from(format!("Bearer {}", self.text()))?;
        header.set_sensitive(true);
        Ok(header)
    }

    /// The token in a request's `Authorization` header.
    pub(crate) fn of_header(header: &HeaderValue) -> Result<Self, InvalidToken> {
        let text = header.to_str().map_err(|_| InvalidToken)?;
        text.strip_prefix("Bearer ").ok_or(InvalidToken)?.parse()
    }
}

fn fingerprint(certificate: &[u8]) -> String {
    Hash::of(certificate).to_string()
}

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let parts: Vec<_> = text.trim().split('_').collect();
        let [PREFIX, name, secret, fingerprint] = parts.as_slice() else {
            return Err(InvalidToken);
        };
        let is_hex = |part: &str, length: usize| {
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            part.len() == length && part.bytes().all(hex)
        };
        let whole =
            is_hex(name, NAME) && is_hex(secret, SECRET) && is_hex(fingerprint, FINGERPRINT);
        if whole {
            Ok(Self {
                name: (*name).to_owned(),
                secret: Secret::new(*secret),
                fingerprint: (*fingerprint).to_owned(),
            })
        } else {
            Err(InvalidToken)
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, <secret>)", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token::new(
            "0123456789ab",
            Secret::new("a".repeat(SECRET)),
            b"certificate",
        )
    }

    #[test]
    fn its_text_is_read_again_and_its_debug_form_hides_it() {
        let text = token().text();
        let read: Token = text.parse().unwrap();
        assert_eq!(
            (read.name(), read.secret()),
            (token().name(), token().secret())
        );
        assert!(read.is_of(b"certificate") && !read.is_of(b"another"));
        let header = read.header().unwrap();
        assert!(header.is_sensitive());
        assert_eq!(Token::of_header(&header).unwrap().text(), text);
        assert!(!format!("{read:?}").contains("aaaa"));
    }

    #[test]
    fn one_that_is_cut_anywhere_or_changed_in_form_is_none() {
        let text = token().text();
        for end in 0..text.len() {
            assert!(text[..end].parse::<Token>().is_err(), "{end}");
        }
        for wrong in [
            format!("{text}0"),
            text.to_uppercase(),
            text.replace('_', "-"),
            format!("x{text}"),
        ] {
            assert!(wrong.parse::<Token>().is_err(), "{wrong}");
        }
    }
}
