//! Reads keys and certificates in the forms that users have: PEM, PEM in base64, or DER.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rsa::{
    RsaPrivateKey, RsaPublicKey,
    pkcs1::{DecodeRsaPrivateKey as _, DecodeRsaPublicKey as _},
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePublicKey as _, LineEnding},
    traits::PublicKeyParts as _,
};
use serde::{Serialize, Serializer};
use x509_cert::{
    Certificate,
    der::{Decode as _, Encode as _},
};

use super::token;

/// Minimum and maximum key size in bits.
const BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const DAY: u64 = 24 * 60 * 60;

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// It is neither a key or certificate in PEM nor one in DER.
    #[error("is neither an RSA key nor a certificate that can be read")]
    Unreadable,
    /// It is a certificate or key of another type than RSA.
    #[error("does not hold an RSA key")]
    NotRsa,
    /// It is shorter or longer than the guest accepts.
    #[error("has {0} bits; keys have 2048 to 8192")]
    Size(usize),
    /// Its private key is protected by a passphrase.
    #[error("is protected by a passphrase")]
    Passphrase,
    /// It is a public key, and a private key is needed.
    #[error("is not a private key")]
    NotPrivate,
    /// It is not a certificate, and one is needed.
    #[error("is not a certificate")]
    NotCertificate,
}

/// The validity period of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lifetime {
    /// Its first moment, in seconds since the epoch.
    #[serde(serialize_with = "date")]
    pub not_before: u64,
    /// Its last moment, in seconds since the epoch.
    #[serde(serialize_with = "date")]
    pub not_after: u64,
}

fn date<S: Serializer>(seconds: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&day_of(*seconds))
}

impl Lifetime {
    /// Whole days left at `now`; `None` after its end.
    pub fn days_left(&self, now: SystemTime) -> Option<u64> {
        self.not_after
            .checked_sub(seconds(now))
            .map(|remaining| remaining / DAY)
    }

    /// Whether it has begun.
    pub fn has_begun(&self, now: SystemTime) -> bool {
        seconds(now) >= self.not_before
    }

    /// The date of its end, such as `2027-03-01`.
    pub fn last_day(&self) -> String {
        day_of(self.not_after)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs()
}

/// The UTC date of a time.
fn day_of(seconds: u64) -> String {
    use x509_cert::der::DateTime;
    DateTime::from_unix_duration(Duration::from_secs(seconds)).map_or_else(
        |_| "after 9999".to_owned(),
        |date| format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()),
    )
}

/// A public key, with the validity period if it came in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub(super) public: RsaPublicKey,
    /// The certificate's validity period; `None` for a bare key.
    pub lifetime: Option<Lifetime>,
}

impl Key {
    /// Reads a public key, a private key's public half, or a certificate.
    ///
    /// # Errors
    /// When it is none of these, or its size is not accepted by guests.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyFault> {
        let key = match unwrap(bytes) {
            Some((label, der)) => Self::labelled(&label, &der)?,
            None => Self::any(bytes)?,
        };
        sized(key.public.n().bits_vartime() as usize)?;
        Ok(key)
    }

    /// Reads a certificate; a bare key is an error.
    ///
    /// # Errors
    /// As for [`Key::read`], and when it is a bare key.
    pub fn read_certificate(bytes: &[u8]) -> Result<Self, KeyFault> {
        let key = Self::read(bytes)?;
        match key.lifetime {
            Some(_) => Ok(key),
            None => Err(KeyFault::NotCertificate),
        }
    }

    fn labelled(label: &str, der: &[u8]) -> Result<Self, KeyFault> {
        match label {
            "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE" => Self::certificate(der),
            "PUBLIC KEY" => RsaPublicKey::from_public_key_der(der)
                .map(Self::bare)
                .map_err(|_| KeyFault::NotRsa),
            "RSA PUBLIC KEY" => RsaPublicKey::from_pkcs1_der(der)
                .map(Self::bare)
                .map_err(|_| KeyFault::Unreadable),
            _ => private(label, der).map(|key| Self::bare(key.to_public_key())),
        }
    }

    fn any(der: &[u8]) -> Result<Self, KeyFault> {
        Self::certificate(der)
            .or_else(|_| RsaPublicKey::from_public_key_der(der).map(Self::bare))
            .or_else(|_| RsaPublicKey::from_pkcs1_der(der).map(Self::bare))
            .map_err(|_| KeyFault::Unreadable)
    }

    fn certificate(der: &[u8]) -> Result<Self, KeyFault> {
        let certificate = Certificate::from_der(der).map_err(|_| KeyFault::Unreadable)?;
        let tbs = certificate.tbs_certificate();
        let info = tbs
            .subject_public_key_info()
            .to_der()
            .map_err(|_| KeyFault::Unreadable)?;
        let public = RsaPublicKey::from_public_key_der(&info).map_err(|_| KeyFault::NotRsa)?;
        let lifetime = Some(Lifetime {
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
        });
        Ok(Self { public, lifetime })
    }

    fn bare(public: RsaPublicKey) -> Self {
        Self {
            public,
            lifetime: None,
        }
    }
}

/// A private key for signing.
pub struct ContractSigningKey(pub(super) RsaPrivateKey);

impl ContractSigningKey {
    /// Reads a private key in PEM.
    ///
    /// # Errors
    /// When it is not a private key, is protected by a passphrase, or its size is not accepted by guests.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyFault> {
        let (label, der) = unwrap(bytes).ok_or(KeyFault::Unreadable)?;
        let key = private(&label, &der)?;
        sized(key.n().bits_vartime() as usize)?;
        Ok(Self(key))
    }

    pub(super) fn public(&self) -> RsaPublicKey {
        self.0.to_public_key()
    }

    /// The public half in PEM, the form of `signingKey`.
    pub(super) fn public_pem(&self) -> Option<String> {
        self.public().to_public_key_pem(LineEnding::LF).ok()
    }
}

fn private(label: &str, der: &[u8]) -> Result<RsaPrivateKey, KeyFault> {
    match label {
        "PRIVATE KEY" => RsaPrivateKey::from_pkcs8_der(der).map_err(|_| KeyFault::NotRsa),
        "RSA PRIVATE KEY" => RsaPrivateKey::from_pkcs1_der(der).map_err(|_| KeyFault::Passphrase),
        "ENCRYPTED PRIVATE KEY" => Err(KeyFault::Passphrase),
        "PUBLIC KEY" | "RSA PUBLIC KEY" | "CERTIFICATE" => Err(KeyFault::NotPrivate),
        _ => Err(KeyFault::NotRsa),
    }
}

fn sized(bits: usize) -> Result<(), KeyFault> {
    if BITS.contains(&bits) {
        Ok(())
    } else {
        Err(KeyFault::Size(bits))
    }
}

/// The first PEM block of a text, or of a text in base64. Its lines may have any length, and may be
/// separated by the two characters `\n`, as some scripts write them.
fn unwrap(bytes: &[u8]) -> Option<(String, Vec<u8>)> {
    let text = std::str::from_utf8(bytes).ok()?;
    if let Some(document) = pem(text) {
        return Some(document);
    }
    let inner = token::decode(text)?;
    pem(std::str::from_utf8(&inner).ok()?)
}

fn pem(text: &str) -> Option<(String, Vec<u8>)> {
    let (_, after) = text.split_once("-----BEGIN ")?;
    let (label, after) = after.split_once("-----")?;
    let (body, _) = after.split_once("-----END ")?;
    let unescaped = body.replace("\\n", "\n").replace("\\r", "");
    // Headers such as `Proc-Type` occur in keys that are encrypted in the old PEM format.
    if unescaped.contains(':') && label.ends_with("PRIVATE KEY") {
        return Some(("ENCRYPTED PRIVATE KEY".to_owned(), Vec::new()));
    }
    let dense: String = unescaped.split_ascii_whitespace().collect();
    Some((label.to_owned(), BASE64.decode(dense).ok()?))
}
