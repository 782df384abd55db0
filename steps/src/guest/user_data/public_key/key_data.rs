//! Whether the data of a public SSH key is what its type demands, as OpenSSH reads it.

use crate::ssh_curve::is_on_curve;

/// The smallest RSA key that OpenSSH takes, in bits.
const RSA_BITS_MIN: usize = 1024;
/// The largest one that OpenSSL takes.
const RSA_BITS_MAX: usize = 16_384;
const ED25519_LENGTH: usize = 32;
/// What the type of a key begins with that OpenSSH has ceased to take.
const DSS: &str = "ssh-dss";
const CERTIFICATE: &str = "-cert-v01@openssh.com";

/// What is left of a key's data.
struct KeyReader<'d>(&'d [u8]);

impl<'d> KeyReader<'d> {
    /// A field after its length.
    fn field(&mut self) -> Option<&'d [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, after) = rest.split_at_checked(length)?;
        self.0 = after;
        Some(field)
    }

    /// A number of this many bytes.
    fn number(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.split_at_checked(bytes)?.1;
        Some(())
    }

    /// How many bits a positive number has.
    fn bits(&mut self) -> Option<usize> {
        let field = self.field()?;
        let is_negative = field.first().is_some_and(|byte| *byte >= 0x80);
        let start = field.iter().position(|byte| *byte != 0)?;
        let digits = field.get(start..)?;
        let first = usize::try_from(digits.first()?.leading_zeros()).ok()?;
        (!is_negative).then(|| digits.len().saturating_mul(8).saturating_sub(first))
    }

    /// The numbers or points of a key of this type.
    fn key(&mut self, kind: &str) -> Option<()> {
        match kind {
            "ssh-ed25519" => self.ed25519(),
            "sk-ssh-ed25519@openssh.com" => {
                self.ed25519()?;
                self.field().map(drop)
            }
            "ssh-rsa" => {
                self.bits()?;
                let bits = self.bits()?;
                (RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits).then_some(())
            }
            DSS => (0..4).try_for_each(|_| self.bits().map(drop)),
            "sk-ecdsa-sha2-nistp256@openssh.com" => {
                self.point("nistp256")?;
                self.field().map(drop)
            }
            _ => self.point(kind.strip_prefix("ecdsa-sha2-")?),
        }
    }

    fn ed25519(&mut self) -> Option<()> {
        (self.field()?.len() == ED25519_LENGTH).then_some(())
    }

    fn point(&mut self, curve: &str) -> Option<()> {
        let is_same = self.field()? == curve.as_bytes();
        let point = self.field()?;
        (is_same && is_on_curve(curve, point)).then_some(())
    }

    /// What a certificate has behind the key that it is for.
    fn certified(&mut self) -> Option<()> {
        const USER: u32 = 1;
        const HOST: u32 = 2;
        self.number(8)?;
        let (kind, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        [USER, HOST]
            .contains(&u32::from_be_bytes(*kind))
            .then_some(())?;
        let (_identity, principals) = (self.field()?, self.field()?);
        are_fields(principals)?;
        self.number(16)?;
        let (critical, extensions) = (self.field()?, self.field()?);
        are_fields(critical)?;
        are_fields(extensions)?;
        let _reserved = self.field()?;
        let (authority, signature) = (self.field()?, self.field()?);
        let mut signer = Self(authority);
        let signer_type = std::str::from_utf8(signer.field()?).ok()?;
        signer.key(signer_type)?;
        (signer.0.is_empty() && !signature.is_empty()).then_some(())?;
        are_fields(signature)
    }
}

fn are_fields(bytes: &[u8]) -> Option<()> {
    let mut fields = KeyReader(bytes);
    while !fields.0.is_empty() {
        fields.field()?;
    }
    Some(())
}

/// Whether the data is a whole key or certificate of this type, and nothing follows it.
pub(super) fn is_of_type(kind: &str, data: &[u8]) -> bool {
    let mut reader = KeyReader(data);
    let mut read_key = || {
        (reader.field()? == kind.as_bytes()).then_some(())?;
        match kind.strip_suffix(CERTIFICATE) {
            Some(plain) => {
                let _nonce = reader.field()?;
                reader.key(&type_of(plain))?;
                reader.certified()?;
            }
            None => reader.key(kind)?,
        }
        reader.0.is_empty().then_some(())
    };
    read_key().is_some()
}

/// The type of the key that a certificate is for: `sk-` types have a domain of their own.
fn type_of(plain: &str) -> String {
    if plain.starts_with("sk-") {
        format!("{plain}@openssh.com")
    } else {
        plain.to_owned()
    }
}

/// Whether newer versions of OpenSSH take no key of this type.
pub(super) fn is_obsolete(kind: &str) -> bool {
    kind.starts_with(DSS)
}

/// Whether keys of this type are certificates.
pub(super) fn is_certificate(kind: &str) -> bool {
    kind.ends_with(CERTIFICATE)
}
