//! Limits the cost of decrypting a key. The key itself specifies the cost, and it is untrusted: the user who
//! configures a host provides it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::{EncryptionScheme, pbes2::Kdf};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::Kdf as OpenSshKdf;
use zeroize::Zeroizing;

use crate::connect_error::KeyProblem;

/// `ssh-keygen` uses 16 to 24 rounds, of some milliseconds each.
const BCRYPT_ROUNDS: u32 = 256;
/// OpenSSL uses 2,048; current recommendations are 600,000.
const PBKDF2_ITERATIONS: u32 = 2_000_000;
/// Cost, block size and parallelization multiplied. Each unit needs 128 bytes: this is 32 MiB, and OpenSSL uses 16 MiB.
const SCRYPT_WORK: u64 = 1 << 18;

/// The remedies for keys of OpenSSH's format and for others.
const BY_SSH_KEYGEN: &str = "`ssh-keygen -p -a 16 -f KEYFILE`";
const BY_OPENSSL: &str = "`openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEYFILE -out NEWFILE`";

/// Whether decrypting a key takes noticeable work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyCost {
    /// It is not encrypted, or its passphrase is not made into a key by much work.
    None,
    /// Up to a second, or 32 MiB.
    Derivation,
}

/// The cost of decrypting a key with a passphrase.
///
/// # Errors
/// `TooCostly` above the limits; `Malformed` for PuTTY's format, which may require any amount of memory, and for
/// what is not base64. What cannot be parsed here costs nothing: decoding it, by the same parsers, reports the error.
pub(super) fn of(text: &str) -> Result<KeyCost, KeyProblem> {
    let malformed = |reason: &str| Err(KeyProblem::Malformed(reason.to_owned()));
    if text.trim_start().starts_with("PuTTY-") {
        return malformed("PuTTY's format is read without a passphrase alone");
    }
    let (is_openssh, body) = body(text);
    let Ok(bytes) = STANDARD.decode(&*body).map(Zeroizing::new) else {
        return malformed("its lines are not base64");
    };
    if is_openssh {
        return PrivateKey::from_bytes(&bytes)
            .map_or(Ok(KeyCost::None), |key| of_openssh(key.kdf()));
    }
    match EncryptedPrivateKeyInfoRef::try_from(&**bytes) {
        Ok(info) => of_pkcs8(&info.encryption_algorithm),
        Err(_) => Ok(KeyCost::None),
    }
}

/// The base64 lines, and whether they are in OpenSSH's format: exactly those, and what, that the decoder takes. A stricter
/// parser would refuse a text, whose cost then is not limited, that the decoder accepts.
fn body(text: &str) -> (bool, Zeroizing<String>) {
    let mut lines = Zeroizing::new(String::with_capacity(text.len()));
    let (mut started, mut is_openssh) = (false, false);
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    for line in text.lines() {
        if started && line.starts_with("-----END ") {
            break;
        }
        if started && line.chars().all(is_base64) {
            lines.push_str(line);
        }
        let label = line.strip_prefix("-----BEGIN ");
        match label.and_then(|label| label.strip_suffix(" PRIVATE KEY-----")) {
            Some("OPENSSH") => (started, is_openssh) = (true, true),
            Some("RSA" | "ENCRYPTED" | "EC") => (started, is_openssh) = (true, false),
            _ if line == "-----BEGIN PRIVATE KEY-----" => (started, is_openssh) = (true, false),
            // OpenSSL's old format, whose derivation is a hash.
            _ if started && line.starts_with("DEK-Info: AES-128-CBC,") => is_openssh = false,
            _ => {}
        }
    }
    (is_openssh, lines)
}

fn of_openssh(kdf: &OpenSshKdf) -> Result<KeyCost, KeyProblem> {
    match kdf {
        OpenSshKdf::None => Ok(KeyCost::None),
        OpenSshKdf::Bcrypt { rounds, .. } if *rounds <= BCRYPT_ROUNDS => Ok(KeyCost::Derivation),
        _ => Err(KeyProblem::TooCostly {
            limit: format!("{BCRYPT_ROUNDS} rounds of bcrypt"),
            remedy: BY_SSH_KEYGEN,
        }),
    }
}

fn of_pkcs8(scheme: &EncryptionScheme) -> Result<KeyCost, KeyProblem> {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return Ok(KeyCost::None);
    };
    let limit = match &parameters.kdf {
        Kdf::Pbkdf2(kdf) if kdf.iteration_count <= PBKDF2_ITERATIONS => {
            return Ok(KeyCost::Derivation);
        }
        Kdf::Pbkdf2(_) => format!("{PBKDF2_ITERATIONS} iterations of PBKDF2"),
        Kdf::Scrypt(kdf) => {
            let factors = [kdf.block_size, kdf.parallelization].map(u64::from);
            let work = factors
                .into_iter()
                .fold(kdf.cost_parameter, u64::saturating_mul);
            if work <= SCRYPT_WORK {
                return Ok(KeyCost::Derivation);
            }
            format!("{SCRYPT_WORK} blocks of scrypt (N x r x p), which are 32 MiB")
        }
        _ => "PBKDF2 and scrypt".to_owned(),
    };
    let remedy = BY_OPENSSL;
    Err(KeyProblem::TooCostly { limit, remedy })
}
