//! Names the encryption of a private key where it is one that this program does not decrypt. Otherwise such a
//! key would look like one with another passphrase.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::EncryptionScheme;
use pkcs8::pkcs5::pbes2::{Kdf, Parameters, Pbkdf2Prf};

use crate::connect_error::KeyProblem;

/// The ciphers of OpenSSH's format that are decrypted.
const OPENSSH: &[&str] = &[
    "none",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
];
/// The one cipher of OpenSSL's old format that is decrypted, and the one type of key in it.
const PEM: (&str, &str) = ("RSA PRIVATE KEY", "AES-128-CBC");
/// Object identifiers as DER has them, and names of what they identify.
const NAMES: &[(&[u8], &str)] = &[
    (b"\x2a\x86\x48\x86\xf7\x0d\x03\x07", "DES-EDE3-CBC"),
    (b"\x2a\x86\x48\x86\xf7\x0d\x03\x02", "RC2-CBC"),
    (b"\x2b\x0e\x03\x02\x07", "DES-CBC"),
    (b"\x2a\x83\x08\x8c\x9a\x4b\x3d\x01\x01\x01", "Camellia"),
    (b"\x2a\x83\x1a\x8c\x9a\x44\x01", "SEED-CBC"),
    (b"\x2a\x83\x1a\x8c\x9a\x6e\x01\x01", "ARIA"),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01", "PKCS#12"),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d", "PBES2"),
    (b"\x2a\x86\x48\x86\xf7\x0d\x01\x05", "PBES1"),
];

/// `ssh-keygen` reads its own format and OpenSSL's old one.
const BY_SSH_KEYGEN: &str = "encrypt it again with `ssh-keygen -p -f KEYFILE`";
/// `ssh-keygen` does not read each encryption of PKCS#8.
const BY_OPENSSL: &str =
    "encrypt it again with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEYFILE -out NEWFILE`";
/// The private keys of another program, encrypted or not, and what to do about them.
const SSH_COM: &str = "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY";
const BY_IMPORT: &str = "take its passphrase away with the program that made it, and convert it with `ssh-keygen -i -f KEYFILE`";

/// The problem of a key whose encryption is not decrypted here; `None` also if it is not encrypted, or not a key at all.
pub(super) fn unsupported(text: &str) -> Option<KeyProblem> {
    let (encryption, remedy) = if text.starts_with(SSH_COM) {
        ("the format of SSH.com".to_owned(), BY_IMPORT)
    } else {
        let is_pkcs8 = text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----");
        let remedy = if is_pkcs8 { BY_OPENSSL } else { BY_SSH_KEYGEN };
        (unsupported_name(text)?, remedy)
    };
    Some(KeyProblem::UnsupportedEncryption { encryption, remedy })
}

/// The name of the encryption.
fn unsupported_name(text: &str) -> Option<String> {
    let mut lines = text.lines();
    let first = lines.find(|line| line.starts_with("-----BEGIN "))?;
    let label = first.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?;
    match label {
        "OPENSSH PRIVATE KEY" => {
            let body: String = lines.take_while(|line| !line.starts_with('-')).collect();
            openssh_cipher(&STANDARD.decode(body).ok()?)
        }
        "ENCRYPTED PRIVATE KEY" => {
            let (_, document) = pkcs8::SecretDocument::from_pem(text).ok()?;
            pkcs8_scheme(document.as_bytes())
        }
        _ => {
            let header = lines.find_map(|line| line.strip_prefix("DEK-Info:"))?;
            let cipher = header.split(',').next().unwrap_or_default().trim();
            ((label, cipher) != PEM).then(|| format!("{cipher} of a PEM file, {label}"))
        }
    }
}

/// The name of the cipher in OpenSSH's format, which follows a constant.
fn openssh_cipher(bytes: &[u8]) -> Option<String> {
    let rest = bytes.strip_prefix(b"openssh-key-v1\0")?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let name = String::from_utf8_lossy(rest.get(..length)?);
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic()) && name.len() <= 64;
    if OPENSSH.contains(&&*name) {
        None
    } else if printable {
        Some(name.into_owned())
    } else {
        Some("an unknown cipher".to_owned())
    }
}

fn pkcs8_scheme(bytes: &[u8]) -> Option<String> {
    let scheme = EncryptedPrivateKeyInfoRef::try_from(bytes)
        .ok()
        .map(|info| info.encryption_algorithm);
    match scheme {
        Some(EncryptionScheme::Pbes2(parameters)) if !uses_sha1(&parameters) => None,
        Some(EncryptionScheme::Pbes2(_)) => Some("PBKDF2 with HMAC-SHA1".to_owned()),
        _ => {
            let contains = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
            let named = NAMES.iter().find(|(identifier, _)| contains(identifier));
            let name = named.map_or("an unknown scheme", |(_, name)| *name);
            Some(format!("{name} of PKCS#8"))
        }
    }
}

fn uses_sha1(parameters: &Parameters) -> bool {
    matches!(&parameters.kdf, Kdf::Pbkdf2(kdf) if kdf.prf == Pbkdf2Prf::HmacWithSha1)
}
