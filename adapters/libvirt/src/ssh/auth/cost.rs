//! What it costs to open an encrypted key: the key itself says so, and who names a host gives the key.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::{EncryptionScheme, pbes2::Kdf};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::Kdf as OpenSshKdf;

use crate::connect_error::KeyProblem;

/// `ssh-keygen` takes 16 to 24 rounds, of some milliseconds each.
const BCRYPT_ROUNDS: u32 = 1_024;
/// OpenSSL takes 2,048, recommendations of today are 600,000.
const PBKDF2_ITERATIONS: u32 = 4_000_000;
/// Cost, block size and parallelization multiplied; OpenSSL takes 2^17, which is 16 MiB.
const SCRYPT_WORK: u64 = 1 << 21;

/// Whether a key is opened with a passphrase at all.
///
/// # Errors
/// `TooCostly` past the limits above, `Malformed` for PuTTY's format, which may ask for any amount of memory.
/// What cannot be read is left to whoever reads it next.
pub(super) fn check(text: &str) -> Result<(), KeyProblem> {
    if text.trim_start().starts_with("PuTTY-") {
        let reason = "PuTTY's format is read without a passphrase alone";
        return Err(KeyProblem::Malformed(reason.to_owned()));
    }
    let fair = match (
        PrivateKey::from_openssh(text),
        pkcs8::SecretDocument::from_pem(text),
    ) {
        (Ok(key), _) => openssh_is_fair(key.kdf()),
        (_, Ok((_, document))) => document
            .decode_msg::<EncryptedPrivateKeyInfoRef<'_>>()
            .map_or(true, |info| pkcs8_is_fair(&info.encryption_algorithm)),
        _ => true,
    };
    if fair {
        Ok(())
    } else {
        Err(KeyProblem::TooCostly)
    }
}

fn openssh_is_fair(kdf: &OpenSshKdf) -> bool {
    match kdf {
        OpenSshKdf::None => true,
        OpenSshKdf::Bcrypt { rounds, .. } => *rounds <= BCRYPT_ROUNDS,
        _ => false,
    }
}

fn pkcs8_is_fair(scheme: &EncryptionScheme) -> bool {
    let EncryptionScheme::Pbes2(parameters) = scheme else {
        return true;
    };
    match &parameters.kdf {
        Kdf::Pbkdf2(kdf) => kdf.iteration_count <= PBKDF2_ITERATIONS,
        Kdf::Scrypt(kdf) => {
            let factors = [kdf.block_size, kdf.parallelization].map(u64::from);
            let work = factors
                .into_iter()
                .fold(kdf.cost_parameter, u64::saturating_mul);
            work <= SCRYPT_WORK
        }
        _ => false,
    }
}
