//! Checks host certificates against `@cert-authority` lines.
//!
//! Stricter than OpenSSH: a certificate without host names is valid for no host.

use russh::keys::ssh_key::certificate::CertType;
use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey};

use super::{HostLines, KnownHost, glob};
use crate::connect_error::ConnectError;

impl KnownHost {
    /// Whether a certificate can be checked: the host has at least one authority.
    #[must_use]
    pub fn has_authorities(&self) -> bool {
        let in_bare = |bare: &HostLines| !bare.authorities.is_empty();
        !self.listed.authorities.is_empty() || self.bare.as_ref().is_some_and(in_bare)
    }

    /// Whether a server that presents this certificate is the host: an authority of the host signed it for
    /// the host's name and the current time. Otherwise its key is checked like one without a certificate.
    ///
    /// # Errors
    /// The certificate is not valid and its key is not known, one of the keys is revoked, or a line about the
    /// host cannot be read.
    pub fn check_certificate(&self, shown: &Certificate) -> Result<(), ConnectError> {
        let key = PublicKey::from(shown.public_key().clone());
        self.listed.refuse_signed(&self.host, shown)?;
        let by_port = self.judge(&self.listed, shown);
        // Lines without an authority of the certificate leave it to those for the bare host.
        let judged = match &self.bare {
            Some(bare) if by_port.is_err() => bare
                .refuse_signed(&self.name, shown)
                .and_then(|()| self.judge(bare, shown)),
            _ => by_port,
        };
        let Err(why) = judged else {
            return Ok(());
        };
        match self.check(&key) {
            Ok(()) => Ok(()),
            Err(
                refused @ (ConnectError::HostKeyChanged { .. }
                | ConnectError::HostKeyRevoked { .. }),
            ) => Err(refused),
            Err(_) => Err(why),
        }
    }

    fn judge(&self, lines: &HostLines, shown: &Certificate) -> Result<(), ConnectError> {
        self.judge_certificate(lines, shown)
            .map_err(|why| ConnectError::HostCertificate {
                host: self.host.clone(),
                message: why.to_owned(),
            })
    }

    fn judge_certificate(
        &self,
        lines: &HostLines,
        shown: &Certificate,
    ) -> Result<(), &'static str> {
        let authorities: Vec<_> = lines
            .authorities
            .iter()
            .map(|key| key.fingerprint(HashAlg::Sha256))
            .collect();
        if shown.cert_type() != CertType::Host {
            return Err("it is not one for hosts");
        }
        if !authorities.contains(&shown.signature_key().fingerprint(HashAlg::Sha256)) {
            return Err("no known authority signed it");
        }
        if matches!(
            shown.signature().algorithm(),
            Algorithm::Rsa { hash: None } | Algorithm::Dsa
        ) {
            return Err("it is signed with SHA-1");
        }
        if !shown.critical_options().is_empty() {
            return Err("it has a critical option, and none is known here");
        }
        let mut names = (shown.valid_principals().iter()).map(|name| name.to_lowercase());
        if !names.any(|name| glob(name.as_bytes(), self.name.as_bytes())) {
            return Err("it is for other host names");
        }
        // Checks the signature and the validity period.
        shown
            .validate(&authorities)
            .map_err(|_| "it is expired, not valid yet or forged")
    }
}

impl HostLines {
    /// Refuses a certificate of a distrusted key, and one that a distrusted key signed.
    fn refuse_signed(&self, host: &str, shown: &Certificate) -> Result<(), ConnectError> {
        [shown.public_key(), shown.signature_key()]
            .into_iter()
            .map(|key| PublicKey::from(key.clone()))
            .try_for_each(|key| self.refuse_distrusted(host, &key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AUTHORITY: &str = include_str!("certificates/authority.pub");
    const RSA_AUTHORITY: &str = include_str!("certificates/authority-rsa.pub");
    const HOST: &str = include_str!("certificates/host.pub");
    const VALID: &str = include_str!("certificates/valid.pub");

    fn check(lines: &str, host: &str, port: u16, certificate: &str) -> Result<(), ConnectError> {
        let certificate = Certificate::from_openssh(certificate.trim()).unwrap();
        KnownHost::find(lines, host, port).check_certificate(&certificate)
    }

    fn refused(lines: &str, host: &str, certificate: &str) -> String {
        check(lines, host, 22, certificate).unwrap_err().to_string()
    }

    #[test]
    fn a_host_that_an_authority_vouches_for_is_the_host() {
        let line = format!("@cert-authority *.lab {AUTHORITY}");
        assert_eq!(check(&line, "a.lab", 22, VALID), Ok(()));
        assert_eq!(check(&line, "A.b.lab", 22, VALID), Ok(()));
        let with_port = format!("@cert-authority [a.lab]:2222 {AUTHORITY}");
        assert_eq!(check(&with_port, "a.lab", 2222, VALID), Ok(()));
        let by_rsa = format!("@cert-authority a.lab {RSA_AUTHORITY}");
        let signed = include_str!("certificates/rsa.pub");
        assert_eq!(check(&by_rsa, "a.lab", 22, signed), Ok(()));
    }

    #[test]
    fn a_certificate_that_says_something_else_is_refused_and_says_why() {
        let line = format!("@cert-authority * {AUTHORITY}@cert-authority * {RSA_AUTHORITY}");
        for (certificate, host, why) in [
            (VALID, "c.lab", "other host names"),
            (
                include_str!("certificates/nameless.pub"),
                "a.lab",
                "other host names",
            ),
            (
                include_str!("certificates/user.pub"),
                "a.lab",
                "not one for hosts",
            ),
            (include_str!("certificates/expired.pub"), "a.lab", "expired"),
            (
                include_str!("certificates/early.pub"),
                "a.lab",
                "not valid yet",
            ),
            (include_str!("certificates/sha1.pub"), "a.lab", "SHA-1"),
            (
                include_str!("certificates/critical.pub"),
                "a.lab",
                "critical option",
            ),
        ] {
            let refusal = refused(&line, host, certificate);
            assert!(refusal.contains(why), "{why}: {refusal}");
        }
        let other = format!("@cert-authority other.lab {AUTHORITY}");
        assert!(refused(&other, "a.lab", VALID).contains("no known authority"));
        let not_authority = format!("@cert-authority a.lab {HOST}");
        assert!(refused(&not_authority, "a.lab", VALID).contains("no known authority"));
    }

    #[test]
    fn a_known_key_counts_whatever_certificate_it_is_in_and_a_revoked_one_never() {
        let expired = include_str!("certificates/expired.pub");
        let authority = format!("@cert-authority * {AUTHORITY}");
        let known = format!("{authority}a.lab {HOST}");
        assert_eq!(check(&known, "a.lab", 22, expired), Ok(()));
        for revoked in [HOST, AUTHORITY] {
            let lines = format!("{authority}a.lab {HOST}@revoked * {revoked}");
            let error = check(&lines, "a.lab", 22, VALID).unwrap_err();
            assert!(
                matches!(error, ConnectError::HostKeyRevoked { .. }),
                "{error}"
            );
        }
        let changed = format!("{authority}a.lab {RSA_AUTHORITY}");
        let error = check(&changed, "a.lab", 22, expired).unwrap_err();
        assert!(
            matches!(error, ConnectError::HostKeyChanged { .. }),
            "{error}"
        );
    }
}
