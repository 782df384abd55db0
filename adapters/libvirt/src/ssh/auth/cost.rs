//! Limits the cost of decrypting a key. The key itself specifies the cost, and it is untrusted: the user who
//! configures a host provides it.

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::pkcs5::{EncryptionScheme, pbes2::Kdf};
use russh::keys::PrivateKey;
use russh::keys::ssh_key::Kdf as OpenSshKdf;

use crate::connect_error::KeyProblem;

/// `ssh-keygen` uses 16 to 24 rounds, of some milliseconds each.
const BCRYPT_ROUNDS: u32 = 1_024;
/// OpenSSL uses 2,048; current recommendations are 600,000.
const PBKDF2_ITERATIONS: u32 = 4_000_000;
/// Cost, block size and parallelization multiplied; OpenSSL uses 2^17, which is 16 MiB.
const SCRYPT_WORK: u64 = 1 << 21;

/// Checks whether a key may be decrypted with a passphrase.
///
/// # Errors
/// `TooCostly` above the limits, `Malformed` for PuTTY's format, which may require any amount of memory. A
/// key that cannot be parsed here passes; decoding it reports the error.
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
